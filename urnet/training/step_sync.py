"""Level 3: what the processes tell each other before an update, in one exchange of four numbers.

An update needs the weight of all its rows, and the processes must agree on when to stop and on when to note
an unreadable image: a process that did so alone would leave the others waiting for it.
"""

from __future__ import annotations

import signal
from typing import Any, Optional

import numpy as np

from urnet.core.signals import Stopped, StopRequest
from urnet.nn.losses import Weight
from urnet.runtime.host_to_device import to_tensor
from urnet.runtime.process_group import World


class Bulletin:
    """Numbers of one update, summed over all processes; without others nothing is exchanged."""

    def __init__(self, world: World, stop: StopRequest) -> None:
        self._world, self._stop = world, stop
        self._sums: Any = None  # on the device until they are asked for
        self._unreadable = False

    def exchange(self, weight: np.ndarray, readable: np.ndarray) -> Optional[Weight]:
        """Tell of an update's rows (B,): their weight in all; None where there is no other process."""
        self._unreadable = not readable.all()
        if self._world.alone:
            return None
        told = [float(weight.sum(dtype=np.float64)), float((~readable).sum()), *self._signals()]
        self._sums = self._world.sum_(to_tensor(np.array(told)))
        return self._sums[0].astype("float32")

    def met_unreadable(self) -> bool:
        """Whether any process met an unreadable image in the update it told of last."""
        return self._unreadable if self._world.alone else float(self._sums[1]) > 0

    def check(self) -> None:
        """Raise Stopped if a signal came: in all processes, or in none."""
        if self._world.alone:
            self._stop.check()
        else:
            _raise(self._sums[2:].numpy())

    def settle(self) -> None:
        """As ``check``, for signals that came since the last update: asks all processes."""
        if self._world.alone:
            self._stop.check()
        else:
            _raise(self._world.sum(np.array(self._signals())))

    def _signals(self) -> tuple[int, int]:
        return int(self._stop.number == signal.SIGTERM), int(self._stop.number == signal.SIGINT)


def _raise(came: np.ndarray) -> None:
    if came.any():
        raise Stopped(int(signal.SIGTERM if came[0] else signal.SIGINT))
