"""Images a second from JPEG files to training and evaluation views, beside bare OpenCV on one core.

The bare loop decodes the same files, resizes to the same size and flips every second one: what no pipeline that
uses OpenCV can do without. OpenCV has one thread in all of them. The large files are the same crops, enlarged
four times: their size is a camera's, their finest detail is not.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from tools.speed.figures import Figure
from tools.speed.photographs import write_photographs
from tools.speed.timing import Work, take_turns, timed
from urnet.config.recipe import Transform
from urnet.core.cli import number
from urnet.data.loading.loader import ImageSource, Loader

ENLARGED = 4
WARM_UP, EPOCHS, BATCH = 2, 8, 32  # of a loader: epochs that do not count, all epochs, rows a batch
BARE = "bare decode, resize, flip"
ONE_CORE = {  # pipeline -> its bare loop
    "train": "bare train",
    "train with jitter": "bare train",
    "eval straight": "bare eval",
    "eval short": "bare short",
    "train 32 pad-crop": "bare 32",
    "train, TrivialAugment and erasing": "bare train",
    "train 32, TrivialAugment and erasing": "bare 32",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-command's own arguments."""
    count = number(int, 1)
    parser.add_argument("--images", type=count, default=128, help="files a round (default %(default)s)")
    parser.add_argument("--large", type=count, default=16, help="of 2000 x 1500 pixels (default %(default)s)")
    parser.add_argument("--rounds", type=count, default=7, help="rounds; the best counts (default %(default)s)")
    parser.add_argument("--workers", type=count, nargs="*", default=[1, 2], help="processes to try, besides 0")


def measure(args: argparse.Namespace) -> list[Figure]:
    """Each pipeline and its bare loop take turns; the best round, the least disturbed one, counts."""
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        works = pipelines(Path(folder), args)
        for work in works.values():  # warms up
            work()
        seconds = take_turns(works, args.rounds)
    images = {"large": args.large, "large reduced": args.large}
    speed = {name: images.get(name, args.images) / min(taken) for name, taken in seconds.items()}
    compared = [
        *((f"{own}, one core", own, speed[limit], BARE) for own, limit in ONE_CORE.items()),
        ("train 2000 x 1500, one core", "large reduced", speed["large"], "all pixels decoded"),
        ("loader, thread", "loader 0", speed["train"], "without loader"),
    ]
    for k in args.workers:
        name, own = f"loader, {k} processes", f"loader {k}"
        compared.append((name, own, k * speed["train"], f"{k} x without loader"))
        if k > 1 and 1 in args.workers:
            compared.append((name, own, k * speed["loader 1"], f"{k} x one process"))
    return [Figure(f"data: {name}", speed[own], "images/s", limit, text) for name, own, limit, text in compared]


def pipelines(folder: Path, args: argparse.Namespace) -> dict[str, Work]:
    """What takes turns, by name: pipelines, bare loops, loaders."""
    files = write_photographs(folder, args.images)
    large = write_photographs(folder / "large", args.large, scale=ENLARGED)
    tiny = write_photographs(folder / "tiny", args.images, (32, 32))
    plain, small = Transform(), Transform(size=32, train="pad_crop")
    augmented = partial(replace, trivial_augment=True, erasing=1.0)
    return {
        "bare train": timed(bare, files, (224, 224), True),
        "train": timed(views, files, plain),
        "train with jitter": timed(views, files, Transform(jitter=0.4)),
        "bare eval": timed(bare, files, (224, 224), False),
        "eval straight": timed(partial(views, train=False), files, plain),
        "bare short": timed(bare, files, (341, 256), False),
        "eval short": timed(partial(views, train=False), files, Transform(eval="short")),
        "large": timed(partial(views, reduced=False), large, plain),
        "large reduced": timed(views, large, plain),
        "bare 32": timed(bare, tiny, (32, 32), True),
        "train 32 pad-crop": timed(views, tiny, small),
        "train, TrivialAugment and erasing": timed(views, files, augmented(plain)),
        "train 32, TrivialAugment and erasing": timed(views, tiny, augmented(small)),
        **{f"loader {workers}": partial(loaded, files, plain, workers) for workers in (0, *args.workers)},
    }


def bare(files: Sequence[Path], size: tuple[int, int], flip: bool) -> None:
    """The limit: decode, resize to ``size`` (width, height), flip every second image."""
    for i, file in enumerate(files):
        image = cv2.resize(cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR), size)
        if flip and i % 2:
            cv2.flip(image, 1)


def views(files: Sequence[Path], transform: Transform, *, train: bool = True, reduced: bool = True) -> None:
    """One view of each file as a trainer makes it, in this thread."""
    source = ImageSource([str(file) for file in files].__getitem__, transform, train=train, reduced=reduced)
    for row in range(len(files)):
        source(row, 0)


def loaded(files: Sequence[Path], transform: Transform, workers: int) -> float:
    """Seconds an epoch through the loader; its start and the first epochs do not count."""
    source = ImageSource([str(file) for file in files].__getitem__, transform, train=True)
    rows = np.split(np.arange(len(files)), range(BATCH, len(files), BATCH))
    jobs = [(epoch, batch) for epoch in range(EPOCHS) for batch in rows]
    start = 0.0
    for i, _ in enumerate(Loader(source, jobs, workers=workers), start=1):
        if i == WARM_UP * len(rows):
            start = time.perf_counter()
    return (time.perf_counter() - start) / (EPOCHS - WARM_UP)
