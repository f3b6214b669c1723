"""What is decided of a list and what is left: one list, one file of decisions, any number of pages that look at it.

A decision is told as what the picture shows: a class, ``NONE`` of them, or ``SKIP``: seen, not decided. What is written
follows from the row's label: "keep" where it is the class shown, else "relabel".
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.core.checks import InputError
from urnet.data.decisions import Decision, DecisionsFile
from urnet.data.decisions.records import class_of, class_places
from urnet.data.images.decode import UnreadableImage
from urnet.data.lists.class_names import same_name
from urnet.report.photos import Photos
from urnet.report.suspects import UNREADABLE, Evidence
from urnet.review.choices import SEEN, WORDS, Choices, members
from urnet.review.estimate import Remaining, WrongLabels
from urnet.review.pictures import Pictures

NONE, SKIP = -1, -2  # what a picture shows, where it is not a class
PAUSE = 60.0  # seconds between two decisions; of a longer time the rest was not spent on deciding
LATEST = 200  # steps that the rate is made of


class Conflict(Exception):
    """What a page asks for rests on what is no longer so; the text says what is."""


class Now(NamedTuple):
    """What is said of a row: ``decision`` of WORDS, ``label`` a class, -1 where there is none."""

    decision: str
    label: int


class Review:
    """A list under review, rows as in the list. Methods may be called from several threads.

    ``others``: how many of the file's decisions are about pictures that are not in the list. A class that only
    decisions name joins ``names``. ``clock``: seconds, for the rate.
    """

    def __init__(
        self,
        photos: Photos,
        evidence: Evidence,
        pictures: Pictures,
        file: DecisionsFile,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.photos, self.evidence, self.pictures, self._file, self._clock = photos, evidence, pictures, file, clock
        n = len(photos.labels)
        self.labels, self.names = photos.labels, list(photos.class_names)
        twins = np.full(n, -1) if evidence.same_as is None else self._rows_of(evidence.same_as)
        self.choices = Choices(photos, evidence, twins)
        self._members = members(evidence.group)
        self._readable = evidence.verdict != UNREADABLE
        self._wrong_labels = WrongLabels(evidence.label_quality[self._readable], _suspected(evidence))
        self._lock = threading.RLock()
        self.seen, self.label = np.zeros(n, np.int8), np.full(n, -1, np.int32)
        self.passed: set[int] = set()  # whose files are gone, so that no decision about them can be written
        self.stale: set[int] = set()  # whose files are no longer those that were decided
        self.changes: list[int] = []  # rows in the order in which they were decided or taken back
        self._steps: deque[tuple[float, int]] = deque(maxlen=LATEST)
        self._place = class_places(self.names)
        self.others = self._take()

    def close(self) -> None:
        """Let others write the file of decisions."""
        self._file.close()

    def now(self, row: int) -> Now:
        """What is decided of a row."""
        return Now(WORDS[self.seen[row]], int(self.label[row]))

    def waiting(self, show: str) -> np.ndarray:
        """The rows of a choice that are left to decide."""
        with self._lock:
            return self.choices.waiting(show, self.seen, self.changes)

    def batches(self) -> list[tuple[str, int, int, int]]:
        """Choices whose rows can be decided at once."""
        with self._lock:
            return self.choices.batches(self.seen)

    def duplicates(self, row: int) -> list[int]:
        """The other rows that show the same."""
        group = -1 if self.evidence.group is None else int(self.evidence.group[row])
        return [other for other in self._members.get(group, []) if other != row]

    # --- deciding

    def decide(self, rows: Sequence[int], shows: int, was: Sequence[Now]) -> list[str]:
        """Write what the pictures of ``rows`` show: a class, NONE or SKIP. Notes about what could not be written.

        Everything is on the disk when it returns. Raises Conflict, and nothing is written, where a row is no longer
        what ``was`` says (another page was quicker), or its file no longer what was shown; InputError for rows or a
        class that are not there; OSError where it cannot be written.
        """
        self._check(rows, shows, was)
        paths = self.photos.paths_of(np.array(rows))
        with self._lock:
            for row, path, expected in zip(rows, paths, was, strict=True):
                if self.now(row) != expected:
                    raise Conflict(f"{path}: was decided on another page meanwhile ({self._said(row)}); look again")
            notes, decisions = list[str](), list[Decision]()
            for row, path in zip(rows, paths, strict=True):
                try:
                    digest = self.pictures.sha256(row)
                except UnreadableImage as error:
                    notes.append(f"{path}: {error.reason}; it is skipped and no decision about it is written")
                    self.passed.add(row)
                    continue
                if self.pictures.shown(row) not in (None, digest):
                    raise Conflict(f"{path}: the file has changed since it was shown; look again")
                decisions.append(self._decision(row, path, digest, shows))
            if decisions:
                self._file.write_many(decisions)
            self.stale.difference_update(rows)
            for row, path in zip(rows, paths, strict=True):
                self._set(row, path)
            self._steps.append((self._clock(), len(rows)))
            return notes

    def check_files(self) -> list[str]:
        """Compare the decided files with what they were; the paths of changed ones, which are asked about again.

        It reads them all, so it may be called in a thread of its own. Files that cannot be read are left as they are.
        """
        decisions = list(self._file.decisions.values())
        changed = []
        for row, decision in zip(self._rows_of([d.path for d in decisions]).tolist(), decisions, strict=True):
            if row < 0 or not decision.sha256 or decision.decision == "skip":
                continue
            try:
                same = self.pictures.sha256(row) == decision.sha256
            except UnreadableImage:
                continue
            with self._lock:
                if not same and self._file.decisions.get(decision.path) == decision:
                    self.stale.add(row)
                    self._set(row, decision.path)
                    changed.append(decision.path)
        return changed

    def undo(self, revision: int) -> tuple[list[str], list[int]]:
        """Take back the last step, also one before a restart: its paths, none where there is no step, and their rows.

        ``revision``: how many ``changes`` the page knows. Raises Conflict where there are more.
        """
        with self._lock:
            if revision != len(self.changes):
                raise Conflict("another page has decided meanwhile; undo again takes that back")
            paths = [decision.path for decision in self._file.undo()]
            rows = self._rows_of(paths).tolist()
            for row, path in zip(rows, paths, strict=True):
                self._set(row, path)
            return paths, [row for row in rows if row >= 0]

    def _check(self, rows: Sequence[int], shows: int, was: Sequence[Now]) -> None:
        n, n_classes = len(self.labels), len(self.names)
        if not rows or len(set(rows)) != len(rows) or not all(0 <= row < n for row in rows):
            raise InputError(f"rows: found {list(rows)[:5]}; accepted: numbers from 0 to {n - 1}, each once")
        if not SKIP <= shows < n_classes:
            raise InputError(f"shows: found {shows}; accepted: a class from 0 to {n_classes - 1}, {NONE} or {SKIP}")
        if len(was) != len(rows):
            raise InputError(f"was has {len(was)} entries but rows has {len(rows)}")

    def _decision(self, row: int, path: str, digest: str, shows: int) -> Decision:
        given = int(self.labels[row])
        word = {NONE: "none", SKIP: "skip", given: "keep"}.get(shows, "relabel")
        return Decision(path, digest, self.names[given], word, "" if shows < 0 else self.names[shows])

    def _said(self, row: int) -> str:
        now = self.now(row)
        return f"{now.decision or 'taken back'} {self.names[now.label] if now.label >= 0 else ''}".strip()

    def _set(self, row: int, path: str) -> None:
        """Take over what the file says of a path now; ``row`` -1: it is not in the list."""
        if row < 0:
            return
        found = None if row in self.stale else self._file.decisions.get(path)
        word, label = ("", "") if found is None else (found.decision, found.label or found.given)
        self.seen[row] = SEEN["skip"] if row in self.passed and not word else SEEN[word]
        self.label[row] = class_of(self._place, label) if word in ("keep", "relabel") else -1
        self.changes.append(row)

    def _take(self) -> int:
        """Take over the file's decisions; how many are of pictures that are not in the list."""
        for decision in self._file.decisions.values():
            word = same_name(decision.label).strip()
            if word and class_of(self._place, decision.label) < 0:
                self._place[word] = len(self.names)
                self.names.append(word)
        paths = list(self._file.decisions)
        rows = self._rows_of(paths).tolist()
        for row, path in zip(rows, paths, strict=True):
            self._set(row, path)
        return sum(row < 0 for row in rows)

    def _rows_of(self, paths: Sequence[str]) -> np.ndarray:
        """The row of each path, -1 where none has it, int64."""
        found = pc.index_in(pa.array(paths, pa.large_string()), self.photos.paths)
        return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)

    # --- how far it is

    def per_minute(self) -> float | None:
        """Decisions a minute of the last ``LATEST`` steps, pauses left out; None before the third."""
        with self._lock:
            steps = list(self._steps)
        if len(steps) < 3:
            return None
        spent = sum(min(after - before, PAUSE) for (before, _), (after, _) in itertools.pairwise(steps))
        return 60 * sum(n for _, n in steps[1:]) / max(spent, 1e-3)

    def left_wrong(self) -> Remaining:
        """How many wrong labels are among the rows that are not decided; unreadable ones are left out."""
        with self._lock:
            seen = self.seen[self._readable]
        decided = (seen > 0) & (seen != SEEN["skip"])
        return self._wrong_labels.left(decided, np.isin(seen, (SEEN["relabel"], SEEN["none"])))

    def progress(self, show: str) -> dict[str, Any]:
        """Numbers for the page's head; of ``show`` how many rows there are and are left."""
        with self._lock:
            counts = dict(zip(WORDS, np.bincount(self.seen, minlength=len(WORDS)).tolist(), strict=True))
            total, left = len(self.choices.rows(show, self.seen)), len(self.waiting(show))
            revision = len(self.changes)
        rate = self.per_minute()
        del counts[""]
        return {
            "counts": counts,
            "total": total,
            "left": left,
            "per_minute": rate,
            "minutes_left": None if rate is None else left / rate,
            "wrong": self.left_wrong()._asdict(),
            "revision": revision,
        }


def _suspected(evidence: Evidence) -> float:
    """How many labels verdicts call wrong; of two duplicates under different labels one is."""
    counts = evidence.counts()
    return counts["wrong label"] + counts["off topic"] + counts["duplicate under another label"] / 2
