"""What the page is told of a row, and of the list as a whole."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from urnet.core.checks import InputError
from urnet.report.suspect_cards import EXPLAINED, quality_words
from urnet.report.suspects import FINE, UNREADABLE, VERDICTS
from urnet.report.typical import PICTURES, typical_rows
from urnet.review.choices import LEAK, SEEN
from urnet.review.state import Review

SPARE = 3  # more typical pictures than are shown, for those that turn out to be wrong


class Items:
    """Rows of ``review`` as JSON objects."""

    def __init__(self, review: Review) -> None:
        self._review = review
        self._typical = lru_cache(maxsize=None)(self._typical_rows)

    def about(self) -> dict[str, Any]:
        """What stays the same: names of classes and verdicts, and the choices with their numbers of rows."""
        review = self._review
        counts = review.evidence.counts()
        choices = [["suspects", "suspects", len(review.labels) - counts["fine"]], ["all", "all", len(review.labels)]]
        choices += [[f"v{v}", word, counts[word]] for v, word in enumerate(VERDICTS) if counts[word]]
        return {
            "names": review.names,
            "verdicts": VERDICTS,
            "explained": EXPLAINED,
            "choices": [choice for choice in choices if choice[2]],
            "others": review.others,
        }

    def first_choice(self) -> str:
        """Suspects of a list that is ordered by label quality, all of one in another order."""
        evidence = self._review.evidence
        quality = evidence.label_quality[evidence.verdict != UNREADABLE]
        ordered = bool((np.diff(quality) >= 0).all())
        return "suspects" if ordered and (evidence.verdict != FINE).any() else "all"

    def item(self, row: int) -> dict[str, Any]:
        """A row: its labels, what speaks for them, what shows the same, and typical pictures of both classes."""
        review, evidence = self._review, self._review.evidence
        (path,) = review.photos.paths_of(np.array([row]))
        quality, inside = float(evidence.label_quality[row]), _number(evidence.in_classes, row)
        given, suggested, now = int(review.labels[row]), int(review.choices.suggested[row]), review.now(row)
        verdict = int(evidence.verdict[row])
        same_as = "" if evidence.same_as is None else evidence.same_as[row]
        offered = suggested >= 0 and suggested == evidence.suggested[row]
        return {
            "row": row,
            "path": path,
            "given": given,
            "suggested": suggested,
            "by_duplicate": suggested >= 0 and not offered,
            "suggested_prob": _number(evidence.suggested_prob, row) if offered else None,
            "quality": None if verdict == UNREADABLE else round(quality, 4),
            "words": "" if verdict == UNREADABLE else quality_words(quality),
            "in_classes": inside,
            "verdict": verdict,
            "duplicates": [self._duplicate(other) for other in review.duplicates(row)],
            "leak_of": same_as if verdict == LEAK else "",
            "now": [now.decision, now.label],
            "typical": [self._shown(c, row) for c in (given, suggested)],
        }

    def of_validation(self, row: int) -> str:
        """The path of the validation picture that a row shows the same as. Raises InputError where it is not a leak."""
        evidence = self._review.evidence
        if evidence.verdict[row] != LEAK or evidence.same_as is None or not evidence.same_as[row]:
            raise InputError(f"row {row}: shows the same as no validation picture")
        return evidence.same_as[row]

    def _duplicate(self, row: int) -> dict[str, Any]:
        (path,) = self._review.photos.paths_of(np.array([row]))
        now = self._review.now(row)
        return {"row": row, "path": path, "given": int(self._review.labels[row]), "now": [now.decision, now.label]}

    def _shown(self, c: int, row: int) -> list[int]:
        """Typical rows of a class, without those that were found wrong."""
        if not 0 <= c < len(self._review.photos.class_names):
            return []
        wrong = (SEEN["relabel"], SEEN["none"])
        rows = [other for other in self._typical(c) if other != row and self._review.seen[other] not in wrong]
        return rows[:PICTURES]

    def _typical_rows(self, c: int) -> list[int]:
        rows = np.flatnonzero(self._review.labels == c)
        chosen = typical_rows(rows, self._review.evidence).tolist()
        more = typical_rows(rows, self._review.evidence, PICTURES + SPARE).tolist()
        return [*chosen, *(row for row in more if row not in chosen)]


def _number(values: np.ndarray | None, row: int) -> float | None:
    return None if values is None or not np.isfinite(values[row]) else round(float(values[row]), 4)
