"""Prediction files read back in blocks of rows, checked.

``urnet.evaluation.prediction_writer`` writes them. Memory is bounded by a record batch
(Arrow), or about a megabyte of text, a file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.core.checks import InputError
from urnet.evaluation.prediction_formats import COLUMNS, TEXT_BYTES, arrow_names, class_count, read_tables
from urnet.evaluation.prediction_names import split_names

NO_ROW = "has no row; predictions of one image or more are needed"
CLASSES = 5000  # of the challenge: the default where nothing says how many there are
NAMES = "names of the classes, separated by `; `, are accepted"
SLACK = 1e-3  # by which a probability may be above 1: float16, and sums in float32


@dataclass(frozen=True)
class Predictions:
    """B rows of ``file``, the first of them number ``first`` (from 0).

    ``path``: Arrow strings (B,). ``classes`` int32 and ``scores`` float32 (B, k), best first, scores 0..1.
    ``readable`` bool (B,): False where there is no prediction; classes and scores are 0 there.
    """

    file: str
    first: int
    path: Any
    classes: np.ndarray
    scores: np.ndarray
    readable: np.ndarray

    def __len__(self) -> int:
        return len(self.readable)

    def part(self, start: int, stop: int) -> Predictions:
        """Rows start to stop, as views."""
        arrays = (values[start:stop] for values in (self.path, self.classes, self.scores, self.readable))
        return Predictions(self.file, self.first + start, *arrays)

    def check_width(self, k: int, why: str) -> None:
        """Raise InputError unless every readable row lists ``k`` classes or more."""
        if self.classes.shape[1] < k and self.readable.any():
            raise InputError(
                f"{self.file}: lists {self.classes.shape[1]} classes per image, {k} are needed {why}; "
                f"infer.py --topk {k} writes them (a network of {self.classes.shape[1]} classes: --class_dim "
                f"{self.classes.shape[1]})"
            )


def read_predictions(
    file: str | Path, n_classes: int, rows: int = 4096, *, text_bytes: int = TEXT_BYTES
) -> Iterator[Predictions]:
    """Yield a prediction file's rows, ``rows`` at a time; the last block may be smaller.

    Text is read ``text_bytes`` at a time.

    Raises InputError naming file and row (from 1) for a class outside 0..n_classes-1 or listed twice, a score
    outside 0..1, scores that are not best first, and rows of different k; also for a file without a row.
    """
    first = k = 0
    for table in _multiples(read_tables(Path(file), text_bytes), rows):
        whole = _block(str(file), first, k, table)
        _check(whole, n_classes)
        first, k = first + len(whole), whole.classes.shape[1]
        for start in range(0, len(whole), rows):
            yield whole.part(start, start + rows)
    if not first:
        raise InputError(f"{file}: {NO_ROW}")


def _multiples(tables: Iterable[Any], rows: int) -> Iterator[Any]:
    """The same rows in tables of a multiple of ``rows`` each, but for the last."""
    waiting: list[Any] = []
    have = 0
    for table in tables:
        waiting.append(table)
        have += table.num_rows
        if have >= rows:
            whole = pa.concat_tables(waiting)
            cut = have - have % rows
            yield whole.slice(0, cut)
            waiting, have = [whole.slice(cut)], have - cut
    if have:
        yield pa.concat_tables(waiting)


def read_paths(file: str | Path) -> Any:
    """The paths of a prediction file, Arrow strings (n,), n >= 1; its other columns are not read."""
    columns = [table["path"] for table in read_tables(Path(file), columns=("path",)) if table.num_rows]
    if not columns:
        raise InputError(f"{file}: {NO_ROW}")
    return _paths(str(file), 0, [chunk for column in columns for chunk in column.chunks])


def read_names(file: str | Path, n_classes: int, most_rows: int | None = None) -> list[str]:
    """The names (C,) that a file gives to the classes it lists, else ""; [] where it has none.

    ``most_rows``: about so many rows are looked at.
    """
    if Path(file).suffix == ".arrow":
        said = arrow_names(Path(file))[:n_classes]
        return said + [""] * (n_classes - len(said)) if any(said) else []
    names, unknown, seen = [""] * n_classes, set(range(n_classes)), 0
    for table in read_tables(Path(file), columns=("classes", "names")):
        for classes, found in zip(*(table[name].to_pylist() for name in ("classes", "names")), strict=True):
            try:
                own = split_names(found) if isinstance(found, str) else found or []
                for number, name in zip(map(int, classes or ()), own, strict=False):
                    if number in unknown:
                        names[number] = name or ""
                        unknown.remove(number)
            except (ValueError, csv.Error) as error:
                raise InputError(
                    f"{file}: names {str(found)[:100]!r}: {error}; names separated by `; ` are accepted"
                ) from None
        seen += table.num_rows
        if not unknown or (most_rows is not None and seen >= most_rows):
            break
    return names if any(names) else []


def number_of_classes(files: Iterable[str | Path], given: int | None = None) -> int | None:
    """What ``given`` (--class_dim), or an Arrow file, says; None where nothing does. InputError for two that differ."""
    found, source = given, "--class_dim"
    for file in files:
        said = class_count(file)
        if found is None:
            found, source = said, str(file)
        elif said not in (None, found):
            raise InputError(f"{file}: has {said} classes, but {source} says {found}; they must agree")
    return found


def _block(file: str, first: int, k: int, table: Any) -> Predictions:
    """A table of path, classes and scores (lists) as arrays; ``k`` is that of the rows before, 0 unknown."""
    path = _paths(file, first, table["path"].chunks)
    classes, scores = (_whole(table[name].chunks) for name in COLUMNS[1:])
    lengths = [_lengths(file, name, column) for name, column in zip(COLUMNS[1:], (classes, scores), strict=True)]
    readable = lengths[0] > 0
    k = k or int(lengths[0][np.argmax(readable)])  # 0 where no row so far has a prediction
    wrong = (lengths[0] != lengths[1]) | (readable & (lengths[0] != k))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{file}: row {first + row + 1} ({path[row].as_py()}): {lengths[0][row]} classes and "
            f"{lengths[1][row]} scores; {k} of each, as in other rows, or none are accepted"
        )
    where = f"{file}: rows {first + 1}..{first + len(path)}"
    numbers = _matrix(where, classes, k, readable, np.int32), _matrix(where, scores, k, readable, np.float32)
    return Predictions(file, first, path, *numbers, readable)


def _paths(file: str, first: int, chunks: Sequence[Any]) -> Any:
    """Paths as Arrow strings; ``first`` is the number of their first row."""
    path = _whole(chunks).cast(pa.string())
    if path.null_count:
        raise InputError(f"{file}: row {first + pc.index(path.is_null(), True).as_py() + 1}: has no path")
    return path


def _whole(chunks: Sequence[Any]) -> Any:
    """A column's chunks as one array, which costs a copy where there are several."""
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)


