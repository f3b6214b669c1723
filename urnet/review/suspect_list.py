"""A list of suspects read again: the CSV that tools/suspects.py and tools/report.py write, also as Excel saves it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from urnet.core.checks import InputError
from urnet.report.suspects import BYTE_ORDER_MARK, HEADER, UNKNOWN, UNREADABLE, VERDICTS, Evidence

NEEDED = ("path", "given", "suggested", "label_quality", "verdict")
ACCEPTED = f"the CSV that tools/suspects.py writes is accepted, with the columns {', '.join(HEADER)}"
SEPARATORS = ",;\t"  # Excel writes one of the others in many countries


@dataclass(frozen=True)
class SuspectList:
    """``paths`` (N,) an Arrow array of texts; ``given`` int32 (N,) into ``class_names``, which are all that it names.

    ``evidence``: of the N rows; its ``same_as`` is a list of texts.
    """

    paths: Any
    given: np.ndarray
    class_names: list[str]
    evidence: Evidence

    def with_classes(self, names: Iterable[str]) -> SuspectList:
        """The same with further classes behind its own."""
        return replace(self, class_names=list(dict.fromkeys([*self.class_names, *names])))


def read_list(file: str | Path) -> SuspectList:
    """The rows of a list in its order, and the classes that are named in it, 2 before 10.

    Columns that it does not know are left out. With ``;`` between columns a number may have a comma (0,9).
    Raises InputError for a file that is no such list: where, and what is accepted.
    """
    file = Path(file)
    table = _table(file)
    paths, verdict = table["path"], table["verdict"]
    _check_paths(file, paths)
    given, suggested = table["given"], table["suggested"]
    named = set(pc.unique(given).to_pylist()) | set(pc.unique(suggested).to_pylist()) - {""}
    if "" in named:
        raise _wrong(file, given, lambda text: text == "", "given is empty; a class is accepted")
    names = sorted(named, key=natural)
    values, places = pa.array(names, pa.large_string()), pa.array(VERDICTS, pa.large_string())
    verdicts = pc.index_in(verdict, places)
    if verdicts.null_count:
        raise _wrong(
            file, verdict, lambda text: text not in VERDICTS, f"verdict {{!r}} is not known; {', '.join(VERDICTS)}"
        )
    numbers = {
        name: _numbers(file, table, name) if name in table else None
        for name in ("suggested_prob", "label_quality", "in_classes")
    }
    quality = numbers["label_quality"]
    assert quality is not None
    verdict_of = _array(verdicts).astype(np.int8)
    evidence = Evidence(
        suggested=_array(pc.fill_null(pc.index_in(suggested, values), -1)).astype(np.int32),
        label_quality=np.where(np.isnan(quality) | (verdict_of == UNREADABLE), np.float32(UNKNOWN), quality),
        verdict=verdict_of,
        suggested_prob=numbers["suggested_prob"],
        group=_groups(table["group"]) if "group" in table else None,
        in_classes=numbers["in_classes"],
        same_as=table["same_as"].to_pylist() if "same_as" in table else None,
    )
    return SuspectList(paths, _array(pc.index_in(given, values)).astype(np.int32), names, evidence)


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts 2 before 10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    return tuple(
        (int(part[:18]), part) if part[0].isdecimal() and part.isascii() else (1 << 62, part) for part in parts
    )


def _array(values: Any) -> np.ndarray:
    return values.to_numpy(zero_copy_only=False)


def _table(file: Path) -> dict[str, Any]:
    """The known columns as Arrow arrays of texts."""
    separator, header = _header(file)
    lacking = [name for name in NEEDED if name not in header]
    repeated = [name for name in HEADER if header.count(name) > 1]
    if lacking or repeated:
        what = f"has no column {lacking[0]}" if lacking else f"has the column {repeated[0]} twice"
        raise InputError(f"{file}: {what}; {ACCEPTED}")
    known = [name for name in HEADER if name in header]
    try:
        table = arrow_csv.read_csv(
            file,
            parse_options=arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(known, pa.large_string()), include_columns=known, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        said = " ".join(str(error).split()).removeprefix("CSV parse error: ")[:200]
        raise InputError(f"{file}: is damaged ({said}); {ACCEPTED}") from None
    if not table.num_rows:
        raise InputError(f"{file}: has no rows below its header; {ACCEPTED}")
    return {name: table[name].combine_chunks() for name in known}


def _header(file: Path) -> tuple[str, list[str]]:
    """What is between the columns, and their names."""
    try:
        with file.open("rb") as stream:
            line = stream.readline(1 << 16)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); {ACCEPTED}") from None
    if not line.strip():
        raise InputError(f"{file}: is empty or begins with an empty line; {ACCEPTED}")
    try:
        text = re.split(b"[\r\n]", line.removeprefix(BYTE_ORDER_MARK))[0].decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputError(f"{file}: its first line is not UTF-8 text; {ACCEPTED}")
    separator = max(SEPARATORS, key=text.count)
    try:
        return separator, next(csv.reader([text], delimiter=separator), [])
    except csv.Error as error:
        raise InputError(f"{file}: its first line is not CSV ({error}); {ACCEPTED}") from None


def _check_paths(file: Path, paths: Any) -> None:
    if pc.any(pc.equal(paths, "")).as_py():
        raise _wrong(file, paths, lambda text: text == "", "path is empty; a picture's path is accepted")
    if pc.count_distinct(paths).as_py() != len(paths):
        first: dict[str, int] = {}
        for row, path in enumerate(paths.to_pylist()):
            if first.setdefault(path, row) != row:
                both = f"rows {first[path] + 1} and {row + 1}"
                raise InputError(f"{file}: {both} have the same path {path!r}; one is accepted")


def _numbers(file: Path, table: dict[str, Any], name: str) -> np.ndarray:
    """float32 (N,) in 0..1, nan where the column is empty."""
    texts = pc.replace_substring(pc.utf8_trim_whitespace(table[name]), ",", ".")
    try:
        values = _array(pc.if_else(pc.equal(texts, ""), None, texts).cast(pa.float64()))
    except pa.ArrowInvalid:
        raise _wrong(file, table[name], _no_number, f"{name} {{!r}} is not a number; 0 to 1 is accepted") from None
    if np.any((values < 0) | (values > 1)):
        outside = lambda text: bool(text) and not 0 <= float(text.replace(",", ".")) <= 1  # noqa: E731
        raise _wrong(file, table[name], outside, f"{name} {{!r}} is outside; 0 to 1 is accepted")
    return values.astype(np.float32)


def _no_number(text: str) -> bool:
    try:
        float(text.replace(",", ".") or "0")
    except ValueError:
        return True
    return False


def _groups(texts: Any) -> np.ndarray:
    """A number for rows with the same text, -1 where it is empty, int32 (N,)."""
    coded = texts.dictionary_encode()
    empty = _array(pc.equal(texts, ""))
    return np.where(empty, -1, _array(coded.indices)).astype(np.int32)


def _wrong(file: Path, texts: Any, wrong: Any, what: str) -> InputError:
    """An error that names the first row whose text is wrong; ``{}`` in ``what`` is the text."""
    row, text = next((row, text) for row, text in enumerate(texts.to_pylist()) if wrong(text))
    return InputError(f"{file}: row {row + 1} below the header: {what.format(text[:40])}")
