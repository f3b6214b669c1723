"""Times one kind of stage: steps, batches of evaluation and of measuring, checkpoints, images that nobody uses."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

import models
from tools.planning.pace import Pace, Pass, timed_pass
from urnet.config.recipe import Recipe
from urnet.config.stage import Measure
from urnet.core.progress import Progress
from urnet.core.signals import GracefulStop
from urnet.data.lists.image_list import ImageList
from urnet.data.loading.worker_pool import CHUNK, CHUNKS_AHEAD
from urnet.data.table.table import Table

LEAST_STEPS = 5  # fewer than STEPS only where those take longer than LONG together
WARM_UP, BATCHES = 3, 5
LONG = 60.0  # seconds of the steps of one kind of stage


@dataclass(frozen=True)
class Timed:
    """One kind of stage: its steps, what they waited for, and what else is done."""

    stages: tuple[str, ...]  # of this kind
    steps: int
    step: Pace
    waits: float  # share of the steps' time that the network waited for images
    busy: float  # CPU seconds of this process a second of the steps; decoding processes have their own
    begin: float  # seconds until the first step was done, once a stage
    bn: Pass | None  # training images for a moving average's batch norm
    view: Pass  # validation images
    save: float  # seconds, of a checkpoint for --resume
    save_for_use: float  # of best/ or final/
    unreadable: int  # images met that could not be read


class Display:
    """How far the timing is, on the stderr of when it began; what the training shows of itself goes nowhere."""

    def __init__(self, total: int) -> None:
        self._stderr, self._progress = sys.stderr, Progress("timing", total, "batches", line_seconds=5.0)

    def update(self, n: int = 1) -> None:
        """Count ``n`` batches more."""
        with contextlib.redirect_stderr(self._stderr):
            self._progress.update(n)

    def __enter__(self) -> Display:
        self._quiet = contextlib.redirect_stderr(io.StringIO())
        self._quiet.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._quiet.__exit__(*error)
        self._progress.close()


def warm_up(recipe: Recipe, batch_size: int) -> int:
    """Steps that do not count: the first ones, and those whose images were decoded while nothing was timed."""
    slots = -(-recipe.data.workers * CHUNKS_AHEAD * CHUNK // batch_size) if batch_size > 1 else 0
    return max(WARM_UP, recipe.data.prefetch + 1 + slots)


def timed_stage(job: Any, names: tuple[str, ...], start: float, n: int, shown: Display) -> Timed:
    """Time ``n`` steps of a StageJob that began at ``start``, and what else is done."""
    from urnet.training.trainer import Trainer

    trainer = Trainer(job)
    seconds, waits, cpu = [], [], 0.0
    n_warm = warm_up(job.recipe, job.stage.batch_size)
    with trainer.open_log() as log, contextlib.closing(cast(Any, trainer.steps(log))) as steps:
        begin = 0.0
        for number in range(n_warm):
            _next(steps)
            begin = begin or time.perf_counter() - start
            shown.update()
            if number + 1 >= WARM_UP and time.perf_counter() - start > LONG / 2:
                break
        timing, cpu = time.perf_counter(), time.process_time()
        for number in range(n):
            before = time.perf_counter()
            waits.append(_next(steps))
            seconds.append(time.perf_counter() - before)
            shown.update()
            if number + 1 >= LEAST_STEPS and time.perf_counter() - timing > LONG:
                break
        cpu = time.process_time() - cpu
        images = _drawn(job, n_warm, len(seconds))
        bn, view = _evaluation(job, trainer.state, shown)
        save, save_for_use = _saving(job, trainer.state)
    bad = job.folder / "unreadable.txt"
    return Timed(
        names,
        len(seconds),
        Pace.of(seconds, images),
        sum(waits) / sum(seconds),
        cpu / sum(seconds),
        begin,
        bn,
        view,
        save,
        save_for_use,
        len(bad.read_text(encoding="utf-8").splitlines()) if bad.is_file() else 0,
    )


def _next(steps: Iterator[float]) -> float:
    """One step, the device's queue included; the seconds it waited for its images."""
    from urnet.runtime.device_to_host import device_done

    waited = next(steps)
    device_done()
    return waited


def _drawn(job: Any, first: int, n: int) -> list[int]:
    """Images of each of the steps ``first`` and after; an epoch's only batch may be short."""
    return [len(job.rows_of(step)) for step in range(first, first + n)]


