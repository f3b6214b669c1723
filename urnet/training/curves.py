"""The curves of a stage: a CSV file, and those of the run so far as one VisualDL log."""

from __future__ import annotations

import contextlib
import io
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from urnet.config.yaml_dataclass import shown
from urnet.core.atomic_files import AppendedFile, atomic_file
from urnet.core.checks import InputError

HEADER = "step,name,value,seconds"
TAGS = ("val/top1", "val/top5", "train/loss", "lr")  # what a person looks at first; then the others, as they come


class Point(NamedTuple):
    """A line of the CSV file: step, curve, value, Unix time in seconds."""

    step: str
    name: str
    value: str
    seconds: str


class Curves:
    """Appends points to ``file``, a stage's, and to the run's VisualDL log in ``folder``.

    The log is one run on one axis: ``earlier`` are the CSV files of the stages before, in their order, and a stage's
    steps are counted on from their last ones. VisualDL lists curves as they first occur in a log: one that belongs
    before others (``TAGS``) has the log written anew.

    A start drops the points after ``step``, where the run resumes, and evaluations (val/…) at it, which the run
    will reach again: no gap and no point twice after an interruption. VisualDL shows one log file of a folder
    only, so each start writes a new one from the CSV files and removes older ones. Raises OSError that names
    the CSV file where it cannot be written, InputError for one with something else in it; a fault of the VisualDL log,
    be it that of a stage before, costs the rest of that log and one ``note``, as the next start writes it anew.
    """

    def __init__(
        self, file: Path, folder: Path, step: int, note: Callable[[str], Any], earlier: Sequence[Path] = ()
    ) -> None:
        points = _read(file, step)
        with atomic_file(file, replace=True) as part:
            part.write_text("".join(f"{','.join(line)}\n" for line in [HEADER.split(","), *points]), encoding="utf-8")
        self._lines = AppendedFile(file)
        self._note, self._folder, self._earlier = note, folder, earlier
        self._log: AppendedFile | None = None
        self._names: list[str] = []
        self._before = 0
        with self._optional():
            self._start_log(points)
            for csv in [*earlier, file]:  # where each stage used to have a log of its own
                shutil.rmtree(folder / csv.parent.name, ignore_errors=True)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each named curve."""
        now = f"{time.time():.3f}"
        points = [Point(str(step), name, repr(float(value)), now) for name, value in values.items()]
        self._lines.write("".join(f"{','.join(point)}\n" for point in points))
        with self._optional():
            if self._log is None:
                return
            names = _ordered([*self._names, *values])
            if names[: len(self._names)] == self._names:
                self._names = names
                self._log.write(_packed(_records(_sorted(points, names), self._before)))
            else:
                self._start_log(_read(self._lines.path))

    @contextlib.contextmanager
    def _optional(self) -> Iterator[None]:
        """What fails here costs the VisualDL log, never the run."""
        try:
            yield
        except (OSError, InputError) as error:
            said = f"{error.filename}: cannot be written ({error.strerror})" if isinstance(error, OSError) else error
            self._note(f"note: {said}; {self._lines.path} has all points")
            if self._log is not None:
                self._log.close()
                self._log = None

    def close(self) -> None:
        """Close the files; all is written."""
        self._lines.close()
        if self._log is not None:
            self._log.close()

    def _start_log(self, points: list[Point]) -> None:
        """A new VisualDL log of the earlier stages and these points, in place of older ones."""
        from visualdl.component.base_component import meta_data

        stages = [*map(_read, self._earlier), points]
        self._names = _ordered(point.name for stage in stages for point in stage)
        records, self._before = [meta_data(walltime=round(time.time() * 1000))], 0
        starts = []
        for stage in stages:
            starts.append(self._before)
            self._before += max((int(point.step) for point in stage), default=0) if stage is not points else 0
        for name in self._names:
            for start, stage in zip(starts, stages, strict=True):
                records += _records([point for point in stage if point.name == name], start)
        self._folder.mkdir(parents=True, exist_ok=True)
        old = list(self._folder.glob("*vdlrecords*"))
        log = AppendedFile(self._folder / _new_name(old))
        try:
            log.write(_packed(records))
        except OSError:
            log.close()
            log.path.unlink()
            raise
        if self._log is not None:
            self._log.close()
        self._log = log
        for path in old:
            path.unlink()


def _ordered(names: Any) -> list[str]:
    """Each name once: ``TAGS`` first, the others as they come."""
    seen = list(dict.fromkeys(names))
    return sorted(seen, key=lambda name: TAGS.index(name) if name in TAGS else len(TAGS))


def _sorted(points: list[Point], names: list[str]) -> list[Point]:
    return sorted(points, key=lambda point: names.index(point.name))


def _records(points: list[Point], before: int) -> list[Any]:
    """VisualDL's records of points, ``before`` steps after those of the earlier stages."""
    from visualdl.component.base_component import scalar

    return [scalar(p.name, float(p.value), before + int(p.step), round(float(p.seconds) * 1000)) for p in points]


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


def _read(file: Path, last: int | None = None) -> list[Point]:
    """The complete points of a file, up to step ``last``; a killed run may have left half a line.

    Raises InputError for what was no point when it was written.
    """
    if not file.is_file():
        return []
    points = []
    for number, line in enumerate(file.read_bytes().rpartition(b"\n")[0].split(b"\n")[1:], 2):
        try:
            point = Point(*line.decode().split(","))
            step, *_ = int(point.step), float(point.value), float(point.seconds)
        except (TypeError, ValueError):
            raise InputError(
                f"{file}:{number}: found {shown(line)}; {HEADER} is accepted (move the file away to continue "
                "without it)"
            ) from None
        # an evaluation at the last step comes again
        if last is None or step <= (last - 1 if point.name.startswith("val/") else last):
            points.append(point)
    return points


def _new_name(old: list[Path]) -> str:
    """A log name that is in no use, even if the clock has not moved on."""
    names = {path.name for path in old}
    number = int(time.time())
    while f"vdlrecords.{number}.log" in names:
        number += 1
    return f"vdlrecords.{number}.log"
