"""Lists of images and labels as people write them: blanks, tabs, commas, semicolons, headers, quotes, names.

``urnet.data.lists.list_form`` has the rule that says how a list is read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.core.checks import InputError
from urnet.core.cli import is_main
from urnet.data.lists.class_names import like, same_name
from urnet.data.lists.lines import (
    BLOCK_BYTES,
    Comments,
    Lines,
    Rows,
    from_one,
    highest,
    numbered,
    open_text,
    shown,
    split_lines,
    strings_between,
)
from urnet.data.lists.list_form import ENDS_IN_SUFFIX, PATH_TO_SUFFIX, SEPARATORS, Form, find_form
from urnet.data.lists.listed_paths import ListedPaths
from urnet.data.lists.separated import Fields


class ListedClasses(NamedTuple):
    """How many rows a list has, how many classes its labels make, and their sorted names; none for numbers from 0."""

    n_rows: int
    n_classes: int
    names: list[str]


def read_list(
    file: str | Path,
    *,
    root: str | Path | None = None,
    n_classes: int | None = None,
    class_names: Sequence[str] = (),
    spellings: Sequence[Sequence[str]] = (),
    needed: bool = True,
    block_bytes: int = BLOCK_BYTES,
    quiet: bool = False,
    anywhere: bool = False,
) -> Iterator[Lines]:
    """Yield a list's lines block by block: paths relative to ``root``, labels 0..n_classes-1, or -1 unless ``needed``.

    ``class_names`` and ``spellings``, lists of other names of the classes: what labels that are names are looked up in;
    "" is nobody's name. ``root`` None: no file is looked at, and absolute paths are accepted if ``anywhere``. Left out
    lines and columns are told on stderr, unless ``quiet``. Raises InputError with file and line for the first that does
    not fit the list's form, leaves the root, or has no class.
    """
    reader, places = ListReader(file, root, needed, class_names, anywhere), _places([class_names, *spellings])
    high = None if n_classes is None else n_classes - 1
    for rows, path, labels in reader.blocks(block_bytes, high):
        if isinstance(labels, np.ndarray):
            number = labels
        else:
            number = _numbers(rows, labels, places, reader.form) if needed else np.full(len(rows), -1, np.int64)
        yield Lines(path, number, rows.line)
    if not quiet:
        reader.say()


def listed_names(file: str | Path, root: str | Path | None = None) -> list[str]:
    """The sorted names that a training list has for labels; none, after its first block, where they are numbers."""
    names: set[str] = set()
    for _, _, labels in ListReader(file, root, True, ()).blocks(BLOCK_BYTES, None):
        if isinstance(labels, np.ndarray):
            return []
        names.update(map(same_name, pc.unique(labels).to_pylist()))
    return sorted(names)


def listed_classes(file: str | Path, root: str | Path | None = None) -> ListedClasses:
    """The classes that a training list's labels make. Raises InputError as ``read_list``, nothing is told."""
    names, top, n_rows = set[str](), -1, 0
    for rows, _, labels in ListReader(file, root, True, ()).blocks(BLOCK_BYTES, None):
        n_rows += len(rows)
        if isinstance(labels, np.ndarray):
            top = max(top, int(labels.max()))
        else:
            names.update(map(same_name, pc.unique(labels).to_pylist()))
    return ListedClasses(n_rows, len(names) or top + 1, sorted(names))


