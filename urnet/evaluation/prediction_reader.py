"""Prediction files read back in blocks of rows, checked, one file or several row for row.

``urnet.evaluation.prediction_writer`` writes them. Memory is bounded by a record batch
(Arrow), or about a megabyte of text, a file.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.core.checks import InputError
from urnet.data.lists.labelled_list import read_list
from urnet.evaluation.prediction_formats import COLUMNS, TEXT_BYTES, read_tables

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

    def check_width(self, k: int, why: str) -> None:
        """Raise InputError unless every readable row lists ``k`` classes or more."""
        if self.classes.shape[1] < k and self.readable.any():
            raise InputError(
                f"{self.file}: lists {self.classes.shape[1]} classes an image, {k} are needed {why}; "
                f"infer.py --topk {k} writes them"
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
    for table in _in_blocks(read_tables(Path(file), text_bytes), rows):
        block = _block(str(file), first, k, table)
        _check(block, n_classes)
        first, k = first + len(block), block.classes.shape[1]
        yield block
    if not first:
        raise InputError(f"{file}: has no row; predictions of one image or more are needed")


def _in_blocks(tables: Iterable[Any], rows: int) -> Iterator[Any]:
    """The same rows in tables of ``rows`` each; the last may be smaller."""
    waiting: list[Any] = []
    have = 0
    for table in tables:
        waiting.append(table)
        have += table.num_rows
        if have >= rows:
            whole = pa.concat_tables(waiting)
            cut = have - have % rows
            for start in range(0, cut, rows):
                yield whole.slice(start, rows)
            waiting, have = [whole.slice(cut)], have - cut
    if have:
        yield pa.concat_tables(waiting)


def read_aligned(
    files: Sequence[str | Path], n_classes: int, rows: int = 4096
) -> Generator[list[Predictions], None, None]:
    """Yield blocks of the same rows of several files. Raises InputError at the first path that differs."""
    for blocks in itertools.zip_longest(*(read_predictions(file, n_classes, rows) for file in files)):
        first = next(block for block in blocks if block is not None)
        for block, file in zip(blocks, files, strict=True):
            rest = len(block) if block is not None else 0
            _check_paths(first.file, first.path, str(file), block.path if rest else first.path[:0], first.first)
        yield list(blocks)


class Listed:
    """The labelled images of a list, in its order: ``paths`` (Arrow strings), ``labels`` int32 (n,)."""

    def __init__(self, file: str | Path, n_classes: int, class_names: Sequence[str] = ()) -> None:
        lines = list(read_list(file, n_classes=n_classes, class_names=class_names))
        if not lines:
            raise InputError(f"{file}: lists no image; lines `path label` are accepted")
        self.file = str(file)
        self.paths = pa.concat_arrays([block.path for block in lines])
        self.labels = np.concatenate([block.number for block in lines]).astype(np.int32)

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, block: Predictions) -> np.ndarray:
        """The labels (B,) of a block's rows. Raises InputError at the first path that differs."""
        wanted = self.paths.slice(block.first, len(block))
        _check_paths(self.file, wanted, block.file, block.path, block.first)
        return self.labels[block.first : block.first + len(block)]

    def check_end(self, file: str | Path, n_rows: int) -> None:
        """Raise InputError unless all listed images had a row."""
        if n_rows < len(self):
            raise InputError(
                f"{file} has {n_rows} rows but {self.file} lists {len(self)} images; "
                "the same paths in the same order are needed"
            )


def _check_paths(one: str, paths: Any, other: str, others: Any, first: int) -> None:
    """Raise InputError, naming the first difference, unless both hold the same paths."""
    if paths.equals(others):
        return
    n = min(len(paths), len(others))
    same = np.asarray(pc.equal(paths[:n], others[:n]).to_numpy(zero_copy_only=False), bool)
    row = n if same.all() else int(np.argmin(same))
    texts = [repr(p[row].as_py()) if row < len(p) else "its end" for p in (paths, others)]
    raise InputError(
        f"{one} and {other} differ at row {first + row + 1}: {texts[0]} and {texts[1]}; "
        "the same paths in the same order are needed"
    )


def _block(file: str, first: int, k: int, table: Any) -> Predictions:
    """A table of path, classes and scores (lists) as arrays; ``k`` is that of the rows before, 0 unknown."""
    if missing := [name for name in COLUMNS if name not in table.schema.names]:
        raise InputError(f"{file}: has no column {missing[0]}; {', '.join(COLUMNS)} are needed")
    path, classes, scores = (pa.concat_arrays(table[name].chunks) for name in COLUMNS)
    lengths = [_lengths(file, name, column) for name, column in zip(COLUMNS[1:], (classes, scores), strict=True)]
    readable = lengths[0] > 0
    k = k or int(lengths[0][np.argmax(readable)])  # 0 where no row so far has a prediction
    path = path.cast(pa.string())
    if path.null_count:
        raise InputError(f"{file}: row {first + pc.index(path.is_null(), True).as_py() + 1}: has no path")
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
    return pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)


def _check(block: Predictions, n_classes: int) -> None:
    """Raise InputError for the first readable row with something in it that cannot be."""
    classes, scores = block.classes, block.scores
    outside = ((classes < 0) | (classes >= n_classes)).any(axis=1)
    twice = (np.diff(np.sort(classes, axis=1), axis=1) == 0).any(axis=1)
    beyond = ~((scores >= 0) & (scores <= 1 + SLACK)).all(axis=1)
    unordered = (np.diff(scores, axis=1) > 0).any(axis=1)
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
