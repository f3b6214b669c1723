"""Runs an image source ahead of its consumer in a thread (worker_pool.py: in processes)."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

Job = tuple[int, np.ndarray]  # draw key, rows
Bad = list[tuple[int, str]]  # position in the rows, reason


class Source(Protocol):
    """What makes images (dataset.ImageSource): the view of a row, or None and the reason why not."""

    shape: tuple[int, ...]  # of what is made of a row: (size, size, 3), or (views, size, size, 3)

    def path_of(self, row: int) -> str:
        """The row's file; asked in the consumer's process."""

    def view(self, path: str, row: int, draw: int) -> tuple[np.ndarray | None, str]:
        """uint8 array of ``shape`` and "", or None and the reason; asked in any process, in any order."""


class Decoded(NamedTuple):
    """The images of B rows, uint8 (B, *shape), and which of them could not be read."""

    rows: np.ndarray
    images: np.ndarray
    bad: Bad


def fill(source: Source, draw: int, rows: np.ndarray, paths: Sequence[str], images: np.ndarray) -> Bad:
    """Write the rows' images into ``images``; zeros for the unreadable ones, which are returned."""
    bad = []
    for position, (row, path) in enumerate(zip(rows.tolist(), paths, strict=True)):
        image, reason = source.view(path, row, draw)
        if image is None:
            images[position] = 0
            bad.append((position, reason))
        else:
            images[position] = image
    return bad


def paths_of(source: Source, rows: np.ndarray) -> list[str]:
    """The rows' files."""
    return [source.path_of(row) for row in rows.tolist()]


def decode_here(source: Source, jobs: Iterator[Job]) -> Iterator[Decoded]:
    """The decoded batches, in order, made by the thread that asks for them."""
    for draw, rows in jobs:
        rows = np.asarray(rows, np.int64)
        images = np.empty((len(rows), *source.shape), np.uint8)
        yield Decoded(rows, images, fill(source, draw, rows, paths_of(source, rows), images))


class Prefetcher:
    """Runs a generator in a thread, at most ``depth`` items ahead."""

    def __init__(self, items: Iterator[Any], depth: int) -> None:
        self._items = items
        self._queue: queue.Queue[Any] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="urnet-loader", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        end: BaseException | None = None
        try:
            for item in self._items:
                if not self._put((item, None)):
                    return
        except BaseException as error:
            end = error
        self._put((None, end))

    def _put(self, item: Any) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                pass
        return False

    def get(self) -> Any:
        """The next item, or None at the end; raises what the generator raised."""
        while True:
            if self._stop.is_set():
                raise RuntimeError("the loader was closed")
            try:
                item, error = self._queue.get(timeout=0.2)
                break
            except queue.Empty:
                pass
        if error is not None:
            raise error
        return item

    def close(self) -> None:
        """Stop the thread after the item it is making, and wait for it."""
        self._stop.set()
        self._thread.join()
