"""Writes decisions.csv, one decision or many at once, and takes the last ones back."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import TextIO

from urnet.core.atomic_files import atomic_file
from urnet.core.checks import InputError
from urnet.core.file_lock import hold
from urnet.data.decisions.reader import read_decisions
from urnet.data.decisions.records import HEADER, Decision
from urnet.data.decisions.undo_log import Step, UndoLog

_SPECIAL = re.compile('[",;\t\r\n]|^ | $')


class DecisionsFile:
    """A decisions.csv that this program alone writes, until ``close`` (or the end of a ``with`` block).

    ``decisions`` (path -> Decision) is what the file holds. Whatever ``write``, ``write_many`` and ``undo`` change is
    on the disk, whole, before they return; where that fails nothing has changed. Columns of others, the separator and a
    byte order mark stay. What can be taken back is kept in ``.NAME.undo`` next to the file, so ``undo`` works in the
    next program, too; a file that was edited meanwhile has nothing to take back. Methods may be called by any thread.

    Raises InputError where another program holds it (``.NAME.lock``), where it cannot be read (``read_decisions``) or
    written, and where another program has changed it since it was opened; OSError with its name on a full disk.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = self.path.resolve()  # a link stays one
        self._thread = threading.Lock()
        self._lock: TextIO | None = self._held()
        self.decisions: dict[str, Decision] = {}
        self._lines: dict[str, str] = {}  # the file's, by path
        try:
            self._log = self._read()
        except BaseException:
            self.close()
            raise

    def write(self, decision: Decision) -> None:
        """As ``write_many``, of one."""
        self.write_many([decision])

    def write_many(self, decisions: Sequence[Decision]) -> None:
        """Write decisions, in place of those there are about the same paths; ``undo`` takes them back together.

        Where ``time`` is "", it is now. Raises InputError for what is not a decision.
        """
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        new = {row.path: row if row.time else replace(row, time=now) for row in decisions}
        for decision in new.values():
            if fault := decision.fault():
                raise InputError(f"{self.path}: {decision.path!r}: {fault}")
        if not new:
            return
        with self._thread:
            changed = {**self.decisions, **new}
            lines = {**self._lines, **{path: self._line(row) for path, row in new.items()}}
            content = self._content(lines)
            self._check_unchanged()
            self._log.add(Step(_hash(content), [(path, self.decisions.get(path)) for path in new]))
            try:
                self._put(content)
            except BaseException:
                self._log.drop()
                raise
            self.decisions, self._lines = changed, lines

    def undo(self) -> list[Decision]:
        """Take back what the last ``write`` or ``write_many`` wrote, and return that; [] where there is nothing."""
        with self._thread:
            if not self._log.steps:
                return []
            before = self._log.steps[-1].before
            taken = [self.decisions[path] for path, _ in before]
            changed, lines = dict(self.decisions), dict(self._lines)
            for path, row in before:
                if row is None:
                    del changed[path], lines[path]
                else:
                    changed[path], lines[path] = row, self._line(row)
            self._check_unchanged()
            self._put(self._content(lines))
            self.decisions, self._lines = changed, lines
            self._log.drop()
            return taken

    def close(self) -> None:
        """Let others write the file."""
        if self._lock is not None:
            self._lock_file.unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def __enter__(self) -> DecisionsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- the file

    @property
    def _lock_file(self) -> Path:
        return self._file.with_name(f".{self._file.name}.lock")

    def _held(self) -> TextIO:
        if self._file.is_dir():
            raise InputError(f"{self.path}: is a folder; a file's path is needed")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            lock = hold(self._lock_file)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from None
        if lock is None:
            raise InputError(f"{self.path}: another program is writing it; stop that program, or give another file")
        return lock

    def _read(self) -> UndoLog:
        self._state = _state(self._file)
        self._columns: tuple[str, ...] = ()
        self._further: dict[str, tuple[str, ...]] = {}
        self._separator, self._mark = ",", False
        content = b""
        if self._state is not None:
            found = read_decisions(self.path)
            content = self._file.read_bytes()
            self.decisions = {row.path: row for row in found}
            self._columns, self._further = found.columns, dict(found.further or {})
            self._separator, self._mark = found.separator, found.mark
        self._lines = {path: self._line(row) for path, row in self.decisions.items()}
        return UndoLog(self._file.with_name(f".{self._file.name}.undo"), _hash(content))

    def _line(self, row: Decision) -> str:
        further = self._further.get(row.path, ("",) * len(self._columns))
        return self._separator.join(_quoted(value) for value in (*row.values, *further)) + "\n"

    def _content(self, lines: dict[str, str]) -> bytes:
        head = self._separator.join(_quoted(name) for name in (*HEADER, *self._columns))
        return ("\ufeff" * self._mark + head + "\n" + "".join(lines.values())).encode()

    def _put(self, content: bytes) -> None:
        with atomic_file(self._file, replace=True) as part:
            part.write_bytes(content)
        self._state = _state(self._file)

    def _check_unchanged(self) -> None:
        if self._lock is None:
            raise InputError(f"{self.path}: was closed")
        if _state(self._file) != self._state:
            raise InputError(
                f"{self.path}: another program has changed it since it was opened; start this program again"
            )


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _state(file: Path) -> tuple[int, int, int] | None:
    """What differs once another program has written the file; None where there is none."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _SPECIAL.search(text) else text
