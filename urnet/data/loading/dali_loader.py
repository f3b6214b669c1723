"""Training batches whose JPEG files nvidia-dali decodes, on the card where Paddle's device is one.

The host reads the files, looks at their headers and draws (drawn_view.py), so rows, boxes, flips and colours are those
of any other loader. What dali is not asked for, and every batch that it fails at, OpenCV makes.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from urnet.data.images.decode import UnreadableImage, read_bytes
from urnet.data.images.drawn_view import SAME_COLOURS, DrawnView, drawn_view
from urnet.data.loading.dali_pipeline import build_pipeline, reason_of
from urnet.data.loading.loader import Batch, ImageSource, Loader
from urnet.data.loading.prefetch import Bad, Decoded, Job, paths_of
from urnet.runtime.host_to_device import on_gpu, to_tensor

CHUNK = 16  # files that a thread reads at a time
FAILURES = 8  # batches in a row that dali fails at: more than damaged files explain


@dataclass
class Made:
    """A batch between the thread that decodes and the one that trains."""

    rows: np.ndarray  # int64 (B,)
    bad: Bad
    views: Any | None  # dali's tensor uint8 (n, size, size, 3) of the positions ``places``; None: of no row
    places: list[int]
    colours: np.ndarray  # float32 (n, 3), of jittered()
    own: np.ndarray  # uint8 (B - n, size, size, 3): all other rows', in order; an unreadable one's is zeros


class DaliPool:
    """Threads that read and draw, and dali's pipeline; a Pool of the Loader. Paddle is not called here."""

    def __init__(self, source: ImageSource, threads: int, device_id: int | None) -> None:
        self._source, self._threads, self._device_id = source, max(1, threads), device_id
        self._readers = ThreadPoolExecutor(self._threads, "urnet-read")
        self._pipeline: Any = None
        self._most, self._failures, self._said, self._stopped = 0, 0, False, False

    def run(self, jobs: Iterator[Job]) -> Iterator[Made]:
        """The batches, in order; the files of the next one are read while one is decoded."""
        begun: deque[tuple[int, np.ndarray, list[Future]]] = deque()
        for draw, rows in jobs:
            rows = np.asarray(rows, np.int64)
            paths = paths_of(self._source, rows)
            parts = [slice(i, i + CHUNK) for i in range(0, len(rows), CHUNK)]
            begun.append((draw, rows, [self._readers.submit(self._read, draw, rows[p], paths[p]) for p in parts]))
            if len(begun) > 1:
                yield self._made(*begun.popleft())
        while begun:
            yield self._made(*begun.popleft())

    def _read(self, draw: int, rows: np.ndarray, paths: list[str]) -> list[DrawnView | np.ndarray | str]:
        """What is drawn of each row, its view where that is not dali's to make, or why it is unreadable."""
        return [self._look(path, row, draw) for path, row in zip(paths, rows.tolist(), strict=True)]

    def _look(self, path: str, row: int, draw: int) -> DrawnView | np.ndarray | str:
        source = self._source
        try:
            data = read_bytes(path, source.max_pixels)
            drawn = drawn_view(
                data,
                source.transform,
                source.random(draw, row),
                exif=source.exif,
                max_pixels=source.max_pixels,
                reduced=source.reduced,
            )
            return source.view_of(data, row, draw) if drawn is None else drawn
        except UnreadableImage as error:
            return error.reason

    def _made(self, draw: int, rows: np.ndarray, parts: list[Future]) -> Made:
        if self._stopped:
            raise RuntimeError("the loader was closed")
        found: list[Any] = [each for part in parts for each in part.result()]
        places = [place for place, each in enumerate(found) if isinstance(each, DrawnView)]
        views = self._decoded([found[place] for place in places]) if places else None
        if views is None:
            for place in places:
                found[place] = self._by_opencv(found[place].data, int(rows[place]), draw)
            places = []
        bad = [(place, each) for place, each in enumerate(found) if isinstance(each, str)]
        size = self._source.transform.size
        zeros = np.zeros((size, size, 3), np.uint8)
        own = [zeros if isinstance(each, str) else each for each in found if not isinstance(each, DrawnView)]
        colours = np.array([found[place].colours for place in places], np.float32).reshape(-1, 3)
        return Made(rows, bad, views, places, colours, np.array(own, np.uint8).reshape(-1, size, size, 3))

    def _by_opencv(self, data: bytes, row: int, draw: int) -> np.ndarray | str:
        try:
            return self._source.view_of(data, row, draw)
        except UnreadableImage as error:
            return error.reason

    def _decoded(self, drawn: list[DrawnView]) -> Any | None:
        """dali's tensor of these; None where it failed, which ends its pipeline: the next batch begins another.

        Raises RuntimeError after FAILURES batches in a row.
        """
        try:
            if self._pipeline is None or len(drawn) > self._most:
                self._pipeline, self._most = None, max(self._most, len(drawn))
                self._pipeline = build_pipeline(self._source.transform.size, self._most, self._threads, self._device_id)
            (views,) = self._pipeline.run(
                encoded=[np.frombuffer(each.data, np.uint8) for each in drawn],
                box=np.array([each.box for each in drawn], np.int32),
                low_pass=np.array([each.low_pass for each in drawn], np.int32),
                flip=np.array([each.flip for each in drawn], np.int32),
            )
            views = views.as_tensor()
        except Exception as error:  # of what kind dali says nowhere
            self._pipeline = None
            self._failed(len(drawn), error)
            return None
        self._failures = 0
        return views

    def _failed(self, n: int, error: Exception) -> None:
        self._failures += 1
        why = reason_of(error)
        if self._failures == FAILURES:
            raise RuntimeError(
                f"nvidia-dali failed at {FAILURES} batches in a row, the last time with: {why}; -o data.decoder=opencv "
                "continues without it"
            ) from error
        if not self._said:
            print(
                f"nvidia-dali failed at a batch of {n} images ({why}); OpenCV makes this batch, and later ones if "
                "it happens again",
                file=sys.stderr,
                flush=True,
            )
        self._said = True

    def stop(self) -> None:
        """Make ``run`` end soon, whichever thread it is in."""
        self._stopped = True

    def close(self) -> None:
        """End the threads and the pipeline."""
        self._readers.shutdown(cancel_futures=True)
        self._pipeline = None


