"""Images a second from JPEG files to training and evaluation views, beside bare OpenCV on one core.

The files are crops of scikit-learn's two photographs, 500 x 375 at quality 90, the usual size of a web
image, in a temporary folder. The bare loop decodes the same files, resizes to the same size and flips every
second one: what no pipeline that uses OpenCV can do without. OpenCV has one thread in all of them. The large
files are the same crops, enlarged four times: their size is a camera's, their finest detail is not.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_sample_image

from tools.speed.figures import Figure
from urnet.config.recipe import Transform
from urnet.core.checks import InputError
from urnet.data.loading.loader import ImageSource, Loader

WIDTH, HEIGHT, QUALITY, ENLARGED = 500, 375, 90, 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-command's own arguments."""
    parser.add_argument("--images", type=int, default=128, help="files a round (default %(default)s)")
    parser.add_argument("--large", type=int, default=16, help="of 2000 x 1500 pixels (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds; the best counts (default %(default)s)")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="processes to try, besides 0")


def measure(args: argparse.Namespace) -> list[Figure]:
    """Each pipeline and its bare loop take turns, round by round; the best of each counts."""
    if min([args.images, args.large, args.rounds, *args.workers]) < 1:
        raise InputError("--images, --large, --rounds, --workers: 1 or more each")
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        files = make_photographs(Path(folder), args.images)
        large = make_photographs(Path(folder) / "large", args.large, enlarged=ENLARGED)
        tiny = make_photographs(Path(folder) / "tiny", args.images, (32, 32))
        train, jitter, short = Transform(), Transform(jitter=0.4), Transform(eval="short")
        small = Transform(size=32, train="pad_crop")
        loops = {
            "bare train": lambda: bare(files, 224, flip=True),
            "train": lambda: one_by_one(files, train, train=True),
            "train with jitter": lambda: one_by_one(files, jitter, train=True),
            "bare eval": lambda: bare(files, 224, flip=False),
            "eval straight": lambda: one_by_one(files, train, train=False),
            "bare short": lambda: bare(files, (341, 256), flip=False),
            "eval short": lambda: one_by_one(files, short, train=False),
            "all pixels": lambda: one_by_one(large, train, train=True, reduced=False),
            "reduced": lambda: one_by_one(large, train, train=True),
            "bare 32": lambda: bare(tiny, 32, flip=True),
            "train 32 pad-crop": lambda: one_by_one(tiny, small, train=True),
        }
        for workers in [0, *args.workers]:
            loops[f"loader {workers}"] = lambda workers=workers: loaded(files, train, workers)
        rates = take_turns(loops, {"all pixels": args.large, "reduced": args.large}, args.images, args.rounds)
    return [*one_core(rates), *with_loader(rates, args.workers)]


def one_core(rates: dict[str, float]) -> list[Figure]:
    """The figures of one thread without a loader."""
    limits = {
        "train": "bare train",
        "train with jitter": "bare train",
        "eval straight": "bare eval",
        "eval short": "bare short",
        "train 32 pad-crop": "bare 32",
    }
    figures = [
        Figure(f"data: {name}, one core", rates[name], "images/s", rates[limit], "bare decode, resize, flip")
        for name, limit in limits.items()
    ]
    name = f"data: train {ENLARGED * WIDTH} x {ENLARGED * HEIGHT}, one core"
    gain = Figure(name, rates["reduced"], "images/s", rates["all pixels"], "all pixels decoded")
    return [*figures, gain]


def with_loader(rates: dict[str, float], workers: list[int]) -> list[Figure]:
    """The loader's figures; several processes beside the source alone and beside one process."""
    thread = Figure("data: loader, thread", rates["loader 0"], "images/s", rates["train"], "without loader")
    figures = [thread]
    for n in workers:
        name, rate = f"data: loader, {n} processes", rates[f"loader {n}"]
        figures.append(Figure(name, rate, "images/s", n * rates["train"], f"{n} x without loader"))
        if n > 1 and 1 in workers:
            figures.append(Figure(name, rate, "images/s", n * rates["loader 1"], f"{n} x one process"))
    return figures


def make_photographs(folder: Path, n: int, size: tuple[int, int] = (WIDTH, HEIGHT), *, enlarged: int = 1) -> list[str]:
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
        if enlarged > 1:
            crop = cv2.resize(crop, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)
        files.append(str(folder / f"{i}.jpg"))
        cv2.imwrite(files[-1], crop, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return files


def bare(files: list[str], size: int | tuple[int, int], *, flip: bool) -> None:
    """The limit: decode, resize (to a square, or to width and height), flip every second image."""
    width, height = (size, size) if isinstance(size, int) else size
    for i, file in enumerate(files):
        image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
        image = cv2.resize(image, (width, height))
        if flip and i % 2:
            cv2.flip(image, 1)


def one_by_one(files: list[str], transform: Transform, *, train: bool, reduced: bool = True) -> None:
    """The image source alone, in this thread."""
    source = ImageSource(files.__getitem__, transform, train=train, reduced=reduced)
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


def take_turns(loops: dict[str, Callable], other: dict[str, int], n: int, rounds: int) -> dict[str, float]:
    """Images a second of each loop in its best round: the one that other programs disturbed least.

    They take turns, so that each has the chance of a quiet moment. A loop goes over ``n`` images, those named
    in ``other`` over so many.
    """
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds + 1):  # the first round warms up
        for name, loop in loops.items():
            start, count = time.perf_counter(), other.get(name, n)
            result = loop()
            if result is not None:  # a loader: its start does not count
                count = next(result)
                start = time.perf_counter()
                for _ in result:
                    pass
            rates[name].append(count / (time.perf_counter() - start))
    return {name: max(values[1:]) for name, values in rates.items()}
