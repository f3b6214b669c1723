"""Arrays on their way from the host to the device."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import paddle

GENERATIONS = 3  # a loss is read one step late, so the device is never further behind


class Uploads:
    """``uploads(array)`` is the array as a tensor on Paddle's current device.

    To a GPU it goes from pinned memory, and the host does not wait for the copy (a plain one would wait for
    all that the GPU has still to do). The pinned memory is held for GENERATIONS calls of ``begin``, one a
    step: Paddle would give it to the next array while the copy is still to come. Not measured on a GPU.
    """

    def __init__(self) -> None:
        self._on_gpu = paddle.get_device() != "cpu"
        self._held: deque[list[Any]] = deque([[]], maxlen=GENERATIONS)

    def begin(self) -> None:
        """The next step begins; what was sent GENERATIONS steps ago has long arrived."""
        self._held.append([])

    def __call__(self, array: np.ndarray) -> paddle.Tensor:
        if not self._on_gpu:
            return to_tensor(array)
        pinned = paddle.to_tensor(array, place=paddle.CUDAPinnedPlace())
        self._held[-1].append(pinned)
        return pinned.cuda(blocking=False)


def to_tensor(array: np.ndarray) -> paddle.Tensor:
    """As ``paddle.to_tensor``, but nothing stays behind.

    Each call of Paddle 3.3.1's own leaves a list of its arguments' names, 112 bytes: gigabytes in millions of
    steps. For a batch of images this way is faster too.
    """
    tensor = paddle.empty(array.shape, str(array.dtype))
    tensor.set_value(array)
    return tensor
