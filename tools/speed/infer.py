"""Infer.py's speed from JPEG files to written predictions, beside what its engine alone can do.

The bare engine is the same predictor on one prepared batch, measured before and after; the plain loop is the
live network in dygraph with decoding in the same thread. Start-up is reported by itself, without Paddle's
import: that of the first run, and that of a later one, which finds the inference program in the cache.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from tools.speed.figures import Figure
from urnet.core import cli

ROOT = Path(__file__).resolve().parents[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Size of the measurement."""
    add = parser.add_argument
    add("--model", default="ResNeXt101_32x4d", help="network, with random weights [ResNeXt101_32x4d]")
    add("--class_dim", type=int, default=5000, help="classes [5000]")
    add("--images", type=int, default=96, help="JPEG files of 500 x 375 pixels [96]")
    add("--batch_size", type=int, default=16, help="images computed at once [16]")
    add("--workers", type=int, default=None, help="decoding processes [infer.py's default]")
    example = ROOT / "output/digits_web/label/final"
    add("--trained", type=Path, default=example, help="a trained network, for bf16 [the example's]")
    pictures = ROOT / "data/digits_web/val_images_resized"
    add("--trained_images", type=Path, default=pictures, help="real images for it [the example's]")


def measure(args: argparse.Namespace) -> list[Figure]:
    """infer.py in fp32, and in bf16 where the CPU has it, beside the bare engine and the plain loop."""
    figures = [help_seconds()]
    from urnet.runtime.threads import import_paddle

    import_paddle()
    from urnet.inference.predictor import cpu_has_bf16

    precisions = ("fp32", "bf16") if cpu_has_bf16() else ("fp32",)
    with cli.results_only(), tempfile.TemporaryDirectory(prefix="urnet-bench-") as folder:
        root = Path(folder)
        make_images(root / "images", args.images)
        make_checkpoint(root / "checkpoint", args.model, args.class_dim)
        with patch.dict(os.environ, {"URNET_CACHE": str(root / "cache")}):  # not the user's own
            parts = [measure_predictor(args, root, precision) for precision in precisions]
            figures += [figure for part in parts for figure in part]
            if len(parts) == 2:
                figures.append(bf16_gain(parts))
                figures += agreement(args)
    return figures


def help_seconds(rounds: int = 5) -> Figure:
    """``python infer.py --help`` as a user waits for it: the median of a few."""
    command, seconds = [sys.executable, str(ROOT / "infer.py"), "--help"], []
    for _ in range(rounds):
        begin = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - begin)
    return Figure("infer.py --help", statistics.median(seconds), "s", 1.0, "one second, not to be reached")


def bf16_gain(parts: Sequence[Sequence[Figure]]) -> Figure:
    """The bare engine's speed in bf16 as a multiple of its speed in fp32."""
    fp32, bf16 = (part[0].limit or 0.0 for part in parts)
    return Figure("bf16 against fp32, bare engine", bf16 / fp32, "x", 2.0, "twice as fast (AMX)")


def agreement(args: argparse.Namespace) -> list[Figure]:
    """The share of real images whose best class is the same in fp32 and bf16, for a trained network."""
    import models
    from urnet.inference.cli_job import PredictionJob

    if not args.trained.exists() or not args.trained_images.exists():
        text = f"note: no top-1 agreement: {args.trained} or {args.trained_images} is not there (sh run.sh)"
        print(text, file=sys.stderr)
        return []
    best = []
    for precision in ("fp32", "bf16"):
        line = ["--pretrained_model", str(args.trained), "--img_path", str(args.trained_images)]
        line += ["--use_gpu", "False", "--precision", precision]
        setup = PredictionJob(infer_arguments(line), models.NAMES)
        setup.start(models.build)
        images = setup.images(need_labels=False)
        predictor = setup.predictor(len(images))
        with setup.processes() as group, contextlib.closing(setup.loader(images, group)) as loader:
            best.append(np.concatenate([predictor.topk(batch.images, 1)[0][:, 0] for batch in loader]))
    name = f"bf16 and fp32 agree, {len(best[0])} images"
    return [Figure(name, float((best[0] == best[1]).mean()), "top-1", 0.99, "99 in 100")]


def make_images(folder: Path, n: int) -> None:
    """``n`` JPEG files of 500 x 375 pixels, cut at random from scikit-learn's two photographs."""
    import cv2
    from sklearn.datasets import load_sample_images

    photos, rng = load_sample_images().images, np.random.default_rng(0)
    folder.mkdir()
    for i in range(n):
        photo = photos[i % len(photos)]
        top, left = rng.integers(0, photo.shape[0] - 375), rng.integers(0, photo.shape[1] - 500)
        cut = np.ascontiguousarray(photo[top : top + 375, left : left + 500, ::-1])
        cv2.imwrite(str(folder / f"{i:04d}.jpg"), cut, [cv2.IMWRITE_JPEG_QUALITY, 90])


def make_checkpoint(folder: Path, model: str, n_classes: int) -> None:
    """A checkpoint of the network with random weights."""
    import models
    from urnet.checkpoints import checkpoint

    weights = {key: value.numpy() for key, value in models.build(model, n_classes).state_dict().items()}
    checkpoint.save(folder, weights=weights, state={})


def infer_arguments(line: Sequence[str]) -> argparse.Namespace:
    """infer.py's arguments."""
    import infer

    return infer.parser().parse_args(line)


