"""The best classes of images whose scores lie on the device: begun at once, read later."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import paddle

from urnet.core.top_k import check_finite, topk
from urnet.runtime.device_to_host import Downloads
from urnet.runtime.host_to_device import on_gpu

Best: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray | None]
Scores: TypeAlias = paddle.Tensor | tuple[paddle.Tensor, paddle.Tensor | None]
OF_ONE_FLOAT = 1 << 24  # classes whose numbers float32 holds exactly


class LateTopK:
    """What ``urnet.core.top_k.topk`` says of float32 ``scores`` (B, C) as they are now, to the bit.

    On a GPU its ranking is begun here, and k + 1 values per row travel to the host instead of C. There ``paddle.topk``
    orders equal scores as it pleases. Which scores are the k largest does not depend on that; nor which classes have
    them, unless the k-th equals the next one: such rows travel whole, when they are asked for. Equal ones among the k
    are put in order of their numbers. ``on_device`` False: the host ranks.
    """

    def __init__(self, scores: paddle.Tensor, k: int, downloads: Downloads, *, on_device: bool | None = None) -> None:
        if on_device is None:
            on_device = on_gpu()
        n_classes = scores.shape[1]
        self._k, self._downloads = k, downloads
        self._scores = scores
        self._found = None
        if on_device and 1 <= k <= n_classes < OF_ONE_FLOAT:
            values, classes = paddle.topk(scores, min(k + 1, n_classes), axis=1)
            finite = paddle.isfinite(scores).all(axis=1, keepdim=True)
            self._found = downloads(
                paddle.concat([values, classes.astype("float32"), finite.astype("float32")], axis=1)
            )
        else:
            self._whole = downloads(scores)

    def value(self) -> tuple[np.ndarray, np.ndarray]:
        """Classes int64 (B, k) and scores (B, k), best first; waits for the device. Raises as ``topk`` does."""
        k = self._k
        if self._found is None:
            return topk(self._whole.value(), k)
        found = self._found.value()
        check_finite(found[:, -1] > 0)
        n = found.shape[1] // 2
        values, classes = found[:, :n], found[:, n : 2 * n].astype(np.int64)
        order = np.lexsort((classes[:, :k], -values[:, :k]), axis=1)
        best, scores = (np.take_along_axis(a[:, :k], order, axis=1) for a in (classes, values))
        tied = np.flatnonzero(values[:, k - 1] == values[:, k]) if n > k else np.empty(0, np.int64)
        if len(tied):
            whole = paddle.gather(self._scores, paddle.to_tensor(tied))
            best[tied], scores[tied] = topk(self._downloads(whole).value(), k)
        return best, scores


class LateScores:
    """A function of images whose scores stay on the device until the best of each row are asked for.

    ``compute``: uint8 images (B, S, S, 3) -> float32 (B, C) on the device, with or without in_classes (B,).
    """

    def __init__(self, compute: Callable[[np.ndarray], Scores], downloads: Downloads) -> None:
        self._compute, self._downloads = compute, downloads

    def launch(self, images: np.ndarray, k: int) -> Callable[[], Best]:
        """Begin a batch. What is returned waits for it: classes (B, k), their scores (B, k), in_classes or None."""
        found = self._compute(images)
        scores, fits = found if isinstance(found, tuple) else (found, None)
        best = LateTopK(scores, k, self._downloads)
        in_classes = None if fits is None else self._downloads(fits)
        return lambda: (*best.value(), None if in_classes is None else in_classes.value())
