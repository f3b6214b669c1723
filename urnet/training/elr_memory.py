"""The network's averaged predictions of each row, the memory of early-learning regularisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from urnet.config.remedies import Elr
from urnet.runtime.host_to_device import to_tensor
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup


class ElrMemory:
    """The k = min(top_k, n_classes) likeliest classes of each of ``n_rows`` and their averaged probabilities.

    6 k bytes a row: int32 classes, float16 values (rounding of 0.05 %). Without ``elr`` it is empty and
    ``of`` gives None. A row that is in a step twice keeps what was found last. All processes of ``group``
    hold the same memory.
    """

    def __init__(self, elr: Elr | None, n_rows: int, n_classes: int, group: ProcessGroup = SINGLE_PROCESS) -> None:
        self._group = group
        self._arrays: dict[str, np.ndarray] = {}
        self._waiting: tuple[np.ndarray, Any, Any] | None = None  # of the last step, on the device
        if elr is not None:
            shape = n_rows, min(elr.top_k, n_classes)
            self._arrays = {"classes": np.zeros(shape, np.int32), "values": np.zeros(shape, np.float16)}

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Classes and values (B, k) of some rows."""
        if not self._arrays:
            return None
        self._fetch()
        return self._arrays["classes"][rows], self._arrays["values"][rows]

    def take(self, rows: np.ndarray, classes: Any, values: Any) -> None:
        """Keep a step's new memory: tensors (B, k), read when they are needed; None is passed over."""
        if classes is not None:
            self._fetch()
            self._waiting = rows, classes, values

    def _fetch(self) -> None:
        if self._waiting is not None:
            own, classes, values = self._waiting
            rows = self._group.all_concat(to_tensor(own)).numpy()
            self._arrays["classes"][rows] = self._group.all_concat(classes).numpy()
            self._arrays["values"][rows] = self._group.all_concat(values).numpy()
            self._waiting = None

    def state(self) -> dict[str, dict[str, np.ndarray]]:
        """What a checkpoint keeps, as a set of arrays by its name."""
        self._fetch()
        return {"early": self._arrays} if self._arrays else {}

    def load(self, sets: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Restore what ``state`` gave."""
        for name, values in sets.get("early", {}).items():
            self._arrays[name] = np.array(values)
