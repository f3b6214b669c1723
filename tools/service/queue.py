"""The way of an image through tools/serve.py: decoded by a thread, then computed with others.

All in the service's event loop: one task hands batches to the engine, what is there when the last one is done,
up to ``batch_size`` images, whichever requests they came with. It never waits for more.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

NEWEST = 0.2  # weight of the newest batch in the average of the seconds an image takes


class Full(Exception):
    """More images than the queue takes; ``seconds`` until it is likely to be empty."""

    def __init__(self, seconds: float) -> None:
        super().__init__("the queue is full")
        self.seconds = max(1, math.ceil(seconds))


class Pipeline:
    """``predict(blobs)`` takes image files' bytes to what ``compute`` says, or the error, of each.

    ``prepare(blob)`` makes an image (S, S, 3); what it raises is that image's result. ``compute(images)``
    takes (n, S, S, 3), n <= batch_size, and gives n results, probabilities (C,) say; what it raises is the result of
    all n. ``limit`` images are accepted
    at a time. Of a caller that was cancelled, only what has begun is still computed.
    """

    def __init__(
        self,
        prepare: Callable[[bytes], np.ndarray],
        compute: Callable[[np.ndarray], Sequence[Any] | np.ndarray],
        *,
        batch_size: int,
        limit: int,
        decoders: int,
    ) -> None:
        self._prepare, self._compute = prepare, compute
        self.batch_size, self.limit = batch_size, limit
        self.pending, self.batches, self.computed = 0, 0, 0
        self.image_seconds = 0.0  # average of the last few batches, decoding and waiting included
        self._since = 0.0  # when the last batch ended, or the first image came after a pause
        self._ready: asyncio.Queue[tuple[np.ndarray, asyncio.Future[Any]]] = asyncio.Queue()
        self._decoders = ThreadPoolExecutor(decoders, thread_name_prefix="decode")
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="engine")

    def wait_seconds(self) -> float:
        """Until all that is accepted now has been computed, about."""
        return self.image_seconds * self.pending

    def check_space(self, n: int = 1) -> None:
        """Raise Full where ``n`` more images are too many."""
        if self.pending + n > self.limit:
            raise Full(self.wait_seconds())

    async def predict(self, blobs: Sequence[bytes]) -> list[Any]:
        """The result of each; all are accepted, or none of them: raises Full."""
        self.check_space(len(blobs))
        if not self.pending:
            self._since = time.monotonic()
        self.pending += len(blobs)
        try:
            return await asyncio.gather(*map(self._predict, blobs), return_exceptions=True)
        finally:
            self.pending -= len(blobs)

    async def _predict(self, blob: bytes) -> Any:
        loop = asyncio.get_running_loop()
        image = await loop.run_in_executor(self._decoders, self._prepare, blob)
        result: asyncio.Future[Any] = loop.create_future()
        self._ready.put_nowait((image, result))
        return await result

    async def run(self) -> None:
        """Compute batches until cancelled."""
        while True:
            batch = [await self._ready.get()]
            while len(batch) < self.batch_size and not self._ready.empty():
                batch.append(self._ready.get_nowait())
            wanted = [(image, result) for image, result in batch if not result.done()]
            if wanted:
                await self._compute_batch([image for image, _ in wanted], [result for _, result in wanted])

    async def _compute_batch(self, images: list[np.ndarray], results: list[asyncio.Future[Any]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            rows = await loop.run_in_executor(self._engine, self._compute, np.stack(images))
        except Exception as error:
            print(f"failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            for result in results:
                if not result.done():
                    result.set_exception(error)
            return
        self.batches, self.computed = self.batches + 1, self.computed + len(images)
        now = time.monotonic()
        seconds, self._since = (now - self._since) / len(images), now
        self.image_seconds += (NEWEST if self.image_seconds else 1.0) * (seconds - self.image_seconds)
        for result, row in zip(results, rows, strict=True):
            if not result.done():
                result.set_result(row)
