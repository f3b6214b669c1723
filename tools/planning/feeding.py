"""Whether a machine's cores can decode the images that its processes take: one core is timed here."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tools.speed.figures import aligned
from urnet.config.recipe import Recipe
from urnet.core.checks import InputError
from urnet.core.counted import plural
from urnet.data.lists.build_table import training_rows
from urnet.data.loading.loader import ImageSource

IMAGES, PASSES = 64, 3  # timed, so often; the first pass is not timed, as it fetches the files
HEAD = ("", "one core", "all cores, at most", "wanted", "cores needed")


@dataclass(frozen=True)
class Feeding:
    """Images a second of a machine: what one core decodes, and what ``processes`` take at ``rates`` each.

    ``one_core`` and ``rates`` by what is made: views for "training", and for "evaluation" and measuring.
    """

    cores: int  # of a machine
    processes: int  # on it
    one_core: dict[str, float]
    rates: dict[str, float]  # of one process
    images: str  # what was decoded, or the flag
    on_card: bool = False  # the recipe has the cards decode the training's JPEG files

    def needed(self, what: str) -> float:
        """Cores that only decode, if all decode as fast as one does alone."""
        return self.rates[what] * self.processes / self.one_core[what]


def feeding(
    recipe: Recipe, cores: int, processes: int, rates: dict[str, float], views_per_core: float | None
) -> Feeding:
    """Of ``cores`` cores for ``processes`` processes of these rates; one core is timed here, or ``views_per_core`` are
    taken for training and evaluation alike. Raises InputError where no image can be read."""
    on_card = recipe.data.decoder == "dali"
    if views_per_core is not None:
        return Feeding(cores, processes, dict.fromkeys(rates, views_per_core), rates, "--views-per-core", on_card)
    with tempfile.TemporaryDirectory() as folder:
        files, about = _files(recipe, Path(folder))
        one_core = {what: views_a_second(recipe, files, train=what == "training") for what in rates}
    return Feeding(cores, processes, one_core, rates, about, on_card)


def _files(recipe: Recipe, folder: Path) -> tuple[list[str], str]:
    """The recipe's first training images where they are here, else photographs of a usual size, and which they are."""
    try:
        paths, _ = next(iter(training_rows(recipe.data, quiet=True)))
        files = [str(Path(recipe.data.root) / path.as_py()) for path in islice(paths, IMAGES)]
    except (InputError, StopIteration):
        files = []
    if any(Path(file).is_file() for file in files):
        return files, f"the recipe's first {plural(len(files), 'image')}"
    from tools.speed.photographs import WEB, write_photographs  # the data need not be on this machine

    width, height = WEB
    about = f"{IMAGES} photographs of {width} x {height} pixels, as the recipe's images are not here"
    return [str(file) for file in write_photographs(folder, IMAGES)], about


def views_a_second(recipe: Recipe, files: Sequence[str], *, train: bool) -> float:
    """Views that one core makes of these files in a second of its own time: what other programs take is not in it,
    nor is waiting for the disk. The best of ``PASSES``."""
    import cv2

    data, transform = recipe.data, recipe.transform
    source = ImageSource(
        files.__getitem__,
        transform,
        train=train,
        exif=data.exif,
        max_pixels=data.max_pixels,
        reduced=transform.reduced_decode == "auto",
    )
    threads, seconds = cv2.getNumThreads(), []
    cv2.setNumThreads(1)  # a worker has one
    try:
        rows = [row for row in range(len(files)) if source(row, 0)[0] is not None]
        if not rows:
            reason = source(0, 0)[1]
            raise InputError(f"--cores: none of {plural(len(files), 'image')} can be read ({files[0]}: {reason})")
        for draw in range(PASSES):
            start = time.thread_time()
            for row in rows:
                source(row, draw)
            seconds.append(time.thread_time() - start)
    finally:
        cv2.setNumThreads(threads)
    return len(rows) / min(seconds)


def feeding_lines(found: Feeding) -> Iterator[str]:
    """What one core, all cores and the processes do, and whether that is enough."""
    rows = []
    for what, rate in found.rates.items():
        one = found.one_core[what]
        numbers = (one, one * found.cores, rate * found.processes)
        rows.append((what, *(f"{number:,.0f}" for number in numbers), f"{found.needed(what):,.1f}"))
    yield from aligned([HEAD, *rows])
    yield f"One core: {found.images}; {plural(found.cores, 'core')} and {found.processes} processes per machine."
    if found.on_card:
        yield (
            "With data.decoder: dali the GPUs decode the JPEG files for training, at a rate that was not measured; the "
            "figures of the cores are for all other files, for evaluation and for measuring."
        )
        return
    needed = found.needed("training")
    at_most = found.cores * found.one_core["training"] / found.processes
    if needed > found.cores:
        yield (
            f"The cores cannot feed the training: at most {at_most:,.0f} images/s per process are decoded, "
            f"{found.cores / needed:.0%} of {found.rates['training']:,.0f}; the hours are at least "
            f"{needed / found.cores:.2f} times as many as shown."
        )
        yield (
            "What helps: smaller image files (500 pixels wide, say), more cores, or the same processes on more "
            "machines; -o data.decoder=dali lets the GPUs decode JPEG files (this was never run on a GPU)."
        )
        return
    yield (
        f"The cores can feed the training if {needed / found.cores:.0%} of them decode: "
        f"data.workers={max(1, math.ceil(needed / found.processes))} or more per process."
    )
    if needed > 0.7 * found.cores:
        yield "That is close: cores share memory and caches, so together they decode less than the sum of single cores."
