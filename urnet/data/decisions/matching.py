"""Which rows of a list decisions are about, and what their labels are then."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.core.atomic_files import file_hash
from urnet.core.checks import InputError
from urnet.core.cli import is_main
from urnet.core.counted import plural, verb
from urnet.core.progress import Progress
from urnet.data.decisions.records import Decisions, class_places
from urnet.data.lists.class_names import same_name
from urnet.data.lists.listed_paths import ListedPaths

READERS = 8  # threads; hashing lets go of Python's lock
NONE = -2  # as a decided label: none of the classes; -1: not decided


class Matcher:
    """Finds the decisions about rows that come block by block.

    ``root``: what both their paths are relative to; backslashes and absolute paths inside it are accepted as in lists,
    and names in Unicode's other form. ``class_names``, ``spellings``: as in ``Decisions.labels``; the classes that
    lists number. Raises InputError with file and line for a class that is none, and a path that leaves the root.
    """

    def __init__(
        self,
        decisions: Decisions,
        root: str | Path,
        class_names: Sequence[str],
        spellings: Sequence[Sequence[str]] = (),
    ) -> None:
        self.decisions, self._root = decisions, Path(root)
        self.effect, self.label = decisions.effects(), decisions.labels(class_names, spellings)
        self.seen = np.zeros(len(decisions), bool)  # decisions that a row was found for
        self.relabelled = np.zeros(len(decisions), bool)  # those made when the list gave another label
        texts = pa.array(decisions.path, pa.string())
        paths = ListedPaths(decisions.file, root).relative(texts, decisions.line, "\n".join(decisions.path).encode())
        self.paths: list[str] = paths.to_pylist()  # of the rows that were found, as the list has them
        place = class_places(class_names, spellings)
        self._given = np.fromiter((place.get(same_name(row.given), -1) for row in decisions), np.int32, len(decisions))
        self._exact = _Places({path: i for i, path in enumerate(self.paths)})
        absent = (i for i, path in enumerate(self.paths) if not path.isascii() and not self._is_file(i))
        self._alike = _Places({same_name(self.paths[i]): i for i in absent})

    def find(self, paths: Any) -> np.ndarray:
        """(n,) int64: the place of the decision about each row, -1 for none. ``paths``: Arrow strings."""
        found = self._exact.of(paths)
        if len(self._alike):  # a spreadsheet of another system writes `é` otherwise
            rows = np.flatnonzero(found < 0)
            texts = pc.utf8_normalize(paths.take(pa.array(rows)), "NFC")
            found[rows] = self._alike.of(texts)
            for row in rows[found[rows] >= 0].tolist():
                self.paths[found[row]] = paths[row].as_py()
        return found

    def apply(self, paths: Any, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels (n,) as decided, those of "none of the classes" unchanged; and int8 (n,), what is known of each row.

        0: not decided, 1: the label is certain, 2: none of the classes.
        """
        found = self.find(paths)
        rows = np.flatnonzero(found >= 0)
        at = found[rows]
        self.seen[at] = True
        effect = np.zeros(len(labels), np.int8)
        effect[rows] = self.effect[at]
        given = labels[rows]
        self.relabelled[at] |= (self._given[at] >= 0) & (self._given[at] != given)
        new = np.array(labels)
        new[rows] = np.where((effect[rows] == 1) & (self.label[at] >= 0), self.label[at], given)
        return new, effect

    def finish(self) -> None:
        """After the last row: check the decided files, and say on stderr what was decided about other pictures.

        Only files that a row was found for are read. Raises InputError for a file that is not what it was when it was
        decided, and where no decision is about any row, or any file below the root.
        """
        self._say_unseen()
        self._say_unchecked(self._check_files())
        again = np.flatnonzero(self.relabelled & (self.effect > 0) & self.seen)
        if len(again) and is_main():
            n = plural(len(again), "picture was", "pictures were")
            print(
                f"note: {self.decisions.file}: {n} decided when the list gave another label; the decision counts: "
                f"{self.decisions.rows[again[0]].path!r}" + (" …" if len(again) > 1 else ""),
                file=sys.stderr,
            )

    def check(self, paths: Any) -> None:
        """Raise InputError for a decided file among ``paths``, Arrow strings, that is not what it was."""
        found = self.find(paths)
        self.seen[found[found >= 0]] = True
        self._check_files()

    def _say_unseen(self) -> None:
        unseen = np.flatnonzero(~self.seen)
        if not len(unseen):
            return
        file, first = self.decisions.file, self.paths[unseen[0]]
        if not self.seen.any() and not any(map(self._is_file, unseen.tolist())):
            raise InputError(
                f"{file}: none of its {plural(len(unseen), 'picture')} is below {self._root}; the first is {first!r}; "
                "give paths relative to that folder, as in the list"
            )
        if is_main():
            what = f"{len(unseen):,} of {plural(len(self.seen), 'decision')}"
            print(
                f"note: {file}: {what} {verb(len(unseen))} about pictures that are not among these rows: {first!r}"
                + (" …" if len(unseen) > 1 else ""),
                file=sys.stderr,
            )

    def _file(self, i: int) -> str:
        return str(self._root / self.paths[i])

    def _is_file(self, i: int) -> bool:
        return os.path.isfile(self._file(i))  # noqa: PTH113 (any text will do)

    def _check_files(self) -> list[int]:
        """Compare the hash of each decided file with the one it had; which cannot be read."""
        rows = self.decisions.rows
        wanted = [i for i in np.flatnonzero(self.seen & (self.effect > 0)).tolist() if rows[i].sha256]
        changed, unread = list[int](), list[int]()
        show = is_main()
        with Progress("decisions: reading", len(wanted), show=show) as display, ThreadPoolExecutor(READERS) as pool:
            for i, found in zip(wanted, pool.map(_hash, map(self._file, wanted)), strict=True):
                display.update()
                if found is None:
                    unread.append(i)
                elif found != rows[i].sha256:
                    changed.append(i)
        if changed:
            more = f" ({len(changed)} such pictures)" if len(changed) > 1 else ""
            raise InputError(
                f"{self.decisions.where(changed[0])}: {self._file(changed[0])} is not the picture that was decided, "
                f"as its SHA-256 has changed{more}; decide again, or remove the line"
            )
        return unread

    def _say_unchecked(self, unread: Sequence[int]) -> None:
        rows, file = self.decisions.rows, self.decisions.file
        unknown = [i for i in np.flatnonzero(self.seen & (self.effect > 0)).tolist() if not rows[i].sha256]
        for some, why in ((unread, "cannot be read"), (unknown, "have no sha256 there")):
            if some and is_main():
                print(
                    f"note: {file}: {len(some):,} of {len(rows):,} decided pictures {why}, so it is not checked "
                    f"whether they have changed: {rows[some[0]].path!r}" + (" …" if len(some) > 1 else ""),
                    file=sys.stderr,
                )


