"""Which of a table's columns the report reads: of a repeated stage's those written last."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.data.table.table import Table
from urnet.data.table.writer import BASE_SCHEMA, BLOCK


class Columns:
    """The columns of ``table`` by their plain names; ``labels`` int32 (N,) are the given ones.

    A stage that is repeated writes the same names with a suffix, as file and columns: cluster_2.arrow with
    cluster_2 and cluster_weight_2. Of such files the last one counts: that of the latest stage of ``order``
    (names of stages), where that does not tell, the last suffix (none < _2 < _10). The columns of two files
    are never mixed: what the last one does not hold is missing.
    """

    def __init__(self, table: Table, order: Sequence[str] = ()) -> None:
        self.table, self.labels = table, table.column("label")  # a copy, so only once
        self._order = order

    @property
    def class_names(self) -> list[str]:
        return self.table.class_names

    def files(self, rows: np.ndarray) -> list[str]:
        """Where the pictures of ``rows`` lie."""
        return self.table.paths(rows)

    def titles(self, rows: np.ndarray) -> list[str]:
        """Texts that belong to the pictures of ``rows``, "" where there is none."""
        return self.table.strings("text", rows)

    def file(self, path: str, *, of_validation: bool = False) -> str:
        """Where the picture of a ``same_as`` lies."""
        return str(self.table.root / path)

    def row(self, path: str) -> int:
        """The row of a ``same_as``, -1 where it is not a row's path."""
        return int(pc.index(self.table.texts("path"), pa.scalar(path)).as_py())

    def paths_of(self, rows: np.ndarray) -> list[str]:
        """The paths of a few ``rows`` as the list has them."""
        return self.table.strings("path", rows)

    def path_texts(self, rows: np.ndarray) -> Any:
        """The paths of ascending ``rows``, an Arrow array; read by batch, not mapped, so that nothing stays."""
        options = pa.ipc.IpcReadOptions(included_fields=[BASE_SCHEMA.get_field_index("path")])
        file = str(self.table.folder / "base.arrow")
        with pa.OSFile(file) as stream, pa.ipc.open_file(stream, options=options) as reader:
            edges = np.searchsorted(rows, BLOCK * np.arange(reader.num_record_batches + 1))
            parts = [pa.array([], pa.large_string())]
            for number, (start, end) in enumerate(itertools.pairwise(edges)):
                if end > start:  # every batch but the last has BLOCK rows
                    values = reader.get_batch(number).column(0)
                    parts.append(values.take(pa.array(rows[start:end] - number * BLOCK)).cast(pa.large_string()))
        return pa.concat_arrays(parts)

    def name(self, plain: str) -> str | None:
        """The table's name of a column, None where there is no such column yet."""
        for file, suffix in self._files_of(plain):
            last = _last_suffix(self.table, file.removesuffix(suffix), self._order)
            return plain + last if plain + last in self.table.columns else None
        return None

    def _files_of(self, plain: str) -> Iterator[tuple[str, str]]:
        """The files with a column of this plain name, each with its suffix, which the file's name has as well."""
        for name in self.table.columns:
            file, suffix = self.table.file_of(name), name[len(plain) :]
            if name.startswith(plain) and (not suffix or (suffix.startswith("_") and file.endswith(suffix))):
                yield file, suffix

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
    """The suffix of the last of the files that are named ``group`` and a suffix that all their columns have."""
    found = []
    for stem in (Path(file).stem for file in table.files):
        suffix = stem.removeprefix(group)
        own = [name for name in table.columns if table.file_of(name) == stem]
        if stem == group or (suffix != stem and suffix.startswith("_") and all(n.endswith(suffix) for n in own)):
            suffix = "" if stem == group else suffix
            stage = table.describe(stem).get("stage", "")
            place = order.index(stage) if stage in order else -1
            parts = re.split(r"(\d+)", suffix)  # text, number, text …: _2 before _10
            found.append((place, [int(p) if i % 2 else p for i, p in enumerate(parts)], suffix))
    return max(found)[-1] if found else ""


def _is_float(values: np.ndarray) -> bool:
    return values.ndim == 1 and values.dtype.kind == "f"
