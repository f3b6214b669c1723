"""infer.py's speed from JPEG files to written predictions, compared with its bare engine.

The bare engine is the same predictor on one prepared batch, measured before and after; the plain loop is the live
network in dygraph with decoding in the same thread. Start-up is reported by itself, without Paddle's import: that of
the first run, and that of a later one, which finds the inference program in the cache.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np

import models
from tools.speed.figures import Figure
from tools.speed.photographs import write_photographs
from tools.speed.timing import Work, per_second, take_turns, timed
from urnet.core import cli

ROOT = Path(__file__).resolve().parents[2]
CROPS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Size of the measurement."""
    add, count = parser.add_argument, cli.number(int, 1)
    add("--model", default="ResNeXt101_32x4d", help="network, with random weights [ResNeXt101_32x4d]")
    add("--class_dim", type=count, default=5000, help="classes [5000]")
    add("--images", type=count, default=96, help="JPEG files of 500 x 375 pixels [96]")
    add("--batch_size", type=count, default=16, help="images computed at once [16]")
    add("--workers", type=cli.number(int, 0), help="processes that decode [infer.py's default]")


def measure(args: argparse.Namespace) -> list[Figure]:
    """infer.py in fp32, and in bf16 where the CPU has it, compared with the bare engine and the plain loop."""
    command = [sys.executable, str(ROOT / "infer.py"), "--help"]
    helped = timed(partial(subprocess.run, command, stdout=subprocess.DEVNULL, check=True))
    seconds = 1 / per_second(1, take_turns({"help": helped}, rounds=5)["help"])
    figures = [Figure("infer.py --help", seconds, "s", 1.0, "one second, not to be reached")]
    from urnet.runtime.threads import import_paddle

    import_paddle()
    from urnet.inference.predictor import cpu_has_bf16

    with cli.results_only(), tempfile.TemporaryDirectory(prefix="urnet-bench-") as folder:
        root = Path(folder)
        write_photographs(root / "images", args.images)
        make_checkpoint(root / "checkpoint", args.model, args.class_dim)
        with patch.dict(os.environ, {"URNET_CACHE": str(root / "cache")}):  # not the user's own
            fp32 = measure_precision(args, root, "fp32")
            figures += fp32
            if cpu_has_bf16():
                bf16 = measure_precision(args, root, "bf16")
                gain = (bf16[0].limit or 0) / (fp32[0].limit or 1)
                figures += [*bf16, Figure("bf16 against fp32, bare engine", gain, "x", 2.0, "twice as fast (AMX)")]
    return figures


def make_checkpoint(folder: Path, model: str, n_classes: int) -> None:
    """A checkpoint of the network with random weights."""
    from urnet.checkpoints import checkpoint

    weights = {key: value.numpy() for key, value in models.build(model, n_classes).state_dict().items()}
    checkpoint.save(folder, weights=weights, state={})


class InferRun:
    """infer.py with these flags, on the CPU, its engine ready; ``start_seconds`` is what that took."""

    def __init__(self, *flags: object) -> None:
        import infer
        from urnet.inference.cli_job import PredictionJob

        arguments = infer.parser().parse_args(["--use_gpu", "False", *map(str, flags)])
        self.job = PredictionJob(arguments, models.NAMES)
        self.images = self.job.images(need_labels=False)
        start = time.perf_counter()
        self.job.start(models.build)
        self.predictor = self.job.predictor(len(self.images))
        self.start_seconds = time.perf_counter() - start
        self.batch_size, size = self.predictor.batch_size, self.job.transform.size
        self.batch = np.random.default_rng(0).integers(0, 256, (self.batch_size, size, size, 3), np.uint8)
        self.predictor.probabilities(self.batch)  # the first batch prepares the engine

    def bare(self, n: int) -> Work:
        """The work of ``n`` prepared batches."""
        return timed(self.predictor.probabilities, self.batch, times=n)

    def loop(self) -> float:
        """Seconds from files to written predictions, all images."""
        import infer
        from urnet.evaluation.prediction_writer import open_predictions

        start = time.perf_counter()
        with (
            Path(os.devnull).open("w") as results,
            tempfile.TemporaryDirectory(prefix="urnet-bench-") as folder,
            open_predictions(Path(folder, "predictions.csv")) as file,
            self.job.processes() as group,
        ):
            infer.predict_images(self.job, self.predictor, self.images, results, file, group)
        return time.perf_counter() - start


def run_of(args: argparse.Namespace, root: Path, *flags: object, images: str = "images") -> InferRun:
    """infer.py for this measurement."""
    network = ("--model", args.model, "--class_dim", args.class_dim, "--pretrained_model", root / "checkpoint")
    workers = () if args.workers is None else ("--workers", args.workers)
    return InferRun(*network, "--img_path", root / images, "--batch_size", args.batch_size, *workers, *flags)


def measure_precision(args: argparse.Namespace, root: Path, precision: str) -> list[Figure]:
    """infer.py's loop and the bare engine's batches, and its start-up; in fp32 also the plain loop, and ten
    crops an image.

    The first start of all writes the program into the cache, and is the limit of one that finds it there.
    """
    name, plain = f"infer.py {precision}", precision == "fp32"
    first = run_of(args, root).start_seconds if plain else None
    run = run_of(args, root, "--precision", precision)
    n = max(1, len(run.images) // run.batch_size // 2)  # before the loop, and again after it
    files = [Path(run.images.path(i)) for i in range(min(len(run.images), run.batch_size))]
    limits = {"bare": run.bare(n)}
    if plain:
        limits["plain"] = timed(plain_loop, run, files)
    seconds = take_turns({"infer": run.loop}, limits=limits)
    own, bare = per_second(len(run.images), seconds["infer"]), per_second(n * run.batch_size, seconds["bare"])
    figures = [Figure(name, own, "images/s", bare, "bare engine, one prepared batch")]
    if plain:
        loop = per_second(len(files), seconds["plain"])
        figures.append(Figure(name, own, "images/s", loop, "plain dygraph loop, one thread decodes"))
    known = "first start, nothing in the cache" if plain else ""
    figures.append(Figure(f"{name} start-up", run.start_seconds, "s", first, known))
    return [*figures, ten_crops(args, root, run)] if plain else figures


def ten_crops(args: argparse.Namespace, root: Path, one: InferRun) -> Figure:
    """What an image with ten crops costs, in passes of the bare engine over one image of a full batch; on a sixth of
    the images."""
    write_photographs(root / "few", max(4, args.images // 6))
    run = run_of(args, root, "--crops", CROPS, images="few")
    n = max(1, CROPS * len(run.images) // one.batch_size // 2)
    seconds = take_turns({"crops": run.loop}, limits={"bare": one.bare(n)})
    passes = per_second(n * one.batch_size, seconds["bare"]) / per_second(len(run.images), seconds["crops"])
    return Figure("infer.py --crops 10, an image", passes, "passes", 10.5, "wanted: at most, bare engine's")


def plain_loop(run: InferRun, files: Sequence[Path]) -> None:
    """A first, simple loop: read, resize, normalise, ask the live network."""
    import paddle

    size, network = run.job.transform.size, run.job.normalised.network
    mean, std = (np.asarray(values, np.float32) for values in (run.job.transform.mean, run.job.transform.std))
    pixels = [cv2.cvtColor(cv2.resize(cv2.imread(str(file)), (size, size)), cv2.COLOR_BGR2RGB) for file in files]
    batch = ((np.asarray(pixels, np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
    with paddle.no_grad():
        paddle.nn.functional.softmax(network(paddle.to_tensor(batch))).numpy().argmax(axis=1)
