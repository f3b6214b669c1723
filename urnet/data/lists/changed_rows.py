"""What differs between the rows that a table was built from and those that the lists say now, in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.data.table.table import Table


def changed_rows(table: Table, rows: Iterable[tuple[Any, np.ndarray]]) -> str:
    """``rows``: blocks of paths (Arrow strings) and given labels, as they would be built now; "" where nothing changed.

    Says how many images there were and are, how many came and went, which labels changed, each with the first of them.
    """
    blocks = list(rows)
    old, new = (pa.chunked_array(parts, pa.string()) for parts in (table.texts("path"), [p for p, _ in blocks]))
    was = table.column("label" if table.decided is None else "given")  # before a person decided
    now = np.concatenate([np.zeros(0, np.int32), *(np.asarray(labels, np.int32) for _, labels in blocks)])
    if old.equals(new) and np.array_equal(was, now):
        return ""
    added, removed = new.filter(pc.invert(pc.is_in(new, old))), old.filter(pc.invert(pc.is_in(old, new)))
    said = [f"{len(old):,} training images then, {len(new):,} now"]
    for paths, word in ((added, "added"), (removed, "removed")):
        if len(paths):
            said.append(f"{len(paths):,} {word}: {paths[0].as_py()}" + (" …" if len(paths) > 1 else ""))
    if all(
        pc.count_distinct(paths).as_py() == len(paths) for paths in (old, new)
    ):  # else a path has several labels, and none is *the* one it had
        place = pc.index_in(new, old)
        known = np.flatnonzero(np.asarray(place.is_valid()))
        before = was[np.asarray(place.drop_null())]
        other = np.flatnonzero(before != now[known])
        if len(other):
            first = known[other[0]]
            labels = f"{new[int(first)].as_py()} was class {before[other[0]]}, is {now[first]}"
            said.append(f"{len(other):,} labels changed: {labels}" + (" …" if len(other) > 1 else ""))
    if len(said) == 1 and len(old) == len(new):
        said.append("the same images in another order, or other labels")
    return "; ".join(said)