class ListReader:
    """Blocks of a list in its form: lines, relative paths, and labels as numbers or as Arrow strings.

    ``comments`` counts the lines that were left out; ``form`` says which stand above the rows.
    """

    def __init__(
        self,
        file: str | Path,
        root: str | Path | None,
        needed: bool,
        class_names: Sequence[str],
        anywhere: bool = False,
    ) -> None:
        self._file, self._needed, self._known = str(file), needed, class_names
        self._paths = ListedPaths(file, root, anywhere)
        self._is_file = None if root is None else self._paths.is_file
        self.comments = Comments(file)
        self.form = Form("last")

    def blocks(self, block_bytes: int, high: int | None) -> Iterator[tuple[Rows, Any, Any]]:
        """Rows, their relative paths, and their labels: int64 up to ``high``, -1 none, or Arrow strings where names."""
        with open_text(self._file) as text:
            form = self.form = find_form(
                self._file, text.head, needed=self._needed, is_file=self._is_file, known=self._known
            )
            for first, block in text.blocks(block_bytes):
                rows = self.comments.leave_out(split_lines(self._file, first, block), self._is_row)
                if form.before >= first:
                    rows = rows.where((rows.line > form.before) | rows.hashed)
                if not len(rows):
                    continue
                path, labels = self._split(rows, form, high)
                if form.names:
                    labels = pc.utf8_trim_whitespace(labels)
                    _refuse_paths(rows, labels, form)
                yield rows, self._paths.relative(path, rows.line, block), labels

    def _is_row(self, text: str) -> bool:
        """Whether a line that begins with `#` names an image that is there."""
        return self._is_file is not None and self._is_file(self.form.parts(text)[0])

    def _split(self, rows: Rows, form: Form, high: int | None) -> tuple[Any, Any]:
        if form.how == "last":
            lines = numbered(rows, "label", 0, high, self._needed, self._outside, form.describe())
            return lines.path, lines.number
        if form.how == "suffix":
            return _to_suffix(rows, form, self._needed)
        return self._fields(rows, form, high)

    def _fields(self, rows: Rows, form: Form, high: int | None) -> tuple[Any, Any]:
        """Path and label of lines of fields."""
        fields, hint = Fields(rows, form.separator), form.describe()
        path, label = fields.field(form.path), None if form.label is None else fields.field(form.label)
        sign = SEPARATORS[form.separator]
        tests = [
            (
                fields.unclosed,
                lambda i: (
                    f"found {shown(rows.text(i))} with a quote that is not closed in its line; a quote inside a "
                    "field is doubled"
                ),
            ),
            (
                fields.count > form.n_fields,
                lambda i: (
                    f"found {shown(rows.text(i))} with {fields.count[i]} columns; {form.n_fields} are accepted: "
                    f"put a field that holds a {sign} in quotes, or name all columns in a first line, `path,label,…`"
                ),
            ),
            (path.empty, lambda i: f"no path in {shown(rows.text(i))}"),
        ]
        for field in (path, label):
            if field is not None:
                tests.append(
                    (
                        field.misquoted,
                        lambda i: (
                            f"found {shown(rows.text(i))} with a quote inside a field; there it is doubled, and "
                            "quotes are around the field"
                        ),
                    )
                )
        if label is None:
            rows.refuse_first(tests, hint)
            return path.text, np.full(len(rows), -1, np.int64)
        if self._needed:
            tests.append((label.empty, lambda i: f"found {shown(rows.text(i))} without a label"))
        if form.names:
            rows.refuse_first(tests, hint)
            return path.text, label.text
        number, numeric = label.integers()
        top, accepted = highest(high)
        accepted = accepted.format(low=0)
        outside = numeric & ((number < 0) | (number > top)) & ~((number == -1) & (not self._needed))
        start = from_one(number[numeric], top) if outside.any() else ""
        tests.append((outside, lambda i: self._outside(label.text[i].as_py(), accepted) + start))
        if self._needed:
            tests.append(
                (
                    ~numeric & ~label.empty,
                    lambda i: (
                        f"label {shown(label.text[i].as_py())} is not an integer; accepted: {accepted} (names: a first "
                        "line `path,label_name`)"
                    ),
                )
            )
        rows.refuse_first(tests, hint)
        return path.text, np.where(numeric, number, -1)

    def _outside(self, label: str, accepted: str) -> str:
        """The words about a number that is not a class's."""
        named = f"; {label} is a class's name" if label in self._known else ""
        unknown = named or not any(self._known)
        return f"label {label} is outside; accepted: {accepted}{named}" + (
            " (for names a first line `path,label_name`)" if unknown else ""
        )

    def say(self) -> None:
        """Tell on stderr which lines and columns were left out, and of labels that could be read in two ways."""
        self.comments.say()
        if not is_main():
            return
        form = self.form
        used = [form.header[i] for i in (form.path, form.label) if i is not None] if form.header else []
        rest = [name or "(no name)" for i, name in enumerate(form.header) if i not in (form.path, form.label)]
        if rest:
            shown_rest = ", ".join(rest[:5]) + (" …" if len(rest) > 5 else "")
            print(
                f"note: {self._file}: columns {' and '.join(used)} are read, these are not: {shown_rest}",
                file=sys.stderr,
            )
        if self._needed and not form.names:
            for c, name in enumerate(self._known):
                if re.fullmatch("[0-9]{1,9}", name) and c != int(name) < len(self._known):
                    print(
                        f"note: {self._file}: labels are the classes' numbers: {int(name)} is class "
                        f"{self._known[int(name)]!r}, not {name!r} (for names, a first line `path,label_name`)",
                        file=sys.stderr,
                    )
                    break


