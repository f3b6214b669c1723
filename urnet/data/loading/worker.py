"""A worker process of worker_pool.py, which fills slots of shared memory with images.

It is a fresh interpreter that imports numpy, OpenCV and the image source, never Paddle, and ends when its
parent hangs up.
"""

from __future__ import annotations

import contextlib
import mmap
import pickle
import traceback
from multiprocessing.connection import Connection
from typing import Any

import cv2
import numpy as np

from urnet.data.loading.prefetch import fill


class Failure:
    """An exception on its way from a worker; one that cannot be pickled becomes a RuntimeError."""

    def __init__(self, error: BaseException) -> None:
        self.text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self._pickled: bytes | None = None
        with contextlib.suppress(Exception):
            pickled = pickle.dumps(error)
            if type(pickle.loads(pickled)) is type(error):
                self._pickled = pickled

    def exception(self) -> BaseException:
        """The exception, to be raised where the images are waited for."""
        with contextlib.suppress(Exception):
            if self._pickled is not None:
                return pickle.loads(self._pickled)
        return RuntimeError(self.text)


def main(connection_handle: int, memory_handle: int) -> None:
    """Serve the pipe ``connection_handle``; the open file ``memory_handle`` is the shared memory.

    The first message is (shape of the slots, pickled source), each further one (slot, draw key, rows, paths);
    the reply is (slot, unreadable ones) or a Failure.
    """
    cv2.setNumThreads(0)  # one worker, one core
    jobs = Connection(connection_handle)
    with contextlib.suppress(EOFError, OSError):  # the parent hung up, or is gone
        shape, pickled = jobs.recv()
        try:
            source: Any = pickle.loads(pickled)
        except BaseException as error:
            jobs.send(Failure(error))
            return
        slots = np.frombuffer(mmap.mmap(memory_handle, int(np.prod(shape))), np.uint8).reshape(shape)
        while True:
            slot, draw, rows, paths = jobs.recv()
            jobs.send(_reply(source, slots[slot], slot, draw, rows, paths))


def _reply(source: Any, images: np.ndarray, slot: int, draw: int, rows: np.ndarray, paths: list[str]) -> Any:
    try:
        return slot, fill(source, draw, rows, paths, images)
    except BaseException as error:
        return Failure(error)
