"""What steps find out about their rows, of all processes, on its way to the host."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import paddle

from urnet.runtime.device_to_host import Download, Downloads
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup

Rows = np.ndarray | Callable[[], np.ndarray]  # of all processes, by rank; a call waits until they are known


class LateRows:
    """Numbers of each row of a step; what a step found is read when the next one has been launched, or later.

    So the device always has a step to work on while the host waits for another. All processes' numbers are exchanged
    at once, in one operation a step.
    """

    def __init__(self, group: ProcessGroup = SINGLE_PROCESS) -> None:
        self._group, self._downloads = group, Downloads(group)
        self._waiting: deque[tuple[Rows, paddle.Tensor, Download]] = deque()

    def add(self, rows: Rows, *columns: Any) -> None:
        """Note what a step found of its own rows: numbers (B,) or (B, k) each, on the device, of which a float64 holds
        every value. ``rows`` (B times the number of processes,)."""
        parts = [column if column.ndim > 1 else column.unsqueeze(1) for column in columns]
        own = paddle.concat([part.astype("float64") for part in parts], axis=1)
        found = self._group.all_concat(own)
        self._waiting.append((rows, found, self._downloads(found)))

    def arrived(self, *, all_steps: bool = False) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows (B',) and numbers (B', columns) of the steps before the newest, oldest first; of it as well with
        ``all_steps``. Each is given once."""
        while len(self._waiting) > (0 if all_steps else 1):
            rows, _, download = self._waiting.popleft()
            yield _known(rows), download.value()

    def newest(self, rows: np.ndarray) -> tuple[np.ndarray, paddle.Tensor] | None:
        """Where each of ``rows`` (B,) is in the newest step that has not been given yet, the last place of several, or
        -1; and that step's numbers, on the device. None where none of them is in it."""
        if not self._waiting:
            return None
        theirs, found, _ = self._waiting[-1]
        known = _known(theirs)
        order = np.argsort(known, kind="stable")
        place = order[np.searchsorted(known[order], rows, side="right") - 1]
        place = np.where(known[place] == rows, place, -1)
        return (place, found) if (place >= 0).any() else None


def _known(rows: Rows) -> np.ndarray:
    return rows() if callable(rows) else rows
