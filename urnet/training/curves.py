"""The curves of a stage: a CSV file, and the same points for VisualDL."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from urnet.core.atomic_files import AppendedFile, atomic_file

HEADER = "step,name,value,seconds"


class Point(NamedTuple):
    """A line of the CSV file: step, curve, value, Unix time in seconds."""

    step: str
    name: str
    value: str
    seconds: str


class Curves:
    """Appends points to ``file`` and to a VisualDL log in ``folder``.

    A start drops the points after ``step``, where the run resumes, and evaluations (val/…) at it, which the run
    will reach again: no gap and no point twice after an interruption. VisualDL shows one log file of a folder
    only, so each start writes a new one from the CSV file and removes older ones. Raises OSError that names
    the CSV file where it cannot be written; a fault of the VisualDL log costs the rest of that log and one
    ``note``, as the next start writes it anew.
    """

    def __init__(self, file: Path, folder: Path, step: int, note: Callable[[str], Any]) -> None:
        points = _read(file, step)
        with atomic_file(file, replace=True) as part:
            part.write_text("".join(f"{','.join(line)}\n" for line in [HEADER.split(","), *points]), encoding="utf-8")
        self._lines = AppendedFile(file)
        self._note, self._log = note, None
        with self._optional():
            self._log = _start_log(folder, points)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each named curve."""
        now = f"{time.time():.3f}"
        points = [Point(str(step), name, repr(float(value)), now) for name, value in values.items()]
        self._lines.write("".join(f"{','.join(point)}\n" for point in points))
        with self._optional():
            if self._log is not None:
                self._log.write(_records(points))

    @contextlib.contextmanager
    def _optional(self) -> Iterator[None]:
        """What fails here costs the VisualDL log, never the run."""
        try:
            yield
        except OSError as error:
            self._note(
                f"note: {error.filename}: cannot be written ({error.strerror}); {self._lines.path} has all points"
            )
            if self._log is not None:
                self._log.close()
                self._log = None

    def close(self) -> None:
        """Close the files; all is written."""
        self._lines.close()
        if self._log is not None:
            self._log.close()


def _start_log(folder: Path, points: list[Point]) -> AppendedFile:
    """A new VisualDL log of these points, in place of older ones."""
    from visualdl.component.base_component import meta_data

    folder.mkdir(parents=True, exist_ok=True)
    old = list(folder.glob("*vdlrecords*"))
    log = AppendedFile(folder / _new_name(old))
    try:
        log.write(_packed([meta_data(walltime=round(time.time() * 1000))]) + _records(points))
    except OSError:
        log.close()
        log.path.unlink()
        raise
    for path in old:
        path.unlink()
    return log


def _records(points: list[Point]) -> bytes:
    from visualdl.component.base_component import scalar

    return _packed([scalar(p.name, float(p.value), int(p.step), round(float(p.seconds) * 1000)) for p in points])


def _packed(records: list[Any]) -> bytes:
    """Records as VisualDL's own record writer packs them.

    Its LogWriter is not used: it writes in a thread which prints a disk's errors on stdout and continues after a
    torn record, behind which nothing can be read.
    """
    from visualdl.writer.record_writer import RecordWriter

    packed = io.BytesIO()
    for record in records:
        RecordWriter(packed).write(record.SerializeToString())
    return packed.getvalue()


def _read(file: Path, last: int) -> list[Point]:
    """The complete points of a file, up to step ``last``; a killed run may have left half a line."""
    if not file.is_file():
        return []
    complete = file.read_text(encoding="utf-8").rpartition("\n")[0]
    points = [Point(*parts) for line in complete.split("\n")[1:] if len(parts := line.split(",")) == 4]
    ends = {True: last - 1, False: last}  # an evaluation at the last step comes again
    return [point for point in points if int(point.step) <= ends[point.name.startswith("val/")]]


def _new_name(old: list[Path]) -> str:
    """A log name that is in no use, even if the clock has not moved on."""
    names = {path.name for path in old}
    number = int(time.time())
    while f"vdlrecords.{number}.log" in names:
        number += 1
    return f"vdlrecords.{number}.log"
