"""Tool: images a second from JPEG files to training and evaluation views, beside bare OpenCV on one core.

The files are crops of scikit-learn's two photographs, 500 x 375 at quality 90, the usual size of a web
image, in a temporary folder. The bare loop decodes the same files, resizes to the same size and flips every
second one: what no pipeline that uses OpenCV can do without. OpenCV has one thread in all of them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_sample_image

from tools.figures import Figure
from urnet.checks import InputError
from urnet.dataset import ImageSource, Loader
from urnet.recipe import Transform

WIDTH, HEIGHT, QUALITY = 500, 375, 90


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-command's own arguments."""
    parser.add_argument("--images", type=int, default=128, help="files a round (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; medians count (default %(default)s)")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="processes to try, besides 0")


def measure(args: argparse.Namespace) -> list[Figure]:
    """Each pipeline and its bare loop take turns, round by round; medians of images a second."""
    if min([args.images, args.rounds, *args.workers]) < 1:
        raise InputError("--images, --rounds, --workers: 1 or more each")
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        files = make_photographs(Path(folder), args.images)
        train, jitter = Transform(), Transform(jitter=0.4)
        small = Transform(size=32, train="pad_crop")
        tiny = make_photographs(Path(folder) / "tiny", args.images, (32, 32))
        loops = {
            "bare train": lambda: bare(files, 224, flip=True),
            "train": lambda: one_by_one(files, train, train=True),
            "train with jitter": lambda: one_by_one(files, jitter, train=True),
            "bare eval": lambda: bare(files, 224, flip=False),
            "eval straight": lambda: one_by_one(files, train, train=False),
            "eval short": lambda: one_by_one(files, Transform(eval="short"), train=False),
            "bare 32": lambda: bare(tiny, 32, flip=True),
            "train 32 pad-crop": lambda: one_by_one(tiny, small, train=True),
        }
        for workers in [0, *args.workers]:
            loops[f"loader {workers}"] = lambda workers=workers: loaded(files, train, workers)
        rates = take_turns(loops, args.images, args.rounds)
    pairs = [("bare train", ["train", "train with jitter"]), ("bare eval", ["eval straight", "eval short"]),
             ("bare 32", ["train 32 pad-crop"])]  # fmt: skip
    figures = [
        Figure(f"data: {name}, one core", rates[name], "images/s", rates[limit], "bare decode, resize, flip")
        for limit, names in pairs
        for name in names
    ]
    thread = Figure("data: loader, thread", rates["loader 0"], "images/s", rates["train"], "without loader")
    return [*figures, thread] + [
        Figure(f"data: loader, {n} processes", rates[f"loader {n}"], "images/s", n * rates["train"],
               f"{n} x without loader")
        for n in args.workers
    ]  # fmt: skip


def make_photographs(folder: Path, n: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> list[str]:
    """Write ``n`` JPEG files, random crops of real photographs; their paths."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    photographs = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    files = []
    for i in range(n):
        image = photographs[i % 2]
        top = rng.integers(image.shape[0] - size[1] + 1)
        left = rng.integers(image.shape[1] - size[0] + 1)
        crop = cv2.cvtColor(image[top : top + size[1], left : left + size[0]], cv2.COLOR_RGB2BGR)
        files.append(str(folder / f"{i}.jpg"))
        cv2.imwrite(files[-1], crop, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return files


def bare(files: list[str], size: int, *, flip: bool) -> None:
    """The limit: decode, resize, flip every second image."""
    for i, file in enumerate(files):
        image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
        image = cv2.resize(image, (size, size))
        if flip and i % 2:
            cv2.flip(image, 1)


def one_by_one(files: list[str], transform: Transform, *, train: bool) -> None:
    """The image source alone, in this thread."""
    source = ImageSource(files.__getitem__, transform, train=train)
    for row in range(len(files)):
        source(row, 0)


def loaded(files: list[str], transform: Transform, workers: int) -> Iterator[int]:
    """Eight epochs through the loader, batches of 32; yields the images left when two are through."""
    n, batch = len(files), 32
    rows = [np.arange(start, min(start + batch, n)) for start in range(0, n, batch)]
    jobs = [(epoch, some) for epoch in range(8) for some in rows]
    source = ImageSource(files.__getitem__, transform, train=True)
    for i, _ in enumerate(Loader(source, jobs, workers=workers), start=1):
        if i == 2 * len(rows):
            yield 6 * n


def take_turns(loops: dict[str, Callable], n: int, rounds: int) -> dict[str, float]:
    """Median images a second of each loop, run in turns so that a slow moment of the machine hits all."""
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds + 1):  # the first round warms up
        for name, loop in loops.items():
            start, count = time.perf_counter(), n
            result = loop()
            if result is not None:  # a loader: its start does not count
                count = next(result)
                start = time.perf_counter()
                for _ in result:
                    pass
            rates[name].append(count / (time.perf_counter() - start))
    return {name: statistics.median(values[1:]) for name, values in rates.items()}
