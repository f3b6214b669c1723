"""The way of an image through tools/serve.py: decoded by a thread, then computed with others.

One thread hands batches to the engine: what is there when the last one is done, up to ``batch_size`` images,
whichever requests they came with. It never waits for more.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

NEWEST = 0.2  # weight of the newest batch in the average of the seconds an image takes
RETRY_SECONDS = 10.0  # between two attempts to recover
CLOSING_SECONDS = 5.0  # that closing waits for what was accepted


class Full(Exception):
    """More images than the queue takes; ``seconds`` until it is likely to be empty."""

    def __init__(self, seconds: float) -> None:
        super().__init__("the queue is full")
        self.seconds = max(1, math.ceil(seconds))


class Pipeline:
    """``submit(blobs)`` takes image files' bytes and returns a Future of probabilities (C,) for each.

    ``prepare(blob)`` makes an image (S, S, 3); what it raises is that image's result. ``compute(images)``
    takes (n, S, S, 3), n <= batch_size; what it raises is the result of all n. ``limit`` images are accepted
    at a time. A future that was cancelled costs nothing any more, unless its work has begun. ``recover()`` is
    called after a batch that failed, and again until it raises nothing or a batch succeeds.
    """

    def __init__(
        self,
        prepare: Callable[[bytes], np.ndarray],
        compute: Callable[[np.ndarray], np.ndarray],
        *,
        batch_size: int,
        limit: int,
        decoders: int,
        recover: Callable[[], None] = lambda: None,
    ) -> None:
        self._prepare, self._compute, self._recover = prepare, compute, recover
        self.batch_size, self.limit = batch_size, limit
        self.pending, self.batches, self.computed = 0, 0, 0
        self.image_seconds = 0.0  # average of the last few batches, decoding and waiting included
        self._since = 0.0  # when the last batch ended, or the first image came after a pause
        self._ready: deque[tuple[Future, np.ndarray]] = deque()
        self._changed = threading.Condition()
        self._closing = self._failing = False
        self._decoders = ThreadPoolExecutor(decoders, thread_name_prefix="decode")
        self._worker = threading.Thread(target=self._work, name="engine", daemon=True)
        self._worker.start()

    @property
    def alive(self) -> bool:
        """Whether something computes: the thread is there, and after a failed batch ``compute`` recovered."""
        return self._worker.is_alive() and not self._failing

    def wait_seconds(self) -> float:
        """Until all that is accepted now has been computed, about."""
        return self.image_seconds * self.pending

    def submit(self, blobs: Sequence[bytes]) -> list[Future]:
        """Accept all, or none of them: raises Full."""
        with self._changed:
            if self.pending + len(blobs) > self.limit or self._closing:
                raise Full(self.wait_seconds())
            if not self.pending:
                self._since = time.monotonic()
            self.pending += len(blobs)
        futures: list[Future] = [Future() for _ in blobs]
        for future, blob in zip(futures, blobs, strict=True):
            self._decoders.submit(self._decode, future, blob)
        return futures

    def _decode(self, future: Future, blob: bytes) -> None:
        image = None
        try:
            if not future.cancelled():
                image = self._prepare(blob)
        except Exception as error:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        with self._changed:
            if image is None:
                self.pending -= 1
            else:
                self._ready.append((future, image))
            self._changed.notify_all()

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            wanted = [item for item in batch if item[0].set_running_or_notify_cancel()]
            if wanted:
                self._answer(*zip(*wanted, strict=True))
            with self._changed:
                self.pending -= len(batch)
                self._changed.notify_all()
            if self._failing:
                self._try_to_recover()

    def _answer(self, futures: Sequence[Future], images: Sequence[np.ndarray]) -> None:
        try:
            answers = self._compute(np.stack(images))
        except Exception as error:
            self._failing = True
            print(f"failed: {type(error).__name__}: {error}", file=sys.stderr)
            for future in futures:
                future.set_exception(error)
            return
        self._failing = False
        self.batches, self.computed = self.batches + 1, self.computed + len(images)
        now = time.monotonic()
        seconds, self._since = (now - self._since) / len(images), now
        weight = NEWEST if self.image_seconds else 1.0
        self.image_seconds += weight * (seconds - self.image_seconds)
        for future, row in zip(futures, answers, strict=True):
            future.set_result(row)

    def _try_to_recover(self) -> None:
        try:
            self._recover()
            self._failing = False
        except Exception as error:
            print(f"failed: {type(error).__name__}: {error}", file=sys.stderr)

    def _next(self) -> list[tuple[Future, np.ndarray]] | None:
        """The next batch; an empty one when it is time to recover; None when closed and nothing is left."""
        with self._changed:
            seconds = RETRY_SECONDS if self._failing else None
            self._changed.wait_for(lambda: self._ready or (self._closing and not self.pending), seconds)
            if not self._ready and self._closing and not self.pending:
                return None
            n = min(self.batch_size, len(self._ready))
            return [self._ready.popleft() for _ in range(n)]

    def close(self) -> None:
        """Accept nothing more, compute what was accepted, end the threads.

        A batch that takes longer than CLOSING_SECONDS is left to its fate.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._worker.join(CLOSING_SECONDS)
        self._decoders.shutdown()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
