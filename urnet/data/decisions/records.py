"""One decision, many of them, and what each kind says of a row's label."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from urnet.core.checks import InputError
from urnet.data.lists.class_names import like, same_name

HEADER = ("path", "sha256", "given", "decision", "label", "time")
DECISIONS = ("keep", "relabel", "none", "skip")
_HASH = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Decision:
    """What a person decided about one picture: a line of decisions.csv, all texts.

    ``path``: relative to the root, as suspects.csv has it; ``sha256`` of the file's bytes, 64 hexadecimal digits, ""
    where nobody computed it; ``given``: the name of the label it had; ``decision``: keep (the given label is right),
    relabel (it is ``label``), none (it shows none of the classes), skip (looked at, not decided); ``label``: for keep
    and relabel the right class's name, the number where it has none, else ""; ``time``: ISO 8601, UTC.
    """

    path: str
    sha256: str
    given: str
    decision: str
    label: str = ""
    time: str = ""

    @property
    def values(self) -> tuple[str, ...]:
        """The texts in the order of ``HEADER``."""
        return self.path, self.sha256, self.given, self.decision, self.label, self.time

    def fault(self) -> str:
        """What is wrong with it, in words; "" where nothing is."""
        accepted = f"accepted: {', '.join(DECISIONS)}"
        if not self.path:
            return "has no path"
        if self.decision not in DECISIONS:
            return (
                f"decision {self.decision!r} is not known; {accepted}" if self.decision else f"no decision; {accepted}"
            )
        if self.sha256 and not _HASH.fullmatch(self.sha256):
            return f"sha256 {_shortened(self.sha256)!r} is not 64 hexadecimal digits; those are accepted, or nothing"
        if self.decision == "relabel" and not self.label:
            return "decision relabel without a label; the right class's name is needed"
        if self.decision in ("none", "skip") and self.label:
            return f"decision {self.decision} with the label {self.label!r}; no label is accepted, or relabel"
        if self.decision == "keep" and self.given and self.label and same_name(self.given) != same_name(self.label):
            return f"decision keep of {self.given!r}, but the label {self.label!r}; relabel is accepted, or one label"
        return ""


@dataclass(frozen=True)
class Decisions:
    """The decisions of ``file``, one per path: ``rows`` in the file's order, and ``line`` int64 (n,), each one's line.

    ``columns``: the names of further columns that the file has, and ``further``, theirs by path. ``separator`` and
    ``mark``: how it is written, and whether a byte order mark begins it.
    """

    file: str
    rows: Sequence[Decision]
    line: np.ndarray
    columns: tuple[str, ...] = ()
    further: dict[str, tuple[str, ...]] | None = None
    separator: str = ","
    mark: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Decision]:
        return iter(self.rows)

    @property
    def path(self) -> list[str]:
        """The paths, (n,)."""
        return [row.path for row in self.rows]

    def where(self, i: int) -> str:
        """`file:line` of the i-th decision, for messages."""
        return f"{self.file}:{self.line[i]}"

    def identity(self) -> str:
        """`40 decisions.csv (0123456789abcdef)`: how many count in training, the file's name, a hash of what they say.

        The same for a file that was moved, and whatever was skipped, and when.
        """
        kept = sorted((row.path, row.decision == "none", _word(row)) for row in self.rows if row.decision != "skip")
        digest = hashlib.sha256(json.dumps(kept, ensure_ascii=False).encode()).hexdigest()
        return f"{len(kept)} {Path(self.file).name} ({digest[:16]})" if kept else ""

    def labels(self, class_names: Sequence[str], spellings: Sequence[Sequence[str]] = ()) -> np.ndarray:
        """(n,) int32, the class of each decision's label; -1 for none and skip, and for keep without any label.

        ``class_names``: "" where a class has no name, which is then called by its number; ``spellings``: lists of other
        names of the classes. Raises InputError with file and line for a label that is not a class's.
        """
        place = class_places(class_names, spellings)
        wanted = [_word(row) for row in self.rows]
        number = {word: class_of(place, word) for word in set(wanted)}
        found = np.fromiter((number[word] for word in wanted), np.int32, len(wanted))
        bad = np.flatnonzero((found < 0) & np.fromiter(map(bool, wanted), bool, len(wanted)))
        if len(bad):
            raise InputError(f"{self.where(bad[0])}: label {wanted[bad[0]]!r} {_why(place, wanted[bad[0]])}")
        return found

    def effects(self) -> np.ndarray:
        """(n,) int8: 1 where the label is certain (keep, relabel), 2 for none of the classes, 0 for skip."""
        effect = {"keep": 1, "relabel": 1, "none": 2, "skip": 0}
        return np.fromiter((effect[row.decision] for row in self.rows), np.int8, len(self.rows))


def class_places(class_names: Sequence[str], spellings: Sequence[Sequence[str]] = ()) -> dict[str, int]:
    """The class of each name, and of each number of a class without one; -1 where it is several classes'."""
    place: dict[str, int] = {}
    own = [name or str(c) for c, name in enumerate(class_names)]
    for names in (own, *spellings):
        for c, name in enumerate(map(same_name, names)):
            if name and place.setdefault(name, c) != c:
                place[name] = -1
    return place


def _word(row: Decision) -> str:
    """The class that a decision names."""
    if row.decision in ("none", "skip"):
        return ""
    return row.label or row.given


def class_of(place: dict[str, int], word: str) -> int:
    """The class of a name, -1 for none; blanks around it, as hands type them, count only where the class has them.

    ``place``: of ``class_places``.
    """
    key = same_name(word)
    return place.get(key, place.get(key.strip(), -1))


def _why(place: dict[str, int], word: str) -> str:
    if same_name(word).strip() in place:
        return "is the name of two classes; their names must differ"
    return f"is none of the {len(set(place.values()))} classes; nearest: {like(word, place)}"


def _shortened(text: str) -> str:
    return text if len(text) <= 70 else f"{text[:69]}…"
