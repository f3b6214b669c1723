"""What the processes exchange before a step: four numbers at once.

A step needs the weight of all its rows, and the processes must agree on when to stop and on when to note
an unreadable image: if only one process did so, the others would wait for it for ever.
"""

from __future__ import annotations

import signal
from typing import Any

import numpy as np

from urnet.core.signals import GracefulStop, Interrupted
from urnet.nn.losses import Weight
from urnet.runtime.host_to_device import to_tensor
from urnet.runtime.process_group import ProcessGroup


class StepSync:
    """Numbers of one step, summed over all processes; without others nothing is exchanged."""

    def __init__(self, group: ProcessGroup, stop: GracefulStop) -> None:
        self._group, self._stop = group, stop
        self._sums: Any = None  # on the device until they are asked for
        self._unreadable = self._readable = False

    def exchange(self, weight: np.ndarray, readable: np.ndarray) -> Weight | None:
        """The weight of the step's rows (B,) over all processes; None where there is no other process."""
        self._unreadable, self._readable = not readable.all(), bool(readable.any())
        self._rows = len(readable) * self._group.size
        if self._group.is_single:
            return None
        own = [float(weight.sum(dtype=np.float64)), float((~readable).sum()), *self._signals()]
        self._sums = self._group.all_reduce_(to_tensor(np.array(own)))
        return self._sums[0].astype("float32")

    def met_unreadable(self) -> bool:
        """Whether any process met an unreadable image in the step last exchanged."""
        return self._unreadable if self._group.is_single else float(self._sums[1]) > 0

    def met_readable(self) -> bool:
        """Whether any process could read an image of the step last exchanged."""
        return self._readable if self._group.is_single else float(self._sums[1]) < self._rows

    def check(self) -> None:
        """Raise Interrupted if a signal came: in all processes, or in none."""
        if self._group.is_single:
            self._stop.check()
        else:
            _raise(self._sums[2:].numpy())

    def settle(self) -> None:
        """As ``check``, for signals that came since the last exchange: asks all processes."""
        if self._group.is_single:
            self._stop.check()
        else:
            _raise(self._group.all_sum(np.array(self._signals())))

    def _signals(self) -> tuple[int, int]:
        return int(self._stop.number == signal.SIGTERM), int(self._stop.number == signal.SIGINT)


def _raise(came: np.ndarray) -> None:
    if came.any():
        raise Interrupted(int(signal.SIGTERM if came[0] else signal.SIGINT))
