"""Which labels look wrong: a score for every row, the rows in order of it, and their list as CSV."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.core.atomic_files import atomic_file
from urnet.core.blocks import ROWS, blocks
from urnet.core.checks import InputError
from urnet.data.table.writer import BASE_SCHEMA, BLOCK
from urnet.report.columns import Columns

HEADER = ("path", "given", "suggested", "score", "given_name", "suggested_name")
SCORES = 10_000  # a score is written as so many parts of 1: with four decimals


@dataclass(frozen=True)
class Evidence:
    """``suggested`` int32 (N,), each row's most probable class, -1 where unknown; ``score`` float32 (N,).

    The score is 0..1: 0 where the suggestion is the given label or there is none, 1 where nothing speaks for
    the given label and all for the suggested one. ``source`` says from which columns, as a formula.
    """

    suggested: np.ndarray
    score: np.ndarray
    source: str


def label_evidence(columns: Columns, *, block: int = ROWS) -> Evidence | None:
    """Score all rows from the newest evidence there is; None where no stage has left any.

    From the label stage: s = argmax of topk_prob, score = topk_prob[s], the part of the training target that
    the given label lost to class s. Else from the instance stage:
    suggested_prob * (1 - relevance), or (1 - confidence) where there is no relevance (all ours). Raises
    InputError for a suggested class that the table does not have.
    """
    found = _once(columns, "topk_index", "topk_prob")
    if found:
        return _evidence(columns, "topk_prob", block, *found)
    for name in ("relevance", "confidence"):
        found = _once(columns, "suggested", "suggested_prob", name)
        if found:
            return _evidence(columns, f"suggested_prob · (1 − {name})", block, *found)
    return None


def _once(columns: Columns, *plain: str) -> list[np.ndarray]:
    """The columns for one pass; none where one of them is not there."""
    names = [name for name in map(columns.name, plain) if name is not None]
    return [columns.once(name) for name in names] if len(names) == len(plain) else []


def _evidence(
    columns: Columns, source: str, block: int, index: np.ndarray, prob: np.ndarray, confidence: np.ndarray | None = None
) -> Evidence:
    labels, n_classes = columns.labels, len(columns.table.class_names)
    suggested, score = np.empty(len(labels), np.int32), np.zeros(len(labels), np.float32)
    for part in blocks(len(labels), block):
        best, p = _most_probable(index[part], prob[part])
        if len(best) and best.max() >= n_classes:
            raise InputError(
                f"{columns.table.folder}: class {best.max()} is suggested, the table has {n_classes} classes"
            )
        value = np.clip(p, 0, 1)
        if confidence is not None:
            value = value * np.clip(1 - confidence[part].astype(np.float32), 0, 1)
        wrong = (best >= 0) & (best != labels[part]) & np.isfinite(value)
        suggested[part] = best
        score[part] = np.where(wrong, value, 0)
    return Evidence(suggested, score, source)


def _most_probable(index: np.ndarray, prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class and probability of each row's best candidate; -1 and 0 where none is known (-1 or nan)."""
    index, prob = index.reshape(len(index), -1), prob.reshape(len(prob), -1).astype(np.float32)
    known = (index >= 0) & np.isfinite(prob)
    prob = np.where(known, prob, -1)
    best, rows = prob.argmax(axis=1), np.arange(len(prob))
    found = known[rows, best]
    return np.where(found, index[rows, best], -1), np.where(found, prob[rows, best], 0)


def most_suspect(score: np.ndarray, n: int | None = None) -> np.ndarray:
    """Rows of the ``n`` largest scores above 0 (None: of all), largest first, equal ones by row number."""
    if n is not None and n < 0:
        raise InputError(f"n: found {n}; 0 or more is accepted")
    rows = np.flatnonzero(score > 0)
    if n is not None and n < len(rows):
        least = np.partition(score[rows], len(rows) - n)[len(rows) - n] if n else np.inf
        rows = rows[score[rows] >= least]
    return rows[np.argsort(-score[rows], kind="stable")][:n]


