"""The attention each row was last given in a bag, kept for the table's ``bag_attention``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from urnet.training.late_rows import LateRows, Rows
from urnet.training.stage_job import StageJob


class Attention:
    """``n_rows`` values, nan where a row was in no bag yet; 0 rows for a stage without bags.

    A row that is in a bag twice keeps its last value. All processes of ``group`` hold the same values.
    """

    def __init__(self, n_rows: int, group: ProcessGroup = SINGLE_PROCESS) -> None:
        self._group, self._late = group, LateRows(group)
        self._values = np.full(n_rows, np.nan, np.float32)

    def add(self, rows: Rows, attention: Any) -> None:
        """Note the attention (B,), a tensor, of a step's rows; None is passed over. ``rows``: of all processes."""
        if attention is None:
            return
        self._late.add(rows, attention)
        self._fetch()

    def _fetch(self, *, all_steps: bool = False) -> None:
        for rows, attention in self._late.arrived(all_steps=all_steps):
            self._values[rows] = attention[:, 0]

    def state(self) -> dict[str, dict[str, np.ndarray]]:
        """What a checkpoint keeps, as a set of arrays by its name; empty for a stage without bags."""
        self._fetch(all_steps=True)
        return {"bags": {"attention": self._values}} if len(self._values) else {}

    def load(self, sets: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Restore what ``state`` gave."""
        if "bags" in sets:
            self._values = np.array(sets["bags"]["attention"])

    def write(self, job: StageJob) -> None:
        """Write the table's bag.arrow; nothing for a stage without bags."""
        if not len(self._values):
            return
        self._fetch(all_steps=True)
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
