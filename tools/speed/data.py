"""Images a second from JPEG files to training and evaluation views, compared with bare OpenCV on one core.

The bare loop decodes the same files, resizes to the same size and flips every second one: what no pipeline that
uses OpenCV can do without. OpenCV has one thread in all of them. The large files are the same crops, enlarged
four times: their size is a camera's, their finest detail is not. paddle.io.DataLoader makes the same batches by the
same function in as many processes; both hand over tensors.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from tools.speed.figures import Figure
from tools.speed.photographs import write_photographs
from tools.speed.timing import Work, take_turns, timed
from urnet.config.recipe import Transform
from urnet.core.checks import InputError
from urnet.core.cli import number
from urnet.data.loading.loader import ImageSource, Loader
from urnet.data.loading.prefetch import Job

ENLARGED = 4
WARM_UP, EPOCHS, BATCH = 2, 8, 32  # of a loader: epochs that do not count, all epochs, rows per batch
BARE, PADDLE = "bare decode, resize, flip", "paddle.io.DataLoader"
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
    parser.add_argument(
        "--large", type=count, default=16, help="large files of 2000 x 1500 pixels (default %(default)s)"
    )
    parser.add_argument("--rounds", type=count, default=7, help="rounds; the best counts (default %(default)s)")
    parser.add_argument(
        "--workers", type=count, nargs="*", default=[1, 2], help="numbers of processes to try, besides 0"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only the figures whose name contains this text")


def measure(args: argparse.Namespace) -> list[Figure]:
    """Each pipeline and its bare loop take turns; the best round, the least disturbed one, counts."""
    compared = [each for each in comparisons(args.workers) if args.only in each[0]]
    if not compared:
        names = ", ".join(repr(name) for name, *_ in comparisons(args.workers))
        raise InputError(f"--only {args.only!r}: no figure's name contains it; the names are {names}")
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        wanted = {work for _, own, limit, *_ in compared for work in (own, limit)}
        works = {name: work for name, work in pipelines(Path(folder), args).items() if name in wanted}
        for work in works.values():  # warms up
            work()
        seconds = take_turns(works, args.rounds)
    images = {"large": args.large, "large reduced": args.large}
    speed = {name: images.get(name, args.images) / min(taken) for name, taken in seconds.items()}
    return [
        Figure(f"data: {name}", speed[own], "images/s", times * speed[limit], text)
        for name, own, limit, times, text in compared
    ]


def comparisons(workers: Sequence[int]) -> list[tuple[str, str, str, int, str]]:
    """(figure, its work, its limit's work, so many times that, what the limit is)."""
    compared = [
        *((f"{own}, one core", own, limit, 1, BARE) for own, limit in ONE_CORE.items()),
        ("train 2000 x 1500, one core", "large reduced", "large", 1, "all pixels decoded"),
        ("loader, thread", "loader 0", "train", 1, "without loader"),
    ]
    for k in workers:
        name, own = f"loader, {k} processes", f"loader {k}"
        compared.append((name, own, "train", k, f"{k} x without loader"))
        if k > 1 and 1 in workers:
            compared.append((name, own, "loader 1", k, f"{k} x one process"))
        compared += [
            (f"{name}, tensors", f"tensors {k}", f"paddle {k}", 1, PADDLE),
            (f"{name}, tensors of 32 pixels", f"tensors 32, {k}", f"paddle 32, {k}", 1, PADDLE),
        ]
    return compared


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
        **{f"tensors {workers}": partial(loaded, files, plain, workers, tensors=True) for workers in args.workers},
        **{f"paddle {workers}": partial(loaded_by_paddle, files, plain, workers) for workers in args.workers},
        **{f"tensors 32, {workers}": partial(loaded, tiny, small, workers, tensors=True) for workers in args.workers},
        **{f"paddle 32, {workers}": partial(loaded_by_paddle, tiny, small, workers) for workers in args.workers},
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


def loaded(files: Sequence[Path], transform: Transform, workers: int, *, tensors: bool = False) -> float:
    """Seconds an epoch through the loader, whose batches become ``tensors``; see ``seconds_an_epoch``."""
    batches = Loader(source_of(files, transform), jobs_of(files), workers=workers)
    if not tensors:
        return seconds_an_epoch(batches, len(files))
    import paddle

    return seconds_an_epoch((paddle.to_tensor(batch.images) for batch in batches), len(files))


class PaddleRows:
    """The map-style dataset of an image source: item (draw key, row) is the row's view."""

    def __init__(self, source: ImageSource, rows: int) -> None:
        self.source, self.rows = source, rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, item: tuple[int, int]) -> np.ndarray:
        draw, row = item
        image, reason = self.source(row, draw)
        if image is None:
            raise RuntimeError(reason)
        return image


def loaded_by_paddle(files: Sequence[Path], transform: Transform, workers: int) -> float:
    """As ``loaded`` with tensors, by paddle.io.DataLoader: the same views in the same batches by the same function."""
    from paddle.io import DataLoader

    loader = DataLoader(
        PaddleRows(source_of(files, transform), len(files)),
        batch_sampler=[[(draw, int(row)) for row in rows] for draw, rows in jobs_of(files)],
        num_workers=workers,
        collate_fn=np.stack,
        worker_init_fn=lambda _: cv2.setNumThreads(0),
    )
    return seconds_an_epoch(loader, len(files))


def source_of(files: Sequence[Path], transform: Transform) -> ImageSource:
    """Training views of the files."""
    return ImageSource([str(file) for file in files].__getitem__, transform, train=True)


def jobs_of(files: Sequence[Path]) -> list[Job]:
    """(epoch, rows) of every batch of all epochs."""
    rows = np.split(np.arange(len(files)), range(BATCH, len(files), BATCH))
    return [(epoch, batch) for epoch in range(EPOCHS) for batch in rows]


def seconds_an_epoch(batches: Iterable[object], n_files: int) -> float:
    """Of so many files; start and the first epochs do not count. All batches are taken."""
    start, first = 0.0, WARM_UP * -(-n_files // BATCH)
    for i, _ in enumerate(batches, start=1):
        if i == first:
            start = time.perf_counter()
    return (time.perf_counter() - start) / (EPOCHS - WARM_UP)
