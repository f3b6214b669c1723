"""Export a trained network to a folder that predicts without this project's recipe.

    python tools/export.py output/demo                       # a run's folder; writes output/demo/exported
    python tools/export.py output/demo/label/final --out demo --images data/val --format both

The folder holds a Paddle inference model, an ONNX model, or both; names, sizes and resizing (signature.json,
classes.txt); and README.txt. It appears when all models have predicted like the live network, or not at all.
``tools/serve.py`` serves it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import infer
import models
from urnet.checkpoints.locate import end_of_run, locate
from urnet.core import cli
from urnet.core.checks import InputError, check_choice
from urnet.inference.cli_job import PredictionJob
from urnet.inference.onnx_model import check_converter
from urnet.inference.signature import EXPORTED, SIGNATURE

FORMATS = {"paddle": ("paddle",), "onnx": ("onnx",), "both": ("paddle", "onnx")}
NETWORK_FLAGS = ("model", "class_dim", "image_shape", "resize", "resize_short_size", "class_names")


def parser() -> cli.Parser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    p = cli.Parser(prog="tools/export.py", description=__doc__, formatter_class=raw)
    add = p.add_argument
    add("weights", nargs="?", metavar="PATH", help="a run's folder, or weights as infer.py takes them")
    add("--pretrained_model", metavar="PATH", help="the same")
    add("--out", metavar="FOLDER", type=Path, help=f"where to write; a new folder [of a run: {EXPORTED} in its folder]")
    add("--replace", action="store_true", help="replace what an earlier call exported there")
    add("--format", default="paddle", help="paddle | onnx | both [paddle]")
    add(
        "--images",
        metavar="PATH",
        type=Path,
        help="folder or list (`path label`) of images to compare with [four random ones]",
    )
    add("--img_path", metavar="DIR", help="folder that the list's paths are relative to [the list's folder]")
    add("--limit", type=int, default=64, help="compare this many of them, evenly spread [64]")
    add(
        "--tolerance",
        type=float,
        default=1e-3,
        help="largest difference of a probability that is accepted, as a share of the largest probability [0.001]",
    )
    network = p.add_argument_group(
        "the network, if there is no recipe next to the weights; the same flags as infer.py's"
    )
    for flag in NETWORK_FLAGS:
        network.add_argument(f"--{flag}", type=int if flag in ("class_dim", "resize_short_size") else str)
    add("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> int:
    """Check the flags, load the network, write and compare, say how far apart the predictions are."""
    args = parser().parse_args(argv)
    check_choice("--format", args.format, FORMATS)
    for name, good in (("limit", args.limit >= 1), ("tolerance", 0 < args.tolerance < 1)):
        if not good:
            raise InputError(f"--{name}: found {getattr(args, name)}; above 0 is accepted (a tolerance: below 1)")
    complete_places(args)
    if args.img_path is not None and not (args.images is not None and args.images.is_file()):
        raise InputError(f"--img_path {args.img_path}: needs a list of images; found --images {args.images}")
    formats = FORMATS[args.format]
    if "onnx" in formats:
        check_converter()
    with cli.results_only() as results:
        job = prediction_job(args)
        files = chosen_images(job, args.limit) if args.images else []
        job.start(models.build)
        from urnet.inference.export import Export

        Export(job, args.out, formats, files, args.tolerance, args.replace).write(results)
        print(f"{args.out}: {job.args.model}, {job.args.class_dim} classes, {args.format}", file=results)
    if "paddle" in formats:
        command = shlex.join(["python", "tools/serve.py", str(args.out)])
        print(f"next: {command} serves it, here or on another machine ({args.out}/README.txt)", file=sys.stderr)
    return cli.DONE


def complete_places(args: argparse.Namespace) -> None:
    """Set ``pretrained_model`` and ``out``, and see that ``out`` may be written. Raises InputError."""
    given = [path for path in (args.weights, args.pretrained_model) if path is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise InputError(f"PATH: found {found}; give the folder of one run (or weights, as for infer.py)")
    args.pretrained_model = given[0]
    if args.out is None:
        if end_of_run(given[0]) is None:
            locate(given[0])  # which says what is wrong with it
            raise InputError(f"--out: found none; {given[0]} is not the folder of a finished run, so name a new folder")
        args.out = Path(given[0]) / EXPORTED
    if not os.path.lexists(args.out):
        return
    if not args.replace:
        raise InputError(f"{args.out}: exists already; --replace replaces it, or --out names a new folder")
    if not (args.out / SIGNATURE).is_file():
        raise InputError(
            f"{args.out}: was not written by this command, as it has no {SIGNATURE}, so it is not replaced"
        )


def prediction_job(args: argparse.Namespace) -> PredictionJob:
    """infer.py's job of this network and these images."""
    line = ["--pretrained_model", args.pretrained_model, "--use_gpu", "False"]
    for flag in NETWORK_FLAGS:
        if getattr(args, flag) is not None:
            line += [f"--{flag}", str(getattr(args, flag))]
    if args.images is not None and args.images.is_file():
        line += ["--img_list", str(args.images), "--img_path", args.img_path or str(args.images.parent)]
    elif args.images is not None:
        line += ["--img_path", str(args.images)]
    job = PredictionJob(infer.parser().parse_args(line), models.NAMES)
    models.check_size(job.args.model, job.transform.size, "--image_shape")
    return job


def chosen_images(job: PredictionJob, limit: int) -> list[str]:
    """Paths of at most ``limit`` of the images, evenly spread over the list."""
    images = job.images(need_labels=False)
    rows = np.linspace(0, len(images) - 1, min(limit, len(images))).round().astype(int)
    return [images.path(row) for row in rows.tolist()]


if __name__ == "__main__":
    sys.exit(cli.run(main))