class DaliLoader(Loader):
    """A Loader of training views whose batches' images are tensors on Paddle's current device, uint8 (B, S, S, 3).

    ``workers`` threads, at least one, read files and work for dali. ``source`` is of one view per image,
    random_resized_crop, without TrivialAugment and erasing (``urnet.config.combinations``).
    """

    def __init__(self, source: ImageSource, batches: Iterable[Job], *, workers: int = 0, prefetch: int = 4) -> None:
        super().__init__(source, batches, workers=workers, prefetch=prefetch)
        self._images, self._held = source, deque[tuple[Any, Any]]()

    def _open(self) -> DaliPool:
        device_id = int(paddle.get_device().partition(":")[2]) if on_gpu() else None
        return DaliPool(self._images, self.workers, device_id)

    @paddle.no_grad()
    def _deliver(self, made: Any) -> Batch:
        return super()._deliver(Decoded(made.rows, self._joined(made), made.bad))

    def _joined(self, made: Made) -> paddle.Tensor:
        if made.views is None:
            return to_tensor(made.own)
        views = paddle.utils.dlpack.from_dlpack(made.views)
        changed = bool((made.colours != np.array(SAME_COLOURS, np.float32)).any())
        images = jittered(views, to_tensor(made.colours)) if changed else views.clone()
        self._hold(made.views)
        if not len(made.own):
            return images
        order = np.empty(len(made.rows), np.int64)
        order[made.places] = np.arange(len(made.places))
        order[np.setdiff1d(np.arange(len(order)), made.places)] = len(made.places) + np.arange(len(made.own))
        return paddle.gather(paddle.concat([images, to_tensor(made.own)]), to_tensor(order))

    def _hold(self, views: Any) -> None:
        """Keep dali's memory until the card has read it; dali would use it again as soon as nobody holds it."""
        if on_gpu():
            event = paddle.device.Event()
            event.record()
            self._held.append((event, views))
            while self._held and self._held[0][0].query():
                self._held.popleft()


def jittered(images: paddle.Tensor, colours: paddle.Tensor) -> paddle.Tensor:
    """Each image's map of colours, a x + s g + k m of ``colours`` float32 (B, 3); rounded half up and clipped once.

    ``images`` uint8 (B, S, S, 3); g is a pixel's grey and m the image's mean of it (``transforms.colour_jitter``, of
    which it is a level away at most: there the coefficients are rounded).
    """
    x = images.astype("float32")
    grey = 0.299 * x[..., 0:1] + 0.587 * x[..., 1:2] + 0.114 * x[..., 2:3]
    a, s, k = colours.reshape([-1, 3, 1, 1, 1]).unbind(1)
    return (a * x + s * grey + k * grey.mean([1, 2], keepdim=True) + 0.5).floor().clip(0, 255).astype("uint8")