def _matrix(where: str, column: Any, k: int, readable: np.ndarray, kind: type) -> np.ndarray:
    """A list column as an array (B, k), 0 where a row has no prediction."""
    try:
        values = column.flatten().cast(pa.from_numpy_dtype(kind))
    except pa.ArrowInvalid as error:
        raise InputError(f"{where}: {str(error).splitlines()[0]}; numbers are accepted") from None
    if values.null_count:
        raise InputError(f"{where}: a class or score is missing")
    rows = values.to_numpy(zero_copy_only=True).reshape(-1, k) if k else np.zeros((0, 0), kind)
    if readable.all():
        return rows
    full: np.ndarray = np.zeros((len(readable), k), kind)
    full[readable] = rows
    return full


def _lengths(file: str, name: str, column: Any) -> np.ndarray:
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise InputError(f"{file}: column {name} holds {kind}; lists of numbers are accepted")
    lengths = pc.list_value_length(column)
    if lengths.null_count:
        lengths = lengths.fill_null(0)
    return lengths.to_numpy(zero_copy_only=False).astype(np.int64)


def _check(block: Predictions, n_classes: int) -> None:
    """Raise InputError for the first readable row with something in it that cannot be."""
    classes, scores = block.classes, block.scores
    ends = scores[:, [0, -1][: scores.shape[1]]]  # the largest and the smallest, if they are in order
    ordered = np.sort(classes, axis=1)
    outside = (classes.view(np.uint32) >= n_classes).any(axis=1)  # negative ones are the largest then
    twice = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    beyond = ~((ends >= 0) & (ends <= 1 + SLACK)).all(axis=1)
    unordered = ~(scores[:, 1:] <= scores[:, :-1]).all(axis=1)  # also where one is nan
    for wrong, what in (
        (outside, f"a class is outside 0..{n_classes - 1} (--class_dim {n_classes})"),
        (twice, "a class is listed twice"),
        (beyond, "a score is outside 0..1"),
        (unordered, "the scores are not best first"),
    ):
        wrong &= block.readable
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(f"{block.file}: row {block.first + row + 1} ({block.path[row].as_py()}): {what}")
