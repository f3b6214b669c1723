"""Which of a table's columns the report reads: of a repeated stage's those written last."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from urnet.config.reweight import COLUMNS, FILES
from urnet.data.table.table import Table
from urnet.data.table.writer import BASE_SCHEMA

GROUPS = {**{file: COLUMNS[method] for method, file in FILES.items()}, "bag": ("bag_attention",)}
GROUP_OF = {name: group for group, names in GROUPS.items() for name in names}


class Columns:
    """The columns of ``table`` by their plain names; ``labels`` int32 (N,) are the given ones.

    A stage that is repeated writes the same names with a suffix, as file and columns: cluster_2.arrow with
    cluster_2 and cluster_weight_2. Of such files the last one counts: that of the latest stage of ``order``
    (names of stages), where that does not tell, the last suffix (none < _2 < _10). The columns of two files
    are never mixed: what the last one does not hold is missing.
    """

    def __init__(self, table: Table, order: Sequence[str] = ()) -> None:
        self.table, self.labels = table, table.column("label")  # a copy, so only once
        self.suffix = {group: _last_suffix(table, group, order) for group in GROUPS}

    def name(self, plain: str) -> str | None:
        """The table's name of a column, None where there is no such column yet."""
        name = plain + self.suffix[GROUP_OF[plain]]
        return name if name in self.table.columns else None

    def get(self, plain: str) -> np.ndarray | None:
        """The column's values, None where there is no such column yet."""
        name = self.name(plain)
        return None if name is None else self.table.column(name)

    def once(self, name: str) -> np.ndarray:
        """A column by the table's name for one pass over all rows, mapped by itself.

        The pages it is read into go with the array, not with the table: what a report holds at any time is
        the columns of one pass.
        """
        return Table.open(self.table.folder).column(name)

    def measured(self) -> list[str]:
        """The table's names of all columns of one float a row, whichever stage or method wrote them."""
        names = [name for name in self.table.columns if name not in BASE_SCHEMA.names]
        return [name for name in names if _is_float(self.table.column(name))]


def _last_suffix(table: Table, group: str, order: Sequence[str]) -> str:
    """The suffix of the last file of a group; "" where there is none."""
    found = []
    for stem in (Path(file).stem for file in table.files):
        suffix = stem[len(group) :]
        names = {name + suffix for name in GROUPS[group]}
        if stem.startswith(group) and any(table.file_of(name) == stem for name in names & {*table.columns}):
            stage = table.describe(stem).get("stage", "")
            place = order.index(stage) if stage in order else -1
            parts = re.split(r"(\d+)", suffix)  # text, number, text …: _2 before _10
            found.append((place, [int(p) if i % 2 else p for i, p in enumerate(parts)], suffix))
    return max(found)[-1] if found else ""


def _is_float(values: np.ndarray) -> bool:
    return values.ndim == 1 and values.dtype.kind == "f"
