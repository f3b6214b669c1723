"""Which rows of a list a person looks at: suspects, one verdict, one pair of classes; and what each is held against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from urnet.core.checks import InputError
from urnet.report.photos import Photos
from urnet.report.suspects import FINE, UNREADABLE, VERDICTS, WRONG, Evidence

WORDS = ("", "keep", "relabel", "none", "skip")  # of decisions by number; 0: not decided
SEEN = {word: number for number, word in enumerate(WORDS)}
OFF_TOPIC, NEAR, OTHER_LABEL, LEAK = (
    VERDICTS.index(word)
    for word in ("off topic", "near duplicate", "duplicate under another label", "leak from validation")
)
SILENT = (OFF_TOPIC, NEAR, LEAK, UNREADABLE)  # what they say holds whatever the class, so nothing is suggested


class Choices:
    """The rows of ``photos`` by what is known of them.

    ``twins`` int64 (N,): the row that each shows the same as, -1 where that is not a row. ``suggested`` int32 (N,): the
    class that each is held against, the suggested one or else that of its duplicate, -1 where it is the given one.
    """

    def __init__(self, photos: Photos, evidence: Evidence, twins: np.ndarray) -> None:
        self.labels, self.verdict = photos.labels, evidence.verdict
        self._n_classes = len(photos.class_names)
        silent = np.isin(self.verdict, SILENT) | (evidence.suggested == self.labels)
        found = np.where(silent, -1, evidence.suggested)
        other = self.labels[np.maximum(twins, 0)]
        by_twin = (found < 0) & (self.verdict == OTHER_LABEL) & (twins >= 0) & (other != self.labels)
        self.suggested = np.where(by_twin, other, found).astype(np.int32)
        self._in_pairs = np.isin(self.verdict, (WRONG, OTHER_LABEL)) & (self.suggested >= 0)

    def rows(self, show: str, seen: np.ndarray) -> np.ndarray:
        """The rows of a choice, ascending; ``seen`` int8 (N,), numbers of WORDS.

        ``show``: all, suspects, skipped, decided, a verdict by its number (v2), a pair of given and suggested class
        (p0-3). Raises InputError for another one.
        """
        everything = {
            "all": lambda: np.ones(len(seen), bool),
            "suspects": lambda: self.verdict != FINE,
            "skipped": lambda: seen == SEEN["skip"],
            "decided": lambda: (seen > 0) & (seen != SEEN["skip"]),
        }
        if show in everything:
            return np.flatnonzero(everything[show]())
        numbers = [int(word) if word.isascii() and word.isdecimal() else -1 for word in show[1:].split("-")]
        if show[:1] == "v" and len(numbers) == 1 and 0 <= numbers[0] < len(VERDICTS):
            return np.flatnonzero(self.verdict == numbers[0])
        if show[:1] == "p" and len(numbers) == 2 and all(0 <= number < self._n_classes for number in numbers):
            return np.flatnonzero(self._in_pairs & (self.labels == numbers[0]) & (self.suggested == numbers[1]))
        raise InputError(f"show: found {show[:40]!r}; accepted: {', '.join(everything)}, v0 … or p0-1 …")

    def waiting(self, show: str, seen: np.ndarray, changes: Sequence[int]) -> np.ndarray:
        """Those that are not decided, in the list's order; of skipped and decided ones all, the newest first.

        ``changes``: rows in the order in which they were decided.
        """
        rows = self.rows(show, seen)
        if show in ("skipped", "decided"):
            newest = {row: place for place, row in enumerate(changes)}
            return rows[np.argsort([-newest.get(row, -1) for row in rows.tolist()], kind="stable")]
        return rows[seen[rows] == 0]

    def batches(self, seen: np.ndarray) -> list[tuple[str, int, int, int]]:
        """(show, given, suggested, rows that wait) of pairs of classes in which two or more wait, most first.

        Off-topic ones are -1, -1.
        """
        rows = np.flatnonzero(self._in_pairs & (seen == 0))
        codes = self.labels[rows].astype(np.int64) * self._n_classes + self.suggested[rows]
        found, sizes = np.unique(codes, return_counts=True)
        pairs = []
        for code, n in zip(found.tolist(), sizes.tolist(), strict=True):
            given, to = divmod(code, self._n_classes)
            pairs.append((f"p{given}-{to}", given, to, n))
        off_topic = f"v{OFF_TOPIC}"
        pairs.append((off_topic, -1, -1, len(self.waiting(off_topic, seen, ()))))
        return sorted((pair for pair in pairs if pair[3] > 1), key=lambda pair: -pair[3])


def members(group: np.ndarray | None) -> dict[int, list[int]]:
    """group -> its rows, of groups with two or more. ``group`` int (N,), -1: alone."""
    found: dict[int, list[int]] = {}
    if group is not None:
        rows = np.flatnonzero(group >= 0)
        for row, number in zip(rows.tolist(), group[rows].tolist(), strict=True):
            found.setdefault(number, []).append(row)
    return {number: rows for number, rows in found.items() if len(rows) > 1}
