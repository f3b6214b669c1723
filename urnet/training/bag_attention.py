"""The attention each row was last given in a bag, kept for the table's ``bag_attention``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from urnet.runtime.host_to_device import to_tensor
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from urnet.training.stage_job import StageJob

WAITING = 64  # steps whose attention stays on the device before it is fetched


class Attention:
    """``n_rows`` values, nan where a row was in no bag yet; 0 rows for a stage without bags.

    A row that is in a bag twice keeps its last value. All processes of ``group`` hold the same values.
    """

    def __init__(self, n_rows: int, group: ProcessGroup = SINGLE_PROCESS) -> None:
        self._group = group
        self._values = np.full(n_rows, np.nan, np.float32)
        self._waiting: list[tuple[np.ndarray, Any]] = []

    def add(self, rows: np.ndarray, attention: Any) -> None:
        """Note a step's rows and their attention (B,), a tensor; None is passed over."""
        if attention is None:
            return
        self._waiting.append((rows, attention))
        if len(self._waiting) >= WAITING:
            self._fetch()

    def _fetch(self) -> None:
        for rows, attention in self._waiting:
            everywhere = self._group.all_concat(to_tensor(rows)).numpy()
            self._values[everywhere] = self._group.all_concat(attention).numpy()
        self._waiting = []

    def state(self) -> dict[str, dict[str, np.ndarray]]:
        """What a checkpoint keeps, as a set of arrays by its name; empty for a stage without bags."""
        self._fetch()
        return {"bags": {"attention": self._values}} if len(self._values) else {}

    def load(self, sets: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Restore what ``state`` gave."""
        if "bags" in sets:
            self._values = np.array(sets["bags"]["attention"])

    def write(self, job: StageJob) -> None:
        """Write the table's bag.arrow; nothing for a stage without bags."""
        if not len(self._values):
            return
        self._fetch()
        if not self._group.is_main:
            return
        job.table.write(
            "bag",
            {"bag_attention": self._values},
            stage=job.stage.name,
            recipe_hash=job.made_by,
            checkpoint="",
            replace=True,
        )