class Stamps(GracefulStop):
    """Notes when it was asked whether to stop: evaluation and measuring do so at each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[float] = []

    def check(self) -> None:
        self.moments.append(time.perf_counter())
        super().check()


def _evaluation(job: Any, state: Any, shown: Display) -> tuple[Pass | None, Pass]:
    """Batch norm's images, where there are any, and the validation's: a few batches of each, after each other."""
    from urnet.nn.ema import BATCH_NORMS
    from urnet.training.validation import evaluated

    few = dataclasses.replace(job, validation=some_of(job.validation, BATCHES * job.view_batch))
    stamps, start = Stamps(), time.perf_counter()
    with evaluated(few, state, stamps):
        end = time.perf_counter()
    shown.update(2 * BATCHES)
    sizes = [min(job.view_batch, len(few.validation) - i) for i in range(0, len(few.validation), job.view_batch)]
    drawn: list[int] = []
    if (
        job.kept is None
        and job.stage.ema is not None
        and any(isinstance(layer, BATCH_NORMS) for layer in job.network.sublayers(True))
    ):
        drawn = [len(rows) for rows in itertools.islice(job.sampler.batches(0, job.view_batch), BATCHES)]
    moments, n_bn, bn = stamps.moments, len(drawn), None
    if drawn:
        n = max(n_bn - 1, 1)  # what comes after the last is the validation's start
        bn = timed_pass(start, moments[:n], moments[n], drawn[:n])
        start = min(moments[n_bn - 1] + bn.pace.seconds * drawn[-1], moments[n_bn])
    seen = moments[n_bn:]  # a batch of which no image can be read is not
    return bn, timed_pass(start, seen, end, sizes[: len(seen)])


def some_of(images: ImageList, n: int) -> ImageList:
    """At most ``n`` images of a list, from all of it."""
    rows = np.unique(np.linspace(0, len(images) - 1, min(n, len(images))).round().astype(np.int64))
    lines = None if images.lines is None else images.lines[rows]
    paths = images.paths.arrow.take(pa.array(rows))
    return ImageList(paths, images.labels[rows], images.root, lines=lines, source=images.source)


def _saving(job: Any, state: Any) -> tuple[float, float]:
    """Seconds of a checkpoint for --resume, and of one for use."""
    from urnet.checkpoints import checkpoint

    parts = state.state()
    parts.pop("scaler")
    seconds = []
    for name, more in (("resume", parts), ("use", {})):
        start = time.perf_counter()
        checkpoint.save(job.folder / name, weights=state.weights(), state={}, **more)
        seconds.append(time.perf_counter() - start)
    return seconds[0], seconds[1]


def measuring_pass(recipe: Recipe, measure: Measure, amp: str | None, table: Table, folder: Path) -> Pass:
    """Features of a few batches of training images."""
    from urnet.data.loading.loader import ImageSource
    from urnet.features.extract import FeatureJob

    data, size = recipe.data, measure.batch_size
    rows = np.unique(np.linspace(0, table.n_rows - 1, min(BATCHES * size, table.n_rows)).round().astype(np.int64))
    source = ImageSource(
        lambda row: table.path(int(rows[row])),
        recipe.transform,
        train=False,
        exif=data.exif,
        max_pixels=data.max_pixels,
    )
    stamps = Stamps()
    job = FeatureJob(
        source,
        table.column("label")[rows],
        folder,
        fingerprint="",
        base_hash="",
        k=measure.top_k,
        batch_size=size,
        views=measure.views,
        front=measure.front,
        workers=data.workers,
        prefetch=data.prefetch,
        max_bad=len(rows),
        amp=amp,
        compiled=recipe.model.compile,
        stop=stamps,
    )
    network = models.build(recipe.model.name, recipe.data.n_classes)
    start = time.perf_counter()
    job.run(network)
    sizes = [min(size, len(rows) - i) for i in range(0, len(rows), size)]
    return timed_pass(start, stamps.moments[: len(sizes)], time.perf_counter(), sizes)


def decoding_pace(job: Any) -> Pace:
    """The loader alone: training images that nobody uses, once what was decoded with the first ones is used up."""
    seconds, images = [], []
    n_warm = warm_up(job.recipe, job.stage.batch_size)
    with contextlib.closing(job.training_loader(0, n_warm + BATCHES)) as loader:
        before = time.perf_counter()
        for number, batch in enumerate(loader):
            now = time.perf_counter()
            if number >= n_warm:
                seconds.append(now - before)
                images.append(len(batch.rows))
            before = now
    total = sum(seconds) / sum(images)  # of processes batches come several at once: single ones say nothing
    return Pace(total, total, total, sum(images))
