"""Arrays on their way from the host to the device."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import paddle

GENERATIONS = 3  # a loss is read one step late, so the device is never further behind


class Uploads:
    """``uploads(array)`` is the array as a tensor on Paddle's current device, as ``to_tensor`` makes it.

    The pinned memory of a GPU's copies is held for GENERATIONS calls of ``begin``, one per step: should Paddle not
    keep it until a copy is done, it would give it to the next array while the copy is still to come.
    """

    def __init__(self) -> None:
        self._on_gpu = on_gpu()
        self._held: deque[list[Any]] = deque([[]], maxlen=GENERATIONS)

    def begin(self) -> None:
        """The next step begins; what was sent GENERATIONS steps ago has long arrived."""
        self._held.append([])

    def __call__(self, array: np.ndarray) -> paddle.Tensor:
        if not self._on_gpu:
            return to_tensor(array)
        pinned = _pinned(array)
        self._held[-1].append(pinned)
        return pinned.cuda(blocking=False)


def to_tensor(array: np.ndarray) -> paddle.Tensor:
    """``array`` as a tensor on Paddle's current device; its memory may be used again at once.

    To a GPU it goes through pinned memory, which Paddle keeps until the copy is done, and the host does not wait.
    Paddle's own way waits for all that the GPU has still to do, and keeps Python's lock meanwhile: where another
    process has ended and a collective operation waits for it, the watchdog could not end this one. Not measured on a
    GPU. On the CPU nothing stays behind: each call of Paddle 3.3.1's own leaves a list of its arguments' names, 112
    bytes: gigabytes in millions of steps. For a batch of images this way is faster too.
    """
    if on_gpu():
        return _pinned(array).cuda(blocking=False)
    tensor = paddle.empty(array.shape, str(array.dtype))
    tensor.set_value(array)
    return tensor


def on_gpu() -> bool:
    """Whether Paddle's current device is a GPU."""
    return bool(paddle.get_device() != "cpu")


def _pinned(array: np.ndarray) -> paddle.Tensor:
    return paddle.to_tensor(array, place=paddle.CUDAPinnedPlace())
