"""The training rows whose images cannot be read: counted, named, kept in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from urnet.core.atomic_files import atomic_file
from urnet.core.checks import InputError
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from urnet.training.log import TrainLog, one_line


class Unreadable:
    """The training rows whose images could not be read, kept in a file; too many stop the run.

    A resumed run begins with the rows of the file that are still ``unreadable(row)``: they count,
    images that were mended in between do not. Each process learns what all have met, and the
    main one writes the file. Raises InputError for more than ``max_bad``.
    """

    def __init__(
        self, file: Path, max_bad: int, unreadable: Callable[[int], bool], group: ProcessGroup = SINGLE_PROCESS
    ) -> None:
        self.file, self.max_bad, self._group = file, max_bad, group
        self._lines: dict[int, str] = {}
        if file.is_file():
            lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line]
            known = {int(line.split("\t")[0]): line for line in lines}
            self._lines = {row: line for row, line in known.items() if unreadable(row)}
            self._check()

    def __len__(self) -> int:
        return len(self._lines)

    def take(self, bad: Mapping[int, tuple[str, str]], log: TrainLog) -> None:
        """Note rows met for the first time. Raises InputError when there are more than ``max_bad``."""
        mine = {row: why for row, why in bad.items() if row not in self._lines}
        new = {row: why for found in self._group.all_gather(mine) for row, why in found.items()}
        for row in new:
            path, why = map(one_line, new[row])
            log.line(f"unreadable, weight 0: {path}: {why} (row {row})", show=True)
            self._lines[row] = f"{row}\t{path}\t{why}"
        if new and self._group.is_main:
            with atomic_file(self.file, replace=True) as part:
                text = "".join(f"{line}\n" for _, line in sorted(self._lines.items()))
                part.write_text(text, encoding="utf-8")
        self._check()

    def refuse_all(self) -> None:
        """Raise InputError: no image was read."""
        row, path, why = self._lines[min(self._lines)].split("\t")
        raise InputError(
            f"none of the {len(self._lines)} training images so far could be read (they are listed in {self.file}); "
            "the first: "
            f"{path}: {why} (row {row})"
        )

    def check_classes(self, labels: np.ndarray, names: Sequence[str], trains: np.ndarray | None = None) -> None:
        """Raise InputError for a class of ``labels`` (N,) whose rows are all unreadable: nothing of it is learned.

        ``trains`` bool (N,): the rows that can be drawn; None: all.
        """
        rows = np.array(sorted(self._lines), np.int64)
        unread = np.bincount(labels[rows], minlength=len(names))
        there = np.bincount(labels if trains is None else labels[trains], minlength=len(names))
        whole = np.flatnonzero((unread > 0) & (unread == there))
        if len(whole):
            first = int(whole[0])
            row, path, why = self._lines[int(rows[labels[rows] == first][0])].split("\t")
            name = f" ({names[first]})" if names[first] else ""
            more = f" (and those of {len(whole) - 1} other classes)" if len(whole) > 1 else ""
            raise InputError(
                f"all {unread[first]} training images of class {first}{name}{more} "
                "are unreadable; repair them, or leave the class out (unreadable images are listed in "
                f"{self.file}); the first: {path}: {why} (row {row})"
            )

    def _check(self) -> None:
        if len(self._lines) > self.max_bad:
            row, path, why = list(self._lines.values())[-1].split("\t")
            raise InputError(
                f"{path}: unreadable training image ({why}; row {row}); {len(self._lines)} are unreadable so far, "
                f"data.max_bad accepts {self.max_bad} (-o data.max_bad=N accepts N); they are listed in "
                f"{self.file}; tools/check.py finds all of them beforehand"
            )
