"""The table of a run before it runs, and your own columns in it: weights that a recipe can name."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.config.recipe import Recipe, active_stages
from urnet.core.checks import InputError
from urnet.core.counted import plural, verb
from urnet.data.lists.path_values import PathValues, read_path_values
from urnet.data.table.table import Table
from urnet.data.table.writer import BASE_SCHEMA
from urnet.pipeline import run_folder
from urnet.pipeline.kept_columns import write_own
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.registry import known_as, writes_file
from urnet.pipeline.run_table import run_table

RESERVED = (*BASE_SCHEMA.names, "base", "given", "decided")
_WORD = re.compile(r"[a-z][a-z0-9_]*")

Values = Any  # an array (N,), a mapping of paths to numbers, or the path of a CSV


def open_table(config: str | Path, overrides: Sequence[str] = ()) -> Table:
    """The table of a recipe's run, built where there is none: ``config`` and ``overrides`` as for train.py's -c and -o.

    It is where train.py looks for it, OUTPUT/NAME/table or ``data.table``, and train.py does not build it again.
    Raises InputError for what train.py refuses of a recipe and its lists, and while a run of it is at work.
    """
    return built_table(load_recipe(config, overrides))


def built_table(recipe: Recipe, *, replace: bool = False) -> Table:
    """As ``open_table``. ``replace``: build it again; columns of one's own stay where it has values for all images."""
    with run_folder.locked_run(recipe), run_table(recipe, active_stages(recipe), replace, mine=True) as table:
        return table


def add_column(table: Table, name: str, values: Values, *, missing: float | None = None) -> np.ndarray:
    """Write a weight per row to NAME.arrow of the table, whole or not at all, and return it: float32 (N,), N rows.

    ``values``: an array (N,), a number per row in the table's order; a mapping from paths, as in column ``path`` or
    absolute ones inside the table's root, to numbers; or the path of a CSV (``read_path_values``). Of the last two each
    row has the value of its path; one that has none is refused, or gets ``missing`` and is counted on stderr, as are
    paths that the table does not have. Weights are finite, 0 or more, not all 0. A column of this name that is there
    is replaced: stages that train with it run again if its values have changed. Raises InputError.
    """
    check_name(name)
    weight = checked(by_path(table, name, values, missing), name, table)
    write_own(table, name, {name: weight})
    return weight


def check_name(name: str) -> None:
    """Raise InputError for a name that a column of one's own may not have."""
    if not _WORD.fullmatch(name):
        raise InputError(
            f"column {name!r}: small letters, digits and _ are accepted, a letter first, such as my_weight"
        )
    if name in RESERVED or known_as(name) or writes_file(name):
        raise InputError(f"column {name!r}: a run writes this name itself; choose another, such as my_{name}")


def by_path(table: Table, name: str, values: Values, missing: float | None) -> np.ndarray:
    """(N,) float64: the value of each row, as ``add_column`` says."""
    if isinstance(values, (str, Path)):
        values = read_path_values(values, table.root, name)
    if isinstance(values, Mapping):
        values = _of_mapping(values, table, name)
    if isinstance(values, PathValues):
        return _matched(values, table, name, missing)
    found = np.asarray(values)
    if found.shape != (table.n_rows,) or found.dtype.kind not in "iufb":
        raise InputError(
            f"column {name}: found {found.dtype} {found.shape}; a number per row is accepted, ({table.n_rows},), or "
            "numbers by path"
        )
    return found.astype(np.float64)


def _of_mapping(values: Mapping[Any, Any], table: Table, name: str) -> PathValues:
    root = f"{table.root}/"
    paths = [str(path).removeprefix(root) for path in values]
    try:
        numbers = np.array([float(value) for value in values.values()])
    except (TypeError, ValueError):
        raise InputError(f"column {name}: a number for each path is accepted") from None
    return PathValues(f"column {name}", pa.chunked_array([paths], pa.string()), numbers, np.arange(1, 1 + len(paths)))


def _matched(values: PathValues, table: Table, name: str, missing: float | None) -> np.ndarray:
    paths, wanted = pa.concat_arrays(values.paths.chunks), table.texts("path")
    first = pc.index_in(paths, paths).to_numpy()  # the line that first has each line's path
    numbers = np.nan_to_num(values.values, nan=-1)  # nan differs from itself; ``checked`` refuses both
    twice = np.flatnonzero(numbers != numbers[first])
    if len(twice):
        i = int(twice[0])
        raise InputError(
            f"{values.source}:{values.lines[i]}: {paths[i].as_py()!r} has {values.values[i]:g} here and "
            f"{values.values[first[i]]:g} in line {values.lines[first[i]]}; one value is accepted"
        )
    place = pc.index_in(wanted, paths)
    known = np.asarray(place.is_valid())
    if not known.any():
        raise InputError(
            f"{values.source}: none of its {plural(len(paths), 'path')} is in the table; the first is "
            f"{paths[0].as_py()!r}, the table's {table.strings('path', [0])[0]!r}; paths relative to {table.root} are "
            "accepted"
        )
    _note_unknown(values.source, paths, wanted)
    row = np.flatnonzero(~known)
    if len(row):
        said = f"{plural(len(row), 'row')} of {table.n_rows:,} {verb(len(row), 'has', 'have')} no value of {name}"
        said += f", the first {table.strings('path', row[:1])[0]!r}"
        if missing is None:
            raise InputError(
                f"{values.source}: {said}; each row needs one (missing=1 or --missing 1 gives these rows 1)"
            )
        print(f"note: {values.source}: {said}; {verb(len(row), 'it gets', 'they get')} {missing:g}", file=sys.stderr)
    found = np.full(table.n_rows, np.nan if missing is None else missing, np.float64)
    found[known] = values.values[np.asarray(place.drop_null())]
    return found


def _note_unknown(source: str, paths: Any, wanted: Any) -> None:
    """Say which paths the table does not have: pictures for validation, of other classes, or misspelt ones."""
    unknown = paths.filter(pc.invert(pc.is_in(paths, wanted)))
    if len(unknown):
        n = len(unknown)
        what = f"{plural(n, 'path')} of {len(paths):,} {verb(n)} not in the table and {verb(n, 'is', 'are')} ignored"
        print(f"note: {source}: {what}; the first: {unknown[0].as_py()!r}", file=sys.stderr)


def checked(values: np.ndarray, name: str, table: Table) -> np.ndarray:
    """The values as float32 weights. Raises InputError for one that is none, and where all are 0."""
    with np.errstate(over="ignore"):
        weight = values.astype(np.float32)
    bad = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if len(bad):
        row = int(bad[0])
        at = f"{values[row]:g} in row {row} ({table.strings('path', [row])[0]})"
        raise InputError(f"column {name}: found {at}; finite weights of 0 or more are accepted")
    if not weight.any():
        raise InputError(f"column {name}: all weights are 0; some above 0 are accepted")
    return weight
