"""Columns that people wrote to a run's table stay where the table is built again and still has their images."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.core.checks import InputError
from urnet.data.table.table import Table

OWN = "own"  # in the metadata of a column that a person wrote, where a stage's name stands in others


def write_own(table: Table, file: str, columns: Mapping[str, np.ndarray]) -> None:
    """Write FILE.arrow, marked as a person's, with a hash of its values: what trains with them depends on it."""
    digest = hashlib.sha256()
    for name, values in columns.items():
        digest.update(f"{name} {values.dtype} {values.shape}\0".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    table.write(file, dict(columns), stage=OWN, recipe_hash=digest.hexdigest()[:16], checkpoint="", replace=True)


def has_own(folder: Path) -> bool:
    """Whether a table has columns of a person's; False for a broken one."""
    try:
        return bool(_own_files(Table.open(folder)))
    except InputError:
        return False


def keep_own(before: Path, table: Table) -> None:
    """Take over the columns of people from the table ``before`` this one, row by row or by path.

    Labels may have changed and images may be gone. Where this table has images that the other had not, or the other
    one twice, the columns are left behind, and a line on stderr says so.
    """
    if not has_own(before):
        return
    old = Table.open(before)
    was, now = (pa.concat_arrays(each.texts("path").chunks) for each in (old, table))
    known = True
    rows = np.arange(table.n_rows)
    if not was.equals(now):
        place = pc.index_in(now, was)
        known = not place.null_count and len(was.unique()) == len(was)
        rows = np.asarray(place.drop_null()).astype(np.int64)
    for file in _own_files(old):
        if known:
            write_own(table, file, {name: old.column(name)[rows] for name in old.columns if old.file_of(name) == file})
        else:
            print(
                f"note: {table.folder}: column {file} was removed, as it has no value for some of the current "
                "images; tools/table.py --column writes it again",
                file=sys.stderr,
            )


def _own_files(table: Table) -> list[str]:
    files = [file.removesuffix(".arrow") for file in table.files]
    return [file for file in files if table.describe(file)["stage"] == OWN]
