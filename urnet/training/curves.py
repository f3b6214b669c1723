"""The curves of a stage: a CSV file, and the same points for VisualDL."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from urnet.core.atomic_files import AppendedFile, atomic_file

HEADER = "step,name,value,seconds"


class Curves:
    """Appends points (step, name, value, Unix time) to ``file`` and to a VisualDL log in ``folder``.

    VisualDL shows one log file of a folder only, so each start writes a new one that begins with the points
    up to ``step``, where the run goes on. Points after it and evaluations (val/…) at it, which the run will
    reach again, are dropped, and older logs are removed: no gap and no point twice after an interruption.
    Its own LogWriter is not used: on a full disk it goes on with a torn file, in a thread. Raises OSError
    that names the file.
    """

    def __init__(self, file: Path, folder: Path, step: int) -> None:
        from visualdl.component.base_component import meta_data

        points = _read(file, step)
        folder.mkdir(parents=True, exist_ok=True)
        old = list(folder.glob("*vdlrecords*"))
        self._records = AppendedFile(folder / _new_name(old))
        lines = [HEADER, *(",".join(point) for point in points)]
        with atomic_file(file, replace=True) as part:
            part.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._lines = AppendedFile(file)
        first = meta_data(walltime=round(time.time() * 1000))
        earlier = [_point(int(at), name, float(value), float(s)) for at, name, value, s in points]
        self._records.write(b"".join([_framed(first), *earlier]))
        for path in old:
            path.unlink()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each named curve."""
        now = time.time()
        lines = [f"{step},{name},{float(value)!r},{now:.3f}\n" for name, value in values.items()]
        self._lines.write("".join(lines))
        self._records.write(b"".join(_point(step, name, float(v), now) for name, v in values.items()))

    def close(self) -> None:
        """Close the files; all is written."""
        self._lines.close()
        self._records.close()


def _point(step: int, name: str, value: float, seconds: float) -> bytes:
    """A point as VisualDL reads it."""
    from visualdl.component.base_component import scalar

    return _framed(scalar(name, value, step, round(seconds * 1000)))


def _framed(record: Any) -> bytes:
    """A record of VisualDL's file: its length as a little-endian uint64, then the message."""
    data: bytes = record.SerializeToString()
    return struct.pack("<Q", len(data)) + data


def _read(file: Path, last: int) -> list[list[str]]:
    """The whole points of a file, up to step ``last``; a killed run may have left half a line."""
    if not file.is_file():
        return []
    whole = file.read_text(encoding="utf-8").rpartition("\n")[0]
    points = [line.split(",") for line in whole.split("\n")[1:]]
    ends = {True: last - 1, False: last}  # an evaluation at the last step comes again
    return [p for p in points if len(p) == 4 and int(p[0]) <= ends[p[1].startswith("val/")]]


def _new_name(old: list[Path]) -> str:
    """A log name that is in no use, even if the clock has not moved on."""
    names = {path.name for path in old}
    number = int(time.time())
    while f"vdlrecords.{number}.log" in names:
        number += 1
    return f"vdlrecords.{number}.log"
