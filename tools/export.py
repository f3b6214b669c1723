"""Hand a trained network on: a folder that predicts without this project's recipe.

    python tools/export.py --pretrained_model output/demo/label/final --out demo --images data/val
    python tools/export.py --pretrained_model DIR --out demo --format both

The folder holds a Paddle inference model, an ONNX model, or both; names, sizes and resizing (signature.json,
classes.txt); and README.txt. It appears when all models have answered like the live network, or not at all.
``tools/serve.py`` serves it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

import infer
import models
from tools.export_onnx import check_converter, convert, onnx_answers
from urnet.core import cli
from urnet.core.atomic_files import atomic_folder, file_hash
from urnet.core.checks import InputError, check_choice
from urnet.inference.cli_job import PredictionJob
from urnet.runtime.threads import compute_threads

FORMATS = {"paddle": ["paddle"], "onnx": ["onnx"], "both": ["paddle", "onnx"]}
BATCH = 8  # images compared at once
NETWORK_FLAGS = ("model", "class_dim", "image_shape", "resize", "resize_short_size", "class_names")


def parser() -> cli.Parser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    p = cli.Parser(prog="tools/export.py", description=__doc__, formatter_class=raw)
    add = p.add_argument
    add("--pretrained_model", metavar="PATH", required=True, help="the weights, as infer.py takes them")
    add("--out", metavar="FOLDER", required=True, type=Path, help="where to write; a new folder")
    add("--format", default="paddle", help="paddle | onnx | both [paddle]")
    add(
        "--images",
        metavar="PATH",
        type=Path,
        help="folder or list (`path label`) of images to compare with [four random ones]",
    )
    add("--img_path", metavar="DIR", help="what the list's paths are relative to [the list's folder]")
    add("--limit", type=int, default=64, help="compare so many of them, evenly spread [64]")
    add(
        "--tolerance",
        type=float,
        default=1e-3,
        help="most a probability may differ, as a share of the largest one [0.001]",
    )
    network = p.add_argument_group("the network, where no recipe lies beside the weights; as infer.py's")
    for flag in NETWORK_FLAGS:
        network.add_argument(f"--{flag}", type=int if flag in ("class_dim", "resize_short_size") else str)
    add("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> int:
    """Check the flags, load the network, write and compare, say how far apart the answers are."""
    args = parser().parse_args(argv)
    check_choice("--format", args.format, FORMATS)
    for name, good in (("limit", args.limit >= 1), ("tolerance", 0 < args.tolerance < 1)):
        if not good:
            raise InputError(f"--{name}: found {getattr(args, name)}; above 0 is accepted (a tolerance: below 1)")
    if os.path.lexists(args.out):
        raise InputError(f"{args.out}: exists already; --out names a new folder")
    if args.img_path is not None and not (args.images is not None and args.images.is_file()):
        raise InputError(f"--img_path {args.img_path}: goes with a list of images; found --images {args.images}")
    formats = FORMATS[args.format]
    if "onnx" in formats:
        check_converter()
    with cli.results_only() as results:
        setup = setup_of(args)
        files = chosen_images(setup, args.limit) if args.images else []
        setup.start(models.build)
        export(setup, args, formats, files, results)
    return cli.DONE


def setup_of(args: argparse.Namespace) -> PredictionJob:
    """infer.py's setup of this network and these images."""
    line = ["--pretrained_model", args.pretrained_model, "--use_gpu", "False"]
    for flag in NETWORK_FLAGS:
        if getattr(args, flag) is not None:
            line += [f"--{flag}", str(getattr(args, flag))]
    if args.images is not None and args.images.is_file():
        line += ["--img_list", str(args.images), "--img_path", args.img_path or str(args.images.parent)]
    elif args.images is not None:
        line += ["--img_path", str(args.images)]
    setup = PredictionJob(infer.parser().parse_args(line), models.NAMES)
    models.check_size(setup.args.model, setup.transform.size, "--image_shape")
    return setup


def chosen_images(setup: PredictionJob, limit: int) -> list[str]:
    """Paths of at most ``limit`` of the images, evenly spread over the list."""
    images = setup.images(need_labels=False)
    rows = np.linspace(0, len(images) - 1, min(limit, len(images))).round().astype(int)
    return [images.path(row) for row in rows.tolist()]


