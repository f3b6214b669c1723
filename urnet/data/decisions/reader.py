"""Reads decisions.csv, as it was written or as hands and spreadsheets have left it."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from urnet.core.checks import InputError
from urnet.core.cli import is_main
from urnet.core.counted import plural
from urnet.data.decisions.records import HEADER, Decision, Decisions
from urnet.data.lists.class_names import same_name
from urnet.data.lists.lines import open_text

NEEDED = ("path", "decision")  # columns; a decision with a label needs that, too
_EXCEL = re.compile(r'\s*"?sep=(.)"?\s*', re.IGNORECASE)
_ACCEPTED = f"a first line `{','.join(HEADER)}` is accepted, then one picture per line (tools/review.py writes it)"


def read_decisions(path: str | Path, *, quiet: bool = False) -> Decisions:
    """The decisions in a file of the columns ``HEADER``, in any order; only path and decision must be there.

    Accepted are commas, semicolons and tabs, quotes as in CSV, UTF-8 with or without a byte order mark and UTF-16 with
    one, any line ends, and further columns. Of several lines about one path the last one counts; a note on stderr says
    so where they differ (unless ``quiet``). Raises InputError with file and line for the first that is not a decision.
    """
    file, mark = str(path), _begins(Path(path))
    with open_text(path) as text:
        content = b"".join(block for _, block in text.blocks()).decode()
    lines = _Lines(file, content, whole=_ends_line(Path(path)))
    at, further_at = lines.columns(), lines.further()
    rows, line, place = list[Decision](), list[int](), dict[str, int]()
    further: dict[str, tuple[str, ...]] = {}
    twice = _Twice(file)
    for number, fields in lines:
        values = {name: fields[i] if i < len(fields) else "" for name, i in at.items()}
        row = Decision(
            values["path"],
            values.get("sha256", "").strip().lower(),
            values.get("given", ""),
            values["decision"].strip().lower(),
            values.get("label", ""),
            values.get("time", "").strip(),
        )
        fault = row.fault()
        if fault:
            raise InputError(f"{file}:{number}: {row.path!r}: {fault}" if row.path else f"{file}:{number}: {fault}")
        if further_at:
            further[row.path] = tuple(fields[i] if i < len(fields) else "" for i in further_at)
        i = place.setdefault(row.path, len(rows))
        if i < len(rows):
            twice.add(rows[i], line[i], row, number)
            rows[i], line[i] = row, number
        else:
            rows.append(row)
            line.append(number)
    if not quiet:
        twice.say()
    names = tuple(lines.header[i] for i in further_at)
    return Decisions(file, rows, np.array(line, np.int64), names, further, lines.separator, mark)


class _Lines:
    """The numbered rows of fields below the header. Raises InputError for what is not a table of decisions."""

    def __init__(self, file: str, content: str, *, whole: bool) -> None:
        self._file, self._whole = file, whole
        first, _, rest = content.partition("\n")
        excel, skipped = _EXCEL.fullmatch(first), 0
        if excel:
            content, skipped = rest, 1
        head = next((text for text in content.split("\n") if text.strip()), "")
        if not head:
            raise InputError(f"{file}: is empty; {_ACCEPTED}")
        self.separator = excel[1] if excel else max(",;\t", key=lambda sign: _known(head, sign))
        if self.separator not in ",;\t":
            raise InputError(f"{file}:1: separator {self.separator!r}; comma, semicolon and tab are accepted")
        self._rows = self._numbered(content, skipped)
        self._line, self.header = next(self._rows)
        self._names = [name.strip().casefold() for name in self.header]

    def columns(self) -> dict[str, int]:
        """The place of each known column."""
        names, where = self._names, f"{self._file}:{self._line}"
        missing = [name for name in NEEDED if name not in names]
        if missing:
            shown = ", ".join(" ".join(name.split())[:30] for name in self.header[:10])
            raise InputError(f"{where}: has no column {missing[0]!r}, found {shown}; {_ACCEPTED}")
        double = next((name for name in HEADER if names.count(name) > 1), None)
        if double:
            raise InputError(f"{where}: has two columns {double!r}; one is accepted")
        return {name: names.index(name) for name in HEADER if name in names}

    def further(self) -> list[int]:
        """The places of the other columns that have a name."""
        return [i for i, name in enumerate(self._names) if name and name not in HEADER]

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        n = len(self.header)
        before: tuple[int, list[str]] | None = None
        for row in self._rows:
            if before is not None:
                yield before
            number, fields = before = row
            if len(fields) > n:
                raise InputError(
                    f"{self._file}:{number}: has {len(fields)} columns, but the first line has {n}; put a field "
                    "that holds a "
                    f"{ {',': 'comma', ';': 'semicolon'}.get(self.separator, 'tab') } in quotes"
                )
        if before is not None:
            number, fields = before
            if not self._whole and len(fields) < n:
                raise InputError(
                    f"{self._file}:{number}: ends after {len(fields)} of {n} columns without a line break, as if a "
                    "program had been stopped while writing it; complete this line or remove it"
                )
            yield before

    def _numbered(self, content: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
        """(number of its first line, fields) of the rows that are not empty, the header's included."""
        reader = csv.reader(io.StringIO(content, newline=""), delimiter=self.separator, strict=True)
        while True:
            number = skipped + reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise InputError(
                    f"{self._file}:{number}: is not valid CSV ({error}); a quote inside a field is doubled, and quotes "
                    "are around it"
                ) from None
            if any(field.strip() for field in fields):
                yield number, fields


class _Twice:
    """Paths that several lines decide, and otherwise each time."""

    def __init__(self, file: str) -> None:
        self._file, self._paths, self._first = file, set[str](), ""

    def add(self, before: Decision, line: int, now: Decision, number: int) -> None:
        if (before.decision, same_name(before.label)) == (now.decision, same_name(now.label)):
            return
        if not self._first:
            self._first = f"{now.path!r} in line {line} {_said(before)}, in line {number} {_said(now)}"
        self._paths.add(now.path)

    def say(self) -> None:
        if self._paths and is_main():
            n = len(self._paths)
            print(
                f"note: {self._file}: {plural(n, 'picture is', 'pictures are')} decided in two ways; the last line "
                f"counts: {self._first}" + (" …" if n > 1 else ""),
                file=sys.stderr,
            )


def _said(row: Decision) -> str:
    return f"{row.decision} {row.label}".strip()


def _known(head: str, separator: str) -> int:
    """How many of the columns a first line names, so separated."""
    return sum(name.strip(' "\r').casefold() in HEADER for name in head.split(separator))


def _begins(path: Path) -> bool:
    """Whether a byte order mark of UTF-8 begins the file; what cannot be read is told by whoever reads it."""
    try:
        with path.open("rb") as stream:
            return stream.read(3) == b"\xef\xbb\xbf"
    except OSError:
        return False


def _ends_line(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(max(path.stat().st_size - 2, 0))
        return stream.read().strip(b"\0")[-1:] in (b"\n", b"\r", b"")
