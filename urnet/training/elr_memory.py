"""The network's averaged predictions of each row, the memory of early-learning regularisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle

from urnet.config.remedies import Elr
from urnet.runtime.host_to_device import to_tensor
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from urnet.training.late_rows import LateRows, Rows


class ElrMemory:
    """The k = min(top_k, n_classes) likeliest classes of each of ``n_rows`` and their averaged probabilities.

    6 k bytes per row: int32 classes, float16 values (rounding of 0.05 %). Without ``elr`` it is empty and
    ``of`` gives None. A row that is in a step twice keeps what was found last. All processes of ``group``
    hold the same memory.
    """

    def __init__(self, elr: Elr | None, n_rows: int, n_classes: int, group: ProcessGroup = SINGLE_PROCESS) -> None:
        self._late = LateRows(group)
        self._arrays: dict[str, np.ndarray] = {}
        if elr is not None:
            self._k = min(elr.top_k, n_classes)
            shape = n_rows, self._k
            self._arrays = {"classes": np.zeros(shape, np.int32), "values": np.zeros(shape, np.float16)}

    def of(self, rows: np.ndarray) -> tuple[Any, Any] | None:
        """Classes and values (B, k) of some rows: arrays, or tensors where the step before, of which nothing is on the
        host yet, had some of them."""
        if not self._arrays:
            return None
        self._fetch()
        classes, values = self._arrays["classes"][rows], self._arrays["values"][rows]
        last = self._late.newest(rows)
        return (classes, values) if last is None else self._with_newest(classes, values, *last)

    @paddle.no_grad()
    def _with_newest(self, classes: np.ndarray, values: np.ndarray, place: np.ndarray, found: paddle.Tensor) -> Any:
        known = to_tensor(np.concatenate([classes, values], axis=1, dtype=np.float64))
        own = np.arange(len(place)) + found.shape[0]
        joined = paddle.gather(paddle.concat([found, known]), to_tensor(np.where(place < 0, own, place)))
        kept = joined[:, self._k :].astype("float32").astype("float16")  # as they will be on the host
        return joined[:, : self._k].astype("int64"), kept.astype("float32")

    def take(self, rows: Rows, classes: Any, values: Any) -> None:
        """Keep a step's new memory: tensors (B, k) of this process's rows, read when they are needed; None is passed
        over. ``rows``: those of all processes."""
        if classes is not None:
            self._fetch(all_steps=True)
            self._late.add(rows, classes, values)

    def _fetch(self, *, all_steps: bool = False) -> None:
        for rows, found in self._late.arrived(all_steps=all_steps):
            self._arrays["classes"][rows] = found[:, : self._k]
            self._arrays["values"][rows] = found[:, self._k :].astype(np.float32)

    def state(self) -> dict[str, dict[str, np.ndarray]]:
        """What a checkpoint keeps, as a set of arrays by its name."""
        self._fetch(all_steps=True)
        return {"early": self._arrays} if self._arrays else {}

    def load(self, sets: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Restore what ``state`` gave."""
        for name, values in sets.get("early", {}).items():
            self._arrays[name] = np.array(values)
