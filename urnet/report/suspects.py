"""Which labels look wrong: what is known about each row, the rows in order of it, and their list as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.core.atomic_files import atomic_file
from urnet.core.blocks import ROWS, blocks
from urnet.core.checks import InputError, check_same_rows
from urnet.report.photos import Rows

HEADER = ("path", "given", "suggested", "suggested_prob", "label_quality", "verdict", "group", "in_classes", "same_as")
VERDICTS = (
    "fine",
    "wrong label",
    "off topic",
    "near duplicate",
    "duplicate under another label",
    "leak from validation",
    "unreadable",
)
FINE, WRONG, UNREADABLE = 0, 1, 6  # of VERDICTS
UNKNOWN = 0.5  # the label quality of a row that nothing is known about, such as an unreadable picture
PARTS = 10_000  # a number 0..1 is written as so many parts of 1: with four decimals
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Evidence:
    """What is known about N rows; what is None is not known of any row.

    ``suggested`` int32 (N,), each row's most probable class, -1 where unknown, and its probability
    ``suggested_prob`` float32 (N,), nan where unknown; ``label_quality`` float32 (N,) in 0..1, low is bad, the one
    number that rows are ordered by, ``UNKNOWN`` where nothing is known; ``verdict`` int8 (N,), places in ``VERDICTS``;
    ``group`` int32 (N,), rows that show the same have one number, -1 is alone; ``in_classes`` float32 (N,) in
    0..1, 0.5 the threshold, nan where unknown; ``same_as`` (N,) texts, the path of the picture that a row equals,
    "" for none; ``given`` int32 (N,), the labels before a person decided, -1 of no class here, and ``decided`` (N,), 0
    nothing, 1 that the label is right, 2 none of the classes. ``source`` says in words what label_quality is. Raises
    InputError for arrays of different lengths.
    """

    suggested: np.ndarray
    label_quality: np.ndarray
    verdict: np.ndarray
    suggested_prob: np.ndarray | None = None
    group: np.ndarray | None = None
    in_classes: np.ndarray | None = None
    same_as: Sequence[str] | None = None
    given: np.ndarray | None = None
    decided: np.ndarray | None = None
    source: str = ""

    def __post_init__(self) -> None:
        names = ("suggested_prob", "group", "in_classes", "same_as", "given", "decided")
        optional = {name: getattr(self, name) for name in names}
        arrays = {"suggested": self.suggested, "label_quality": self.label_quality, "verdict": self.verdict}
        check_same_rows(**arrays, **{name: values for name, values in optional.items() if values is not None})

    def is_of(self, verdict: str) -> np.ndarray:
        """The rows of this verdict, bool (N,)."""
        return self.verdict == VERDICTS.index(verdict)

    def counts(self) -> dict[str, int]:
        """How many rows each verdict of ``VERDICTS`` has."""
        found = np.zeros(len(VERDICTS), np.int64)
        for part in blocks(len(self.verdict), ROWS):
            found += np.bincount(self.verdict[part], minlength=len(VERDICTS))
        return dict(zip(VERDICTS, found.tolist(), strict=True))


def suspect_rows(evidence: Evidence, n: int | None = None) -> np.ndarray:
    """The first ``n`` rows (None: all) whose verdict is not "fine", in the list's order; equal ones by row number."""
    return in_order(evidence, np.flatnonzero(evidence.verdict != FINE), n)


def in_order(evidence: Evidence, rows: np.ndarray | None = None, n: int | None = None, paths: Any = None) -> np.ndarray:
    """The first ``n`` (None: all) of ``rows`` (None: of all) as the list has them, int64.

    By label_quality ascending, unreadable ones last; equal ones by path where ``paths`` is given (all rows' paths, an
    Arrow array), else by row number. Raises InputError for a negative ``n``.
    """
    if n is not None and n < 0:
        raise InputError(f"n: found {n}; 0 or more is accepted")
    rows = np.arange(len(evidence.label_quality)) if rows is None else np.sort(rows)
    key = np.where(evidence.verdict[rows] == UNREADABLE, np.float32(2), evidence.label_quality[rows])
    if n is not None and n < len(rows):
        some = key <= np.partition(key, n - 1)[n - 1] if n else np.zeros(len(rows), bool)
        rows, key = rows[some], key[some]
    if paths is not None:
        by_path = np.asarray(pc.sort_indices(paths.take(pa.array(rows))))
        rows, key = rows[by_path], key[by_path]
    return rows[np.argsort(key, kind="stable")][:n]


def most_suspect(score: np.ndarray, n: int | None = None) -> np.ndarray:
    """Rows of the ``n`` largest scores above 0 (None: of all), largest first, equal ones by row number."""
    if n is not None and n < 0:
        raise InputError(f"n: found {n}; 0 or more is accepted")
    rows = np.flatnonzero(score > 0)
    if n is not None and n < len(rows):
        least = np.partition(score[rows], len(rows) - n)[len(rows) - n] if n else np.inf
        rows = rows[score[rows] >= least]
    return rows[np.argsort(-score[rows], kind="stable")][:n]


