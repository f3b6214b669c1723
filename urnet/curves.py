"""Level 2: the curves of a stage: a CSV file, and the same points for VisualDL."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from urnet.files import whole_file

HEADER = "step,name,value,seconds"


class Curves:
    """Appends points (step, name, value, Unix time) to ``file`` and to a VisualDL log in ``folder``.

    VisualDL shows one log file of a folder only, so each start writes a new one that begins with the points
    up to ``step``, where the run goes on. Points after it and evaluations (val/…) at it, which the run will
    reach again, are dropped, and older logs are removed: no gap and no point twice after an interruption.
    """

    def __init__(self, file: Path, folder: Path, step: int) -> None:
        from visualdl import LogWriter

        points = _read(file, step)
        old = list(folder.glob("*vdlrecords*")) if folder.is_dir() else []
        self._writer: Any = LogWriter(logdir=str(folder), file_name=_new_name(old), flush_secs=10)
        lines = [HEADER, *(",".join(point) for point in points)]
        with whole_file(file, replace=True) as part:
            part.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._stream = file.open("a", encoding="utf-8")
        for at, name, value, seconds in points:
            self._writer.add_scalar(name, float(value), int(at), round(float(seconds) * 1000))
        for path in old:
            path.unlink()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each named curve."""
        now = time.time()
        for name, value in values.items():
            self._stream.write(f"{step},{name},{float(value)!r},{now:.3f}\n")
            self._writer.add_scalar(name, float(value), step, round(now * 1000))
        self._stream.flush()

    def close(self) -> None:
        """Write out what is waiting."""
        self._stream.close()
        self._writer.close()


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