def matched(
    decisions: Decisions,
    paths: Any,
    labels: np.ndarray,
    class_names: Sequence[str],
    root: str | Path,
    spellings: Sequence[Sequence[str]] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """The rows that are decided, int64 (m,), ascending; and int32 (m,) the class of each, ``NONE`` for none of them.

    ``paths`` (n,) texts or Arrow strings and ``labels`` (n,), the given classes, are of all rows. Skipped pictures are
    not decided. Notes, checks of the files and errors: ``Matcher``.
    """
    matcher = Matcher(decisions, root, class_names, spellings)
    arrow = paths if isinstance(paths, pa.Array | pa.ChunkedArray) else pa.array(paths, pa.string())
    new, effect = matcher.apply(arrow.cast(pa.string()), labels)
    matcher.finish()
    rows = np.flatnonzero(effect)
    return rows, np.where(effect[rows] == 2, NONE, new[rows]).astype(np.int32)


class _Places:
    """The number of each of some texts, looked up for many at once."""

    def __init__(self, numbers: dict[str, int]) -> None:
        self._texts = pa.array(list(numbers), pa.string())
        self._numbers = np.array([*numbers.values(), -1], np.int64)

    def __len__(self) -> int:
        return len(self._texts)

    def of(self, texts: Any) -> np.ndarray:
        """(n,) int64, -1 for a text without a number."""
        at = pc.fill_null(pc.index_in(texts, value_set=self._texts), -1)
        return (
            self._numbers[at.to_numpy(zero_copy_only=False)]
            if isinstance(at, pa.Array)
            else self._numbers[at.to_numpy()]
        )


def _hash(file: str) -> str | None:
    """SHA-256 of a file's bytes; None where it cannot be read."""
    try:
        return file_hash(Path(file))
    except (OSError, ValueError):  # ValueError: no name of a file at all
        return None
