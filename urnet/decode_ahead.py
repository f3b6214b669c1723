"""Level 2: runs an image source ahead of its consumer in a thread (worker_pool.py: in processes)."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Optional

import numpy as np

Source = Callable[[int, int], tuple[Optional[np.ndarray], str]]  # (row, draw) -> image or None, reason
Job = tuple[int, np.ndarray]  # draw key, rows
Bad = list[tuple[int, str]]  # position in the rows, reason


class Decoded(NamedTuple):
    """The images of some rows, uint8 (B, size, size, 3), and which of them could not be read."""

    rows: np.ndarray
    images: np.ndarray
    bad: Bad


def fill(source: Source, draw: int, rows: np.ndarray, images: np.ndarray) -> Bad:
    """Write the rows' images into ``images``; zeros for the unreadable ones, which are returned."""
    bad = []
    for position, row in enumerate(rows.tolist()):
        image, reason = source(row, draw)
        if image is None:
            images[position] = 0
            bad.append((position, reason))
        else:
            images[position] = image
    return bad


def decode_here(source: Source, size: int, jobs: Iterator[Job]) -> Iterator[Decoded]:
    """The decoded batches, in order, made by the thread that asks for them."""
    for draw, rows in jobs:
        rows = np.asarray(rows, np.int64)
        images = np.empty((len(rows), size, size, 3), np.uint8)
        yield Decoded(rows, images, fill(source, draw, rows, images))


class Ahead:
    """Runs a generator in a thread, at most ``depth`` items ahead."""

    def __init__(self, items: Iterator[Any], depth: int) -> None:
        self._items = items
        self._queue: queue.Queue[Any] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="urnet-loader", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        end: Optional[BaseException] = None
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