def write_csv(
    path: Path,
    columns: Columns,
    evidence: Evidence,
    rows: np.ndarray,
    *,
    paths_at_once: int = 1 << 21,
    lines_at_once: int = 1 << 16,
) -> None:
    """Write ``rows`` in their order, whole or not at all; an existing file is replaced.

    Columns: path as the table has it, given and suggested class number (-1 where unknown), score with four
    decimals, and the two classes' names. Memory: ``paths_at_once`` paths, twice.
    """
    words = _words(columns.table.class_names)
    with atomic_file(path, replace=True) as part, part.open("wb") as stream:
        stream.write(f"{','.join(HEADER)}\n".encode())
        for some in blocks(len(rows), paths_at_once):
            for lines in _lines(columns, evidence, rows[some], words, lines_at_once):
                stream.write(lines)


class _Words(NamedTuple):
    """Arrow arrays of every text that may be in a line but the path; of class -1 at the end."""

    number: Any
    name: Any
    last: Any  # the name again, as a line's end
    score: Any


def _words(class_names: Sequence[str]) -> _Words:
    number = _texts([str(c) for c in (*range(len(class_names)), -1)])
    name = _quoted(_texts([*class_names, ""]))
    last = pc.binary_join_element_wise(name, _text("\n"), _text(""))
    return _Words(number, name, last, _texts([f"{i / SCORES:.4f}" for i in range(SCORES + 1)]))


def _texts(values: Sequence[str]) -> Any:
    return pa.array(values, pa.large_string())


def _text(value: str) -> Any:
    return pa.scalar(value, pa.large_string())


def _quoted(texts: Any) -> Any:
    """Texts as CSV has them: in quotes, and theirs doubled, where a comma, a quote or a line's end is in."""
    special = pc.match_substring_regex(texts, '[",\r\n]')
    if not pc.any(special).as_py():
        return texts
    inside = pc.replace_substring(texts, '"', '""')
    quote = _text('"')
    return pc.if_else(special, pc.binary_join_element_wise(quote, inside, quote, _text("")), texts)


def _lines(columns: Columns, evidence: Evidence, rows: np.ndarray, words: _Words, at_once: int) -> Iterator[Any]:
    """The bytes of the lines of ``rows``, ``at_once`` lines at a time."""
    order = np.argsort(rows, kind="stable")
    paths = _quoted(_paths(columns.table.folder, rows[order]))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    for part in blocks(len(rows), at_once):
        some = rows[part]
        given, to = columns.labels[some], evidence.suggested[some] % len(words.number)  # -1: the last
        # exact, as a score has 24 bits and 10,000 has 10: rounded as its own decimals would be
        score = np.rint(evidence.score[some].astype(np.float64) * SCORES).astype(np.int32)
        lines = pc.binary_join_element_wise(
            paths.take(pa.array(place[part])),
            words.number.take(pa.array(given)),
            words.number.take(pa.array(to)),
            words.score.take(pa.array(score)),
            words.name.take(pa.array(given)),
            words.last.take(pa.array(to)),
            _text(","),
        )
        _, offsets, data = lines.buffers()
        yield memoryview(data)[: np.frombuffer(offsets, np.int64)[len(lines)]]


def _paths(folder: Path, rows: np.ndarray) -> Any:
    """The paths of ascending ``rows``, an Arrow array; read by batch, not mapped, so that nothing stays."""
    options = pa.ipc.IpcReadOptions(included_fields=[BASE_SCHEMA.get_field_index("path")])
    with pa.OSFile(str(folder / "base.arrow")) as file, pa.ipc.open_file(file, options=options) as reader:
        edges = np.searchsorted(rows, BLOCK * np.arange(reader.num_record_batches + 1))
        parts = [_texts([])]
        for number, (start, end) in enumerate(itertools.pairwise(edges)):
            if end > start:  # every batch but the last has BLOCK rows
                values = reader.get_batch(number).column(0)
                parts.append(values.take(pa.array(rows[start:end] - number * BLOCK)).cast(pa.large_string()))
    return pa.concat_arrays(parts)
