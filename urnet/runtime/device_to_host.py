"""Arrays on their way from the device to the host, without a call that waits for the device inside Paddle."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import paddle

from urnet.runtime.host_to_device import on_gpu
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup

POLL_SECONDS = 0.00005, 0.002  # between two looks at a copy that is waited for: at first, and after a while


def device_done() -> None:
    """Return when the device has done all that it was given: for measuring times."""
    if on_gpu():
        paddle.device.cuda.synchronize()


class Downloads:
    """``downloads(tensor)`` starts the copy of a tensor to the host and returns the Download that will hold it.

    On a GPU the copy goes to pinned memory, behind what has been launched so far and not behind what is launched
    afterwards, and nobody waits: ``Tensor.numpy()`` and ``float`` wait for all that was ever launched. Where
    ``value`` waits it looks at ``group``'s watchdog, so that a process that has ended cannot hold this one in a
    collective operation for ever. On the CPU the array is there at once. Not measured on a GPU.
    """

    def __init__(self, group: ProcessGroup = SINGLE_PROCESS) -> None:
        self._group, self._on_gpu = group, on_gpu()
        # Paddle would give pinned memory that nobody holds to the next array, although the copy is still to come
        self._held: list[Download] = []

    def __call__(self, tensor: paddle.Tensor) -> Download:
        """The values that ``tensor`` has now, whatever becomes of it: the device works in order."""
        if not self._on_gpu:
            return Download(tensor, None, self._group)
        self._held = [one for one in self._held if not one.ready()]
        event = paddle.device.Event()
        download = Download(tensor.detach()._copy_to(paddle.CUDAPinnedPlace(), False), event, self._group)
        event.record()
        self._held.append(download)
        return download


class Download:
    """The values of a tensor on their way to the host, made by ``Downloads``. Without an ``event`` they are there."""

    def __init__(self, tensor: paddle.Tensor, event: Any, group: ProcessGroup) -> None:
        self._event, self._group = event, group
        self._array: np.ndarray | None = tensor.numpy() if event is None else None
        self._pinned = tensor if event is not None else None

    def ready(self) -> bool:
        """Whether ``value`` would return at once; never waits."""
        return self._array is not None or bool(self._event.query())

    def value(self) -> np.ndarray:
        """The array, of the tensor's shape and type; waits until it is there.

        Raises PeerLost when another process of the group has ended meanwhile.
        """
        pause = POLL_SECONDS[0]
        while not self.ready():
            time.sleep(pause)  # other threads run, the watchdog's among them
            self._group.check_peers()
            pause = min(2 * pause, POLL_SECONDS[1])
        if self._array is None:
            self._array, self._pinned = self._pinned.numpy(), None  # type: ignore[union-attr]
        return self._array