def _refuse_paths(rows: Rows, labels: Any, form: Form) -> None:
    """Refuse a label that is a path: label and path the other way round."""
    like_path = pc.match_substring_regex(labels, ENDS_IN_SUFFIX)
    if pc.any(like_path).as_py():
        rows.refuse_first(
            [
                (
                    like_path.to_numpy(zero_copy_only=False),
                    lambda i: (
                        f"label {shown(labels[i].as_py())} looks like a path; accepted: the path first, or a first "
                        "line that names the columns, `label,path`"
                    ),
                )
            ],
            form.describe(),
        )


def _to_suffix(rows: Rows, form: Form, needed: bool) -> tuple[Any, Any]:
    """Path up to its suffix, and the name after it."""
    texts = strings_between(rows.data, rows.starts, rows.ends)
    found = pc.extract_regex(texts, PATH_TO_SUFFIX)
    path, label = found.field("path"), found.field("label")
    if found.null_count:
        alone = found.is_null()
        if needed:
            mask = alone.to_numpy(zero_copy_only=False)
            rows.refuse_first(
                [(mask, lambda i: f"found {shown(rows.text(i))} without an image's suffix and a label")],
                form.describe(),
            )
        path, label = pc.if_else(alone, texts, path), pc.if_else(alone, "", label)
    return path, label


def _places(spellings: Sequence[Sequence[str]]) -> dict[str, int]:
    """The class of each name; -1 where it is several classes'."""
    place: dict[str, int] = {}
    for names in spellings:
        for c, name in enumerate(map(same_name, names)):
            if name and place.setdefault(name, c) != c:
                place[name] = -1
    return place


def _numbers(rows: Rows, labels: Any, place: Mapping[str, int], form: Form) -> np.ndarray:
    """The class numbers of names. Raises InputError at the first line with a name that is not a class's."""
    coded = labels.dictionary_encode()
    distinct = coded.dictionary.to_pylist()
    number = np.array([place.get(same_name(name), -1) for name in distinct], np.int64)
    if number.min(initial=0) < 0:
        code = int(np.argmin(number))
        name, line = distinct[code], rows.line[pc.index(coded.indices, pa.scalar(code, coded.indices.type)).as_py()]
        if not place:
            why = "is a name, but the classes have no names here; give numbers, or the classes' names (class_names)"
        elif same_name(name) in place:
            why = "is the name of two classes; give numbers"
        else:
            why = f"is not a class; nearest: {like(name, place)}"
        raise InputError(f"{rows.file}:{line}: label {shown(name)} {why}{form.describe()}")
    return number[coded.indices.to_numpy()]