def export(
    setup: PredictionJob, args: argparse.Namespace, formats: list[str], files: list[str], results: TextIO
) -> None:
    """Write ``args.out`` whole, or raise: RuntimeError where a model's answers are too far off."""
    from tools.export_readme import readme
    from urnet.inference.program import FILES, export_inference
    from urnet.inference.signature import CLASSES, ONNX, SIGNATURE, read_signature

    with atomic_folder(args.out) as folder:
        write_paddle(export_inference, setup, folder)
        tree = json.loads((folder / SIGNATURE).read_text(encoding="utf-8"))
        if "onnx" in formats:
            convert(*(folder / name for name in FILES), folder / ONNX)
        tree["largest_difference_from_live"] = compare(setup, args, formats, folder, files, results)
        if "paddle" not in formats:
            for name in FILES:
                (folder / name).unlink()
        if setup.class_names:
            names = "".join(f"{name}\n" for name in setup.class_names)
            (folder / CLASSES).write_text(names, encoding="utf-8")
        written = sorted(file for file in folder.iterdir() if file.name != SIGNATURE)
        tree["files"] = {file.name: file_hash(file) for file in written}
        text = json.dumps(tree, indent=1, ensure_ascii=False) + "\n"
        (folder / SIGNATURE).write_text(text, encoding="utf-8")
        (folder / "README.txt").write_text(readme(read_signature(folder), formats), encoding="utf-8")
    print(f"{args.out}: {setup.args.model}, {setup.args.class_dim} classes, {args.format}", file=results)


def write_paddle(write: Callable[..., float], setup: PredictionJob, folder: Path) -> None:
    """``export.export_inference`` into an existing folder."""
    t = setup.transform
    notes = {
        "model": setup.args.model,
        "resize": t.eval,
        "resize_short_size": t.resize_short,
        "mean": t.mean,
        "std": t.std,
        "exif": setup.exif,
        "class_names": setup.class_names,
    }
    write(setup.normalised, (3, t.size, t.size), folder / "part", notes=notes, threads=compute_threads())
    for file in (folder / "part").iterdir():
        file.rename(folder / file.name)
    (folder / "part").rmdir()


def compare(
    setup: PredictionJob, args: argparse.Namespace, formats: list[str], folder: Path, files: list[str], results: TextIO
) -> dict[str, Any]:
    """Largest difference from the live network's probabilities, a format; None where nothing could run it.

    The images of the models come from the files' bytes by the folder's own signature, those of the live
    network by the recipe's transform: both must be the same. Raises RuntimeError over the tolerance.
    """
    from urnet.inference.exported_predictor import Exported
    from urnet.inference.program import live_probabilities
    from urnet.inference.signature import ONNX

    model = Exported(folder, batch_size=BATCH)
    answers: dict[str, Any] = {"paddle": model.probabilities}
    if "onnx" in formats:
        answers["onnx"] = onnx_answers(folder / ONNX, compute_threads())
        if answers["onnx"] is None:
            print("note: model.onnx is not compared; onnxruntime is not installed", file=sys.stderr)
    worst = {name: None if answers[name] is None else 0.0 for name in formats}
    largest, same, n_images = 0.0, dict.fromkeys(formats, 0), 0
    for images in batches(setup, model.signature, files):
        live = live_probabilities(setup.normalised, images)
        largest, n_images = max(largest, float(live.max())), n_images + len(images)
        for name in (name for name in formats if answers[name] is not None):
            found = answers[name](images)
            # a score that is not finite must not slip through a maximum
            difference = float(np.nan_to_num(np.abs(found - live), nan=np.inf).max())
            worst[name] = max(worst[name], difference)
            same[name] += int((found.argmax(axis=1) == live.argmax(axis=1)).sum())
    what = "images" if files else "random images"
    for name, difference in worst.items():
        if difference is None:
            continue
        line = f"{name}: largest difference from the live network {difference:.3g}, {n_images} {what}"
        if not difference <= args.tolerance * largest:
            limit = f"accepted: {args.tolerance * largest:.3g}"
            raise RuntimeError(f"{args.out}: not written; {line}, {limit}")
        print(f"{line}, the same best class for {same[name]}", file=results)
    return worst


def batches(setup: PredictionJob, signature: Any, files: list[str]) -> Iterator[np.ndarray]:
    """uint8 (b, S, S, 3), b <= BATCH: the readable files, or four random images where none are given."""
    from urnet.data.images.decode import UnreadableImage, eval_transform, read_bytes, read_image

    if not files:
        shape = (4, signature.size, signature.size, 3)
        yield np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        return
    bad: list[UnreadableImage] = []
    waiting: list[np.ndarray] = []
    for file in files:
        limits = {"exif": setup.exif, "max_pixels": setup.max_pixels}
        try:
            ours = eval_transform(read_image(file, **limits), setup.transform)
            theirs = signature.prepare(read_bytes(file, setup.max_pixels), max_pixels=setup.max_pixels)
        except UnreadableImage as error:
            bad.append(error)
            continue
        if not np.array_equal(ours, theirs):
            raise RuntimeError(f"{file}: signature.json leads to another image than the recipe")
        waiting.append(theirs)
        if len(waiting) == BATCH:
            yield np.stack(waiting)
            waiting = []
    if waiting:
        yield np.stack(waiting)
    if bad:
        if len(bad) == len(files):
            raise InputError(f"--images: none of {len(files)} is readable; {bad[0]}")
        print(f"note: {len(bad)} of {len(files)} images are unreadable: {bad[0]} …", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(cli.run(main))
