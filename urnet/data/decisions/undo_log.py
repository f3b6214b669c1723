"""What was written last, so that it can be taken back by the same program or the next one."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from urnet.core.atomic_files import AppendedFile
from urnet.data.decisions.records import Decision


class Step(NamedTuple):
    """``after``: a hash of the decisions' file once it was written; ``before``: what each path had until then."""

    after: str
    before: list[tuple[str, Decision | None]]


class UndoLog:
    """Steps in a file of one line of JSON each, in the order in which they were taken.

    ``present``: the hash of the decisions as they are. Steps behind it were never finished, or belong to a file that
    was edited since: they are forgotten.
    """

    def __init__(self, file: Path, present: str) -> None:
        self._file = file
        self.steps: list[Step] = []
        self._ends: list[int] = []  # where each step's line ends
        with contextlib.suppress(OSError, ValueError, TypeError):  # not there; or its last line is not whole
            for line in file.read_bytes().splitlines(keepends=True):
                after, rows = json.loads(line)
                before = [(path, None if row is None else Decision(*row)) for path, row in rows]
                self.steps.append(Step(after, before))
                self._ends.append(len(line) + self._end)
        while self.steps and self.steps[-1].after != present:
            self.drop()

    @property
    def _end(self) -> int:
        return self._ends[-1] if self._ends else 0

    def add(self, step: Step) -> None:
        """Note a step before it is taken; ``drop`` it where it fails. Raises OSError with the file's name."""
        stream = AppendedFile(self._file)
        try:
            os.truncate(self._file, self._end)
            rows = [[path, None if row is None else row.values] for path, row in step.before]
            line = (json.dumps([step.after, rows]) + "\n").encode()
            stream.write(line)
        finally:
            stream.close()
        self.steps.append(step)
        self._ends.append(self._end + len(line))

    def drop(self) -> None:
        """Forget the last step; the file follows with the next ``add``."""
        self.steps.pop()
        self._ends.pop()
