"""The arrays of one step on their way to the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle

from urnet.runtime.host_to_device import to_tensor


class Sender:
    """``sender(array)`` is the array on the device; ``sender.rows`` gives rows of one that is sent once, whole.

    So micro-batches, mixup and a teacher, who all look at the same images, share one upload of them. The arrays must
    not change while the sender is used. ``send``: how an array is sent.
    """

    def __init__(self, send: Callable[[np.ndarray], paddle.Tensor] = to_tensor) -> None:
        self._send = send
        self._sent: dict[tuple[int, Any], tuple[np.ndarray, paddle.Tensor]] = {}  # an array held keeps its id

    def __call__(self, array: np.ndarray) -> paddle.Tensor:
        return self._send(array)

    def rows(self, array: Any, rows: slice | paddle.Tensor, dtype: Any = None) -> paddle.Tensor:
        """``array[rows]`` as ``dtype`` (None: its own); ``array`` (B, …) may be a tensor already, ``rows`` a slice or
        int64 (b,) on the device."""
        whole = array if isinstance(array, paddle.Tensor) else self._whole(array, dtype)
        if isinstance(rows, paddle.Tensor):
            if whole.dtype == paddle.float16:  # kept activations; Paddle's CPU kernel knows no float16, so by its bits
                return paddle.gather(whole.view("int16"), rows).view("float16")
            return paddle.gather(whole, rows)
        return whole if rows == slice(0, len(array)) else whole[rows]

    def _whole(self, array: np.ndarray, dtype: Any) -> paddle.Tensor:
        key = id(array), dtype
        if key not in self._sent:
            self._sent[key] = array, self._send(array if dtype is None else array.astype(dtype, copy=False))
        return self._sent[key][1]
