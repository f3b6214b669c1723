"""A number for each of some images, from a CSV with a header such as `path,weight`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.core.checks import InputError, nearest
from urnet.data.lists.lines import BLOCK_BYTES, Comments, Rows, open_text, shown, split_lines
from urnet.data.lists.list_form import PATH_WORDS, column_place, column_word, line_fields
from urnet.data.lists.listed_paths import ListedPaths
from urnet.data.lists.separated import Fields

SEPARATORS = (",", ";", "\t")
WORD = "weight"  # of the column that is read where none is called as asked


@dataclass(frozen=True)
class PathValues:
    """n lines: ``paths`` (Arrow strings) relative to a root, ``values`` float64 (n,), ``lines`` int64 from 1."""

    source: str
    paths: Any
    values: np.ndarray
    lines: np.ndarray


def read_path_values(
    file: str | Path, root: str | Path, name: str = WORD, *, block_bytes: int = BLOCK_BYTES
) -> PathValues:
    """Read the paths and the column ``name`` of a CSV; where it has none of this name `weight`, or its only other one.

    Commas, semicolons or tabs; encodings, quotes, comments, backslashes and absolute paths inside ``root`` as in all
    lists (docs/data.md). A line without a value is left out. Raises InputError with file and line for the first line
    that is none of these, without a path, or whose value is not a number.
    """
    paths, values, lines = [], [], []
    listed, comments = ListedPaths(file, root), Comments(file)
    columns: _Columns | None = None
    with open_text(file) as text:
        for first, block in text.blocks(block_bytes):
            is_row = None if columns is None else partial(_is_row, columns, listed)
            rows = comments.leave_out(split_lines(file, first, block), is_row)
            if columns is None and len(rows):
                columns = _columns(str(file), int(rows.line[0]), rows.text(0), name)
                rows = rows.where(np.arange(len(rows)) > 0)
            if columns is None or not len(rows):
                continue
            rows, path, value = columns.read(rows)
            paths.append(listed.relative(path, rows.line, block))
            values.append(value)
            lines.append(rows.line)
    comments.say()
    if not any(map(len, paths)):
        raise InputError(
            f"{file}: holds no image with a value; a first line `path,{name}` and a line per image are accepted"
        )
    return PathValues(str(file), pa.chunked_array(paths), np.concatenate(values), np.concatenate(lines))


def _is_row(columns: _Columns, listed: ListedPaths, line: str) -> bool:
    """Whether a line that begins with `#` names an image that is there."""
    return listed.is_file(columns.path_of(line))


@dataclass(frozen=True)
class _Columns:
    """Where a CSV's lines have path and value."""

    separator: str
    path: int
    value: int
    name: str

    def path_of(self, line: str) -> str:
        """The path of one line, "" where it has none."""
        fields = line_fields(line, self.separator)
        return fields[self.path] if self.path < len(fields) else ""

    def read(self, rows: Rows) -> tuple[Rows, Any, np.ndarray]:
        """The lines that have a value, their paths and the values."""
        fields = Fields(rows, self.separator)
        path, value = fields.field(self.path), fields.field(self.value)
        given = ~value.empty
        number = pc.if_else(pc.match_substring_regex(value.text, _NUMBER), value.text, None)
        bad = given & number.is_null().to_numpy(zero_copy_only=False)
        rows.refuse_first(
            [
                (
                    fields.unclosed | path.misquoted | value.misquoted,
                    lambda i: f"found {shown(rows.text(i))}; quotes are around a field, inside one they are doubled",
                ),
                (path.empty, lambda i: f"no path in {shown(rows.text(i))}"),
                (
                    bad,
                    lambda i: f"{self.name} {shown(value.text[i].as_py())} is not a number, in {shown(rows.text(i))}",
                ),
            ]
        )
        kept = pa.array(given)
        return rows.where(given), path.text.filter(kept), pc.cast(number.filter(kept), pa.float64()).to_numpy()


_NUMBER = r"(?i)^(-?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[-+]?[0-9]+)?|-?inf|nan)$"


def _columns(file: str, line: int, text: str, name: str) -> _Columns:
    """Which columns a header says there are. Raises InputError where it is not a header."""
    splits = {separator: line_fields(text, separator) for separator in SEPARATORS}
    separator = max(splits, key=lambda sign: len(splits[sign]))
    names = splits[separator]
    words = [column_word(column) for column in names]
    path = column_place(words, PATH_WORDS)
    if path is None or len(names) < 2:
        raise InputError(
            f"{file}:{line}: found {shown(text)}; a first line that names the columns is accepted: `path,{name}`"
        )
    others = [i for i in range(len(names)) if i != path]
    value = column_place(words, (column_word(name), WORD))
    if value is None and len(others) == 1:
        value = others[0]
    if value is None or value == path:
        raise InputError(f"{file}:{line}: has no column {name!r}; nearest: {nearest(name, [names[i] for i in others])}")
    if words.count(words[value]) > 1:
        raise InputError(f"{file}:{line}: the header names column {names[value]!r} twice")
    return _Columns(separator, path, value, names[value])
