"""What the processes exchange before a step: a few numbers at once.

A step needs the weight of all its rows, and the processes must agree on when to stop and on when to note
an unreadable image: if only one process did so, the others would wait for it for ever. What they agree on is read
when the next step has been launched, so that no device waits for its host: they stop, or note, a step later.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from urnet.core.signals import GracefulStop, Interrupted
from urnet.nn.losses import Weight
from urnet.runtime.device_to_host import Download, Downloads
from urnet.runtime.host_to_device import to_tensor
from urnet.runtime.process_group import ProcessGroup
from urnet.training.late_rows import Rows


@dataclass(frozen=True)
class Met:
    """What any process met in a step: an unreadable image, one that could be read, SIGTERM, SIGINT."""

    unreadable: bool
    readable: bool
    signals: tuple[bool, bool] = (False, False)


class StepSync:
    """Numbers of one step, summed over all processes; without others nothing is exchanged, and all is known at once.

    ``with_rows``: the processes tell each other which rows they have, too.
    """

    def __init__(self, group: ProcessGroup, stop: GracefulStop, *, with_rows: bool = False) -> None:
        self._group, self._stop, self._with_rows = group, stop, with_rows
        self._downloads = Downloads(group)
        self._waiting: deque[Met | tuple[Download, int]] = deque()
        self._came = False, False

    def exchange(self, rows: np.ndarray, weight: np.ndarray, readable: np.ndarray) -> tuple[Weight | None, Rows]:
        """The weight of the step's rows (B,) over all processes, None where there is no other process; and all
        processes' rows, where they are told."""
        if self._group.is_single:
            self._waiting.append(Met(not readable.all(), bool(readable.any())))
            return None, rows
        own = [float(weight.sum(dtype=np.float64)), float((~readable).sum()), *self._signals()]
        if self._with_rows:
            everywhere = np.zeros((self._group.size, len(rows)))
            everywhere[self._group.rank] = rows
            own += everywhere.reshape(-1).tolist()
        sums = self._group.all_reduce_(to_tensor(np.array(own)))
        download = self._downloads(sums)
        self._waiting.append((download, len(rows) * self._group.size))
        return sums[0].astype("float32"), lambda: download.value()[4:].astype(np.int64)

    def arrived(self, *, all_steps: bool = False) -> Iterator[Met]:
        """What was met in the steps before the newest, oldest first, in all processes alike; in the newest as well with
        ``all_steps``, in a single process, and when a signal has come. Each is given once."""
        while len(self._waiting) > (0 if all_steps or self._group.is_single or any(self._came) else 1):
            found = self._waiting.popleft()
            met = found if isinstance(found, Met) else _met(*found)
            self._came = self._came[0] or met.signals[0], self._came[1] or met.signals[1]
            yield met

    def check(self) -> None:
        """Raise Interrupted if a signal came: in all processes, or in none."""
        if self._group.is_single:
            self._stop.check()
        else:
            _raise(self._came)

    def settle(self) -> None:
        """As ``check``, for signals that came since the last exchange: asks all processes."""
        if self._group.is_single:
            self._stop.check()
        else:
            term, interrupt = self._group.all_sum(np.array(self._signals())) > 0
            _raise((bool(term), bool(interrupt)))

    def _signals(self) -> tuple[int, int]:
        return int(self._stop.number == signal.SIGTERM), int(self._stop.number == signal.SIGINT)


def _met(download: Download, n_rows: int) -> Met:
    _, unreadable, term, interrupt = download.value()[:4]
    return Met(bool(unreadable > 0), bool(unreadable < n_rows), (bool(term > 0), bool(interrupt > 0)))


def _raise(came: tuple[bool, bool]) -> None:
    if any(came):
        raise Interrupted(int(signal.SIGTERM if came[0] else signal.SIGINT))