def started(
    args: argparse.Namespace, root: Path, precision: str, *more: str, images: str = "images"
) -> tuple[Any, Any, Any, float]:
    """infer.py's setup, images and predictor for this measurement, and the seconds it took to start."""
    import models
    from urnet.inference.cli_job import PredictionJob

    line = ["--model", args.model, "--class_dim", str(args.class_dim), "--use_gpu", "False"]
    line += ["--pretrained_model", str(root / "checkpoint"), "--img_path", str(root / images), *more]
    line += ["--batch_size", str(args.batch_size), "--precision", precision]
    line += [] if args.workers is None else ["--workers", str(args.workers)]
    setup = PredictionJob(infer_arguments(line), models.NAMES)
    listed = setup.images(need_labels=False)
    start = time.perf_counter()
    setup.start(models.build)
    predictor = setup.predictor(len(listed))
    return setup, listed, predictor, time.perf_counter() - start


def measure_predictor(args: argparse.Namespace, root: Path, precision: str) -> list[Figure]:
    """infer.py's own loop over all images, between two halves of what it is compared with.

    The first start of all writes the program into the cache, and is the limit of one that finds it there.
    """
    name, plain = f"infer.py {precision}", precision == "fp32"
    first_start = started(args, root, precision)[3] if plain else None
    setup, images, predictor, start_seconds = started(args, root, precision)
    size, batch_size = setup.transform.size, predictor.batch_size
    batch = np.random.default_rng(0).integers(0, 256, (batch_size, size, size, 3), np.uint8)
    files = [Path(images.path(i)) for i in range(min(len(images), 2 * batch_size))]
    predictor.probabilities(batch)  # the first batch prepares the engine
    n_batches = max(1, len(images) // batch_size // 2)
    bare = seconds_of(predictor, batch, n_batches)
    first = plain_loop(setup, files[: len(files) // 2]) if plain else 0.0
    rate = len(images) / seconds_of_answers(setup, predictor, images, root)
    second = plain_loop(setup, files[len(files) // 2 :]) if plain else 0.0
    bare += seconds_of(predictor, batch, n_batches)
    limit = 2 * n_batches * batch_size / bare
    figures = [Figure(name, rate, "images/s", limit, "bare engine, one prepared batch")]
    if plain:
        loop = len(files) / (first + second)
        figures.append(Figure(name, rate, "images/s", loop, "plain dygraph loop, one thread decodes"))
    known = "first start, nothing in the cache" if plain else ""
    figures.append(Figure(f"{name} start-up", start_seconds, "s", first_start, known))
    return [*figures, ten_crops(args, root, precision)] if plain else figures


def seconds_of_answers(setup: Any, predictor: Any, images: Any, root: Path) -> float:
    """Seconds of infer.py's own loop, from files to written predictions."""
    import infer
    from urnet.evaluation.prediction_writer import open_predictions

    begin = time.perf_counter()
    with contextlib.ExitStack() as stack:
        results = stack.enter_context(open(os.devnull, "w"))  # noqa: PTH123
        file = stack.enter_context(open_predictions(root / "answers.csv"))
        infer.predict_images(setup, predictor, images, results, file, stack.enter_context(setup.processes()))
    return time.perf_counter() - begin


def ten_crops(args: argparse.Namespace, root: Path, precision: str) -> Figure:
    """What an image with ten crops costs, in the bare engine's passes over one image of a full batch.

    A sixth of the images; the bare engine is measured before and after.
    """
    make_images(root / "few", max(4, args.images // 6))
    one = started(args, root, precision, images="few")[2]
    setup, images, predictor, _ = started(args, root, precision, "--crops", "10", images="few")
    size, rng = setup.transform.size, np.random.default_rng(0)
    batch = rng.integers(0, 256, (one.batch_size, size, size, 3), np.uint8)
    for each in (one, predictor):
        each.probabilities(batch[: each.batch_size])  # the first batch prepares the engine
    n = max(1, 5 * len(images) // one.batch_size)  # half as many passes as the crops need, twice
    bare = seconds_of(one, batch, n)
    crops = seconds_of_answers(setup, predictor, images, root)
    bare += seconds_of(one, batch, n)
    passes = crops / len(images) / (bare / (2 * n * one.batch_size))
    return Figure("infer.py --crops 10, an image", passes, "passes", 10.5, "wanted: at most, bare engine's")


def seconds_of(predictor: Any, batch: np.ndarray, n: int) -> float:
    """Seconds of ``n`` batches of the bare engine."""
    begin = time.perf_counter()
    for _ in range(n):
        predictor.probabilities(batch)
    return time.perf_counter() - begin


def plain_loop(setup: Any, files: Sequence[Path]) -> float:
    """Seconds of a first, simple loop: read, resize, normalise, ask the live network."""
    import cv2
    import paddle

    size, batch_size = setup.transform.size, setup.args.batch_size
    mean, std = (np.float32(v) for v in (setup.transform.mean, setup.transform.std))
    network = setup.normalised.network
    begin = time.perf_counter()
    with paddle.no_grad():
        for i in range(0, len(files), batch_size):
            some = files[i : i + batch_size]
            pixels = [cv2.resize(cv2.imread(str(file))[:, :, ::-1], (size, size)) for file in some]
            batch = ((np.float32(pixels) / 255 - mean) / std).transpose(0, 3, 1, 2)
            paddle.nn.functional.softmax(network(paddle.to_tensor(batch))).numpy().argmax(axis=1)
    return time.perf_counter() - begin
