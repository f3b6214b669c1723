"""Tool: infer.py's speed from JPEG files to written predictions, beside what its engine alone can do.

The bare engine is the same predictor on one prepared batch, measured before and after; the plain loop is the
live network in dygraph with decoding in the same thread. Start-up is reported by itself.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tools.figures import Figure
from urnet import cli


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Size of the measurement."""
    add = parser.add_argument
    add("--model", default="ResNeXt101_32x4d", help="network, with random weights [ResNeXt101_32x4d]")
    add("--class_dim", type=int, default=5000, help="classes [5000]")
    add("--images", type=int, default=96, help="JPEG files of 500 x 375 pixels [96]")
    add("--batch_size", type=int, default=16, help="images computed at once [16]")
    add("--workers", type=int, default=None, help="decoding processes [infer.py's default]")


def measure(args: argparse.Namespace) -> list[Figure]:
    """infer.py in fp32, and in bf16 where the CPU has it, beside the bare engine and the plain loop."""
    from urnet.threads import import_paddle

    import_paddle()
    import models
    from urnet.predict_cli import Setup
    from urnet.predictor import cpu_has_bf16

    figures = []
    with cli.results_only(), tempfile.TemporaryDirectory(prefix="urnet-bench-") as folder:
        root = Path(folder)
        make_images(root / "images", args.images)
        make_checkpoint(root / "checkpoint", args.model, args.class_dim)
        for precision in ("fp32", "bf16") if cpu_has_bf16() else ("fp32",):
            setup = Setup(flags(args, root, precision), models.NAMES)
            figures += measure_predictor(setup, root, f"infer.py {precision}", plain=precision == "fp32")
    return figures


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
    from urnet import checkpoint

    weights = {key: value.numpy() for key, value in models.build(model, n_classes).state_dict().items()}
    checkpoint.save(folder, weights=weights, state={})


def flags(args: argparse.Namespace, root: Path, precision: str) -> argparse.Namespace:
    """infer.py's arguments for this measurement."""
    import infer

    line = ["--model", args.model, "--class_dim", str(args.class_dim), "--use_gpu", "False"]
    line += ["--pretrained_model", str(root / "checkpoint"), "--img_path", str(root / "images")]
    line += ["--batch_size", str(args.batch_size), "--precision", precision]
    line += [] if args.workers is None else ["--workers", str(args.workers)]
    return infer.parser().parse_args(line)


def measure_predictor(setup: Any, root: Path, name: str, *, plain: bool) -> list[Figure]:
    """infer.py's own loop over all images, between two halves of what it is compared with."""
    import infer
    import models
    from urnet.predictions import open_predictions

    start = time.perf_counter()
    setup.start(models.build)
    images = setup.images(need_labels=False)
    predictor = setup.predictor(len(images))
    start_seconds = time.perf_counter() - start
    size, batch_size = setup.transform.size, predictor.batch_size
    batch = np.random.default_rng(0).integers(0, 256, (batch_size, size, size, 3), np.uint8)
    files = [Path(images.path(i)) for i in range(min(len(images), 2 * batch_size))]
    predictor.probabilities(batch)  # the first batch prepares the engine
    n_batches = max(1, len(images) // batch_size // 2)
    bare = seconds_of(predictor, batch, n_batches)
    first = plain_loop(setup, files[: len(files) // 2]) if plain else 0.0
    begin = time.perf_counter()
    with open(os.devnull, "w") as results, open_predictions(root / "answers.csv") as file:  # noqa: PTH123
        infer.answer(setup, predictor, images, results, file)
    rate = len(images) / (time.perf_counter() - begin)
    second = plain_loop(setup, files[len(files) // 2 :]) if plain else 0.0
    bare += seconds_of(predictor, batch, n_batches)
    limit = 2 * n_batches * batch_size / bare
    figures = [Figure(name, rate, "images/s", limit, "bare engine, one prepared batch")]
    if plain:
        loop = len(files) / (first + second)
        figures.append(Figure(name, rate, "images/s", loop, "plain dygraph loop, one thread decodes"))
    return [*figures, Figure(f"{name} start-up", start_seconds, "s")]


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
