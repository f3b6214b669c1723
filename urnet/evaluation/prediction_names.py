"""The names of an image's classes in one cell of CSV, so that they can be told apart again.

Names are parted by `; `. One that would not come back so is in double quotes, inner ones doubled: the cell
is a CSV line whose separator is `;` and whose blanks after it do not count, and so it is read.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence


def join_names(names: Sequence[str]) -> str:
    """One cell's text. Names without `;`, a line break, or a blank or double quote in front stand as they are."""
    if list(names) == [""]:
        return '""'  # nothing at all stands for no names
    return "; ".join(map(_quoted, names))


def _quoted(name: str) -> str:
    if name.startswith((" ", '"')) or any(sign in name for sign in ";\r\n"):
        return '"' + name.replace('"', '""') + '"'
    return name


def split_names(cell: str) -> list[str]:
    """The names of a cell; what ``join_names`` was given."""
    return next(csv.reader([cell], delimiter=";", skipinitialspace=True)) if cell else []