def wrong_pairs(
    source: Rows, evidence: Evidence, rows: np.ndarray | None = None, *, block: int = ROWS
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of classes of "wrong label" among ``rows`` (None: all), and how many there are, most first.

    A pair is given * C + suggested, int64 (P,). Equally frequent ones: by number.
    """
    found = [np.zeros(0, np.int64)]
    for part in blocks(len(evidence.verdict) if rows is None else len(rows), block):
        some = part if rows is None else rows[part]
        wrong = evidence.verdict[some] == WRONG
        given, suggested = source.labels[some][wrong], evidence.suggested[some][wrong]
        found.append(given.astype(np.int64) * len(source.class_names) + suggested)
    pairs, n = np.unique(np.concatenate(found), return_counts=True)
    order = np.argsort(-n, kind="stable")
    return pairs[order], n[order]


# --- the list


def write_csv(
    path: Path,
    source: Rows,
    evidence: Evidence,
    rows: np.ndarray,
    *,
    excel: bool = False,
    paths_at_once: int = 1 << 21,
    lines_at_once: int = 1 << 16,
) -> None:
    """Write ``rows`` in their order, whole or not at all; an existing file is replaced.

    Columns: ``HEADER``. given and suggested are names of classes, the number where a class has none; numbers 0..1 have
    four decimals; what is not known is empty. ``excel``: the file begins with a byte order mark. Memory:
    ``paths_at_once`` paths, twice. Raises InputError where ``evidence`` is about other rows than ``source``.
    """
    check_same_rows(labels=source.labels, label_quality=evidence.label_quality)
    with atomic_file(path, replace=True) as part, part.open("wb") as stream:
        stream.write((BYTE_ORDER_MARK if excel else b"") + f"{','.join(HEADER)}\n".encode())
        words = _Words(source.class_names)
        for some in blocks(len(rows), paths_at_once):
            for lines in _lines(source, evidence, rows[some], words, lines_at_once):
                stream.write(lines)


class _Words:
    """Arrow arrays of the texts that a line is made of; of -1 at the end, which is empty."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self.name = _quoted(_texts([*(name or str(c) for c, name in enumerate(class_names)), ""]))
        self.verdict = _texts(VERDICTS)
        self.number = _texts([*(f"{i / PARTS:.4f}" for i in range(PARTS + 1)), ""])

    def numbers(self, values: np.ndarray | None, rows: np.ndarray) -> Any:
        """Numbers 0..1 of ``rows``, "" for nan and for all of None."""
        if values is None:
            return _text("")
        # exact, as a float32 has 24 bits and 10,000 has 10: rounded as its own decimals would be
        exact = values[rows].astype(np.float64) * PARTS
        return self.number.take(pa.array(np.rint(np.where(np.isnan(exact), PARTS + 1, exact)).astype(np.int32)))

    def names(self, classes: np.ndarray) -> Any:
        return self.name.take(pa.array(classes % len(self.name)))  # -1: the last


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


def _lines(source: Rows, evidence: Evidence, rows: np.ndarray, words: _Words, at_once: int) -> Iterator[Any]:
    """The bytes of the lines of ``rows``, ``at_once`` lines at a time."""
    order = np.argsort(rows, kind="stable")
    paths = _quoted(source.path_texts(rows[order]))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    for part in blocks(len(rows), at_once):
        some = rows[part]
        lines = pc.binary_join_element_wise(
            paths.take(pa.array(place[part])),
            words.names(source.labels[some] if evidence.given is None else evidence.given[some]),
            words.names(evidence.suggested[some]),
            words.numbers(evidence.suggested_prob, some),
            words.numbers(evidence.label_quality, some),
            words.verdict.take(pa.array(evidence.verdict[some])),
            _groups(evidence.group, some),
            words.numbers(evidence.in_classes, some),
            _ends(evidence.same_as, some),
            _text(","),
        )
        _, offsets, data = lines.buffers()
        yield memoryview(data)[: np.frombuffer(offsets, np.int64)[len(lines)]]


def _groups(group: np.ndarray | None, rows: np.ndarray) -> Any:
    if group is None:
        return _text("")
    numbers = group[rows]
    return pc.if_else(pa.array(numbers < 0), _text(""), pa.array(numbers).cast(pa.large_string()))


def _ends(same_as: Sequence[str] | None, rows: np.ndarray) -> Any:
    """The last column with the line's end."""
    if same_as is None:
        return _text("\n")
    texts = _quoted(_texts([same_as[row] for row in rows.tolist()]))
    return pc.binary_join_element_wise(texts, _text("\n"), _text(""))
