"""From a row number to the image a network is given; what a batch is.

The random choices of a training image are a function of (seed, draw key, row) alone, so it does not matter
which process or thread makes the image, nor in which order: a batch has the same bytes for any number of
workers.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from urnet.config.recipe import Transform
from urnet.core.checks import InputError
from urnet.data.images.decode import MAX_PIXELS, UnreadableImage, decode, read_bytes
from urnet.data.images.multi_crop import MultiCrop
from urnet.data.images.reduced_decode import train_view
from urnet.data.images.transforms import eval_transform
from urnet.data.images.views import Kind, transforms_of
from urnet.data.loading.prefetch import Decoded, Job, Prefetcher, Source, decode_here
from urnet.data.loading.worker_pool import WorkerPool


@dataclass
class Batch:
    """B images and the rows they belong to. An unreadable image is all zeros and ``readable`` is False."""

    rows: np.ndarray  # int64 (B,)
    images: Any  # uint8 (B, size, size, 3), RGB, (B, V, size, size, 3) of V views; a DaliLoader's are a tensor
    readable: np.ndarray  # bool (B,)


class RowRandom:
    """One generator that starts anew for each (seed, draw key, row).

    Numbers come from Philox with key (seed, draw) and counter row * 2^64: the streams of different rows,
    draws or seeds never overlap. Setting the counter of one generator takes a sixth of the time of making a
    new one. Not to be shared by threads.
    """

    def __init__(self, seed: int) -> None:
        self._philox = np.random.Philox(key=np.array([seed, 0], np.uint64))
        self._generator = np.random.Generator(self._philox)
        self._fresh = self._philox.state

    def __call__(self, draw: int, row: int) -> np.random.Generator:
        """The generator at the beginning of its stream for this draw and row, both 0 to 2^64 - 1."""
        inner = self._fresh["state"]
        inner["key"][1] = draw
        inner["counter"][1] = row
        self._philox.state = self._fresh
        return self._generator


class ImageSource:
    """Makes the image of a row: ``source(row, draw) -> (uint8 (size, size, 3), "")``, or (None, why not).

    ``path_of(row)`` names the file. With ``train`` the image is a random view that depends on ``seed``,
    ``draw`` (the trainer's key of stage and epoch) and ``row`` only; without, it is the evaluation's view.
    ``reduced``: a JPEG far larger than its training view is decoded at 1/2, 1/4 or 1/8 of its size
    (reduced_decode.py); False decodes all pixels. The evaluation's view is always made from all pixels.
    ``views``: without ``train``, several views per image in place of the one. ``train_views``: with ``train``, so many
    random views per image, one after the other from the row's stream: the first is the only one of 1. A number: all are
    made alike; else the kind of each, ``own``, ``weak`` or ``strong`` (views.py), as ``("weak", "strong")``.
    """

    def __init__(
        self,
        path_of: Callable[[int], str],
        transform: Transform,
        *,
        train: bool,
        seed: int = 0,
        exif: str = "honour",
        max_pixels: int = MAX_PIXELS,
        reduced: bool = True,
        views: MultiCrop | None = None,
        train_views: int | Sequence[Kind] = 1,
    ) -> None:
        self.path_of, self.transform, self.train, self.seed = path_of, transform, train, seed
        self.exif, self.max_pixels, self.reduced, self.views = exif, max_pixels, reduced, views
        self._train_transforms = transforms_of(transform, train_views)
        self.train_views = len(self._train_transforms)
        one = (transform.size, transform.size, 3)
        n_views = self.train_views if train and self.train_views > 1 else None if views is None else views.n_views
        self.shape: tuple[int, ...] = one if n_views is None else (n_views, *one)
        self._local = threading.local()

    def __call__(self, row: int, draw: int) -> tuple[np.ndarray | None, str]:
        """The row's image or views and "", or None and the reason why it is unreadable."""
        return self.view(self.path_of(row), row, draw)

    def view(self, path: str, row: int, draw: int) -> tuple[np.ndarray | None, str]:
        """As calling it, where the row's path is known already."""
        try:
            return self.view_of(read_bytes(path, self.max_pixels), row, draw), ""
        except UnreadableImage as error:
            return None, error.reason

    def view_of(self, data: bytes, row: int, draw: int) -> np.ndarray:
        """The image or views of a row whose file has these bytes. Raises UnreadableImage."""
        if self.train:
            rng = self.random(draw, row)
            made = [self._train_view(data, each, rng) for each in self._train_transforms]
            return made[0] if len(made) == 1 else np.stack(made)
        image = decode(data, exif=self.exif, max_pixels=self.max_pixels)
        return eval_transform(image, self.transform) if self.views is None else self.views(image)

    def _train_view(self, data: bytes, transform: Transform, rng: np.random.Generator) -> np.ndarray:
        return train_view(data, transform, rng, exif=self.exif, max_pixels=self.max_pixels, reduced=self.reduced)

    def __getstate__(self) -> dict[str, Any]:
        """For a worker process, which gets the paths with each job: everything but ``path_of``."""
        return {**vars(self), "path_of": None, "_local": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _local=threading.local())

    def random(self, draw: int, row: int) -> np.random.Generator:
        """The row's stream at its beginning; each thread has one of its own."""
        if not hasattr(self._local, "random"):
            self._local.random = RowRandom(self.seed)
        return self._local.random(draw, row)


class Pool(Protocol):
    """What decodes the jobs of one iteration."""

    def run(self, jobs: Iterator[Job]) -> Iterator[Any]:
        """What ``Loader._deliver`` takes, of each job, in order; asked in a thread of its own."""

    def stop(self) -> None:
        """Make ``run`` end soon, whichever thread it is in."""

    def close(self) -> None:
        """End all that was started; ``run`` is not asked any more."""


class Loader:
    """Iterates over ``Batch`` es in the order of ``batches``, decoded ahead.

    ``batches`` yields (draw key, rows); a list or another object that can be iterated again serves several
    epochs. ``workers=0`` decodes in one background thread, else in that many processes (Linux and macOS),
    which take half a second to start. At most ``prefetch`` batches wait decoded. An unreadable image never
    raises: its row is in ``bad`` as (path, reason) once its batch is delivered. ``wait_seconds`` sums up how
    long the consumer waited. An exception inside ``source`` or ``batches`` is raised here as itself; a killed
    worker is a RuntimeError that names it. Leaving the iteration, by any way, ends thread and processes.

    Why no paddle.io.DataLoader (Paddle 3.3.1): each iteration left early leaves its workers and their shared memory
    behind, and a worker's exception or death arrives as a SystemError that says neither.
    `python tools/bench.py data --only tensors` measures both (docs/images.md has the figures).
    """

    def __init__(self, source: Source, batches: Iterable[Job], *, workers: int = 0, prefetch: int = 4) -> None:
        if workers < 0 or prefetch < 1:
            raise InputError(f"workers {workers}, prefetch {prefetch}: 0 or more, and 1 or more, are accepted")
        if workers > 0 and os.name != "posix":
            raise InputError(f"workers: found {workers}; on this system only 0 is accepted")
        self.source, self.batches, self.workers, self.prefetch = source, batches, workers, prefetch
        self.wait_seconds = 0.0
        self.bad: dict[int, tuple[str, str]] = {}
        self._runs: list[_Run] = []
        self._used_up = False

    def __iter__(self) -> Iterator[Batch]:
        jobs = iter(self.batches)
        if self._used_up:
            raise RuntimeError("batches was an iterator, which lasts for one epoch; pass a list for several")
        self._used_up = jobs is self.batches
        pool = self._open()
        items = pool.run(jobs) if pool else decode_here(self.source, jobs)
        run = _Run(Prefetcher(items, self.prefetch), pool)
        self._runs.append(run)
        try:
            while True:
                start = time.perf_counter()
                decoded = run.ahead.get()
                self.wait_seconds += time.perf_counter() - start
                if decoded is None:
                    return
                yield self._deliver(decoded)
        finally:
            run.close()
            self._runs.remove(run)

    def _open(self) -> Pool | None:
        """What decodes; None: the thread that looks ahead."""
        return WorkerPool(self.source, self.workers) if self.workers else None

    def _deliver(self, decoded: Decoded) -> Batch:
        readable = np.ones(len(decoded.rows), bool)
        for position, reason in decoded.bad:
            row = int(decoded.rows[position])
            readable[position] = False
            self.bad[row] = (self.source.path_of(row), reason)
        return Batch(decoded.rows, decoded.images, readable)

    def close(self) -> None:
        """End every iteration under way; asking such a one for its next batch is then a RuntimeError."""
        for run in list(self._runs):
            run.close()


class _Run:
    """One iteration under way: its thread and, with workers, its processes."""

    def __init__(self, ahead: Prefetcher, pool: Pool | None) -> None:
        self.ahead, self.pool = ahead, pool

    def close(self) -> None:
        if self.pool is not None:
            self.pool.stop()
        self.ahead.close()
        if self.pool is not None:
            self.pool.close()
