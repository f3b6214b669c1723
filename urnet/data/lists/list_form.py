"""How a list is written: what parts path and label, and whether labels are numbers or names.

One rule, applied once a file to its first ``SAMPLE`` lines that are not comments:

1. A first line of column names (`path,label`) names the columns, whatever is between them.
2. Where all of the lines end in a blank and a number, the last blank parts path and number: the classic form. (Not
   in `a.jpg, 3`: there the comma does. And a reading whose first image is there goes before one whose first is not.)
3. Else the first line decides: the separator is the comma, semicolon, tab or blank after its image's suffix
   (`.jpg,`), else the first of tab, comma, semicolon and blank that all of the lines have.

Labels are numbers where the first one is, else names. Where labels are not needed (infer.py) a line is a path alone,
with or without a number after its last blank, unless 1 holds or a separator follows the suffix in all of the lines.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from urnet.core.checks import InputError
from urnet.data.lists.lines import shown

SAMPLE = 64
BLANK = " "  # stands for runs of spaces and tabs
SEPARATORS = {"\t": "tab", ",": "comma", ";": "semicolon", BLANK: "blank"}
_PICTURES, _CLASSES = ("image", "img", "file", "picture", "photo"), ("label", "class", "category", "target")
# words of a header, without blanks and signs, in small letters; the first that is there is taken
PATH_WORDS = (
    *("path", "relativepath", "relpath"),
    *(what + kind for kind in ("path", "filename", "file", "name", "", "id") for what in _PICTURES),
    *("paths", "filenames", "files", "images"),
)
NUMBER_WORDS = tuple(what + kind for kind in ("id", "index", "idx", "number") for what in _CLASSES)
NAME_WORDS = tuple(what + "name" for what in _CLASSES)
LABEL_WORDS = (
    *NUMBER_WORDS,
    *(*_CLASSES, "labels", "classes", "categories", "targets", "groundtruth", "gt", "y"),
    *NAME_WORDS,
)
_ACCEPTED = "`path`, `filename`, `file` or `image`, and `label`, `class` or `target` (`label_name` for names)"

_SUFFIX = (  # of images, whether they can be read or not
    r"\.(?:jpe?g|jpe|jfif|mpo|a?png|gif|bmp|dib|webp|tiff?|avif|hei[cf]|jp2|j2k|jpx|p[bgnp]m|ico|tga|svg)"
)
_WHOLE_SUFFIX = re.compile(_SUFFIX + r"(?=[\s\",;]|$)", re.IGNORECASE)
ENDS_IN_SUFFIX = "(?i)" + _SUFFIX + "$"  # these two are also RE2's, for Arrow
PATH_TO_SUFFIX = r"(?i)^(?P<path>.*" + _SUFFIX + r")[ \t]+(?P<label>[^ \t].*)$"
_NUMBERED = re.compile(r"(.*?)[ \t]+-?[0-9]{1,10}")
_AFTER_COMMA = re.compile(r".*([,;])[ \t]+-?[0-9]{1,10}")
_A_NUMBER = r"[-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?[,;]*"
_LIKE_NUMBER = re.compile(rf"{_A_NUMBER}(?:[ \t,;]+{_A_NUMBER})*")  # or several
_QUOTED = re.compile(r'"(?:[^"]|"")*"[ \t]')
_EXCEL = re.compile(r'"?sep=(.)"?', re.IGNORECASE)


@dataclass(frozen=True)
class Form:
    """How a list's lines are read.

    ``how``: "last" (path and number, the last blank between them), "suffix" (path up to its suffix and name, blanks
    between them) or "fields" (``n_fields`` at most, ``separator`` between them, path and label at these places).
    ``label`` None: there is none. ``names``: labels are names. ``before``: the number of the last line above the
    rows, 0 none. ``header``: its columns. ``line`` and ``text``: what decided.
    """

    how: str
    separator: str = BLANK
    names: bool = False
    path: int = 0
    label: int | None = 1
    n_fields: int = 2
    before: int = 0
    header: tuple[str, ...] = ()
    line: int = 1
    text: str = ""

    def describe(self) -> str:
        """What was decided and by which line, for messages."""
        labels = "names" if self.names else "numbers"
        words = f"{SEPARATORS[self.separator]}s between path and label, labels {labels}"
        if self.how == "last":
            words = "numbers after the last blank"
        return f"; read with {words}, as line {self.line} is {shown(self.text)}" if self.text else ""

    def parts(self, line: str) -> tuple[str, str | None]:
        """Path and label of one line; the label is None where there is none."""
        if self.how == "last":
            found = _NUMBERED.fullmatch(line)
            return (found[1], line[len(found[1]) :].strip()) if found else (line, None)
        if self.how == "suffix":
            named = re.match(PATH_TO_SUFFIX, line)
            return (named["path"], named["label"]) if named else (line, None)
        fields = line_fields(line, self.separator)
        path, label = (fields[i] if i is not None and i < len(fields) else None for i in (self.path, self.label))
        return path or "", label


def find_form(
    file: str, head: bytes, *, needed: bool, is_file: Callable[[str], bool] | None = None, known: Sequence[str] = ()
) -> Form:
    """The form of a list that begins with ``head``; ``needed``: each line has a label.

    ``is_file(path)`` says whether a listed path is there, None: nobody knows. ``known``: names of classes. Raises
    InputError for a header, or a line in a header's place, that does not say what the columns are.
    """
    lines = [(i, line.strip(" \t\r")) for i, line in enumerate(head.decode("utf-8", "replace").split("\n"), 1)]
    rows = [(i, line) for i, line in lines if line and not line.startswith("#")]
    before, separator = 0, None
    if rows and (excel := _EXCEL.fullmatch(rows[0][1])):
        before, separator = rows.pop(0)[0], excel[1]
        if separator not in SEPARATORS:
            raise InputError(f"{file}:{before}: separator {separator!r}; accepted: comma, semicolon, tab and blank")
    rows = rows or [(i, line) for i, line in lines if line.startswith("#")]  # paths that begin so, perhaps
    if not rows:
        return Form("last", before=before)
    line, texts = rows[0][0], [text for _, text in rows[:SAMPLE]]
    header = _header(f"{file}:{line}", texts, separator, needed)
    if header is not None:
        form = replace(header, before=line, line=line, text=texts[0])
        spaced = form.separator == BLANK and (form.path, form.label, form.n_fields) == (0, 1, 2)
        spaced = spaced and not all(map(_QUOTED.match, texts[1:]))  # paths may hold blanks, as without a header
        found = (text.split()[-1] if spaced else form.parts(text)[1] for text in texts[1:])
        labels = [label for label in found if label]
        column = "" if form.label is None else column_word(form.header[form.label])
        content = bool(labels) and _is_name(labels[0], known)
        form = replace(form, names=column in NAME_WORDS or (content and column not in NUMBER_WORDS))
        if spaced and not form.names:
            return replace(form, how="last")
        return replace(form, how="suffix") if spaced and re.match(PATH_TO_SUFFIX, (texts[1:] or [""])[0]) else form
    form = _form_of_rows(texts, separator, needed, is_file, known)
    if form.how == "fields" and needed:
        _refuse_strange_header(f"{file}:{line}", form, texts)
    return replace(form, before=before, line=line, text=texts[0])


def _form_of_rows(
    texts: Sequence[str],
    separator: str | None,
    needed: bool,
    is_file: Callable[[str], bool] | None,
    known: Sequence[str],
) -> Form:
    """The form of a list without a header."""
    first, classic = texts[0], Form("last")

    def there(form: Form) -> bool:
        return is_file is not None and is_file(form.parts(first)[0])

    def fields(separator: str) -> Form:
        form = Form("fields", separator)
        label = form.parts(first)[1]
        return replace(form, names=label is not None and _is_name(label, known))

    if separator is not None:
        return fields(separator)
    after = [_after_suffix(text) for text in texts]
    quoted = all(map(_QUOTED.match, texts))
    if all(map(_NUMBERED.fullmatch, texts)):
        commas = {found[1] if (found := _AFTER_COMMA.fullmatch(text)) else "" for text in texts}
        others = [BLANK] if quoted else []
        if len(commas) == 1 and "" not in commas:
            others += commas
        elif after[0] not in (None, BLANK) and there(fields(str(after[0]))):
            others.append(str(after[0]))
        return fields(others[0]) if others and not there(classic) else classic
    if not needed and there(classic):
        return classic
    if needed:
        chosen = after[0] or next((s for s in SEPARATORS if all(s in text for text in texts)), None)
    else:
        chosen = after[0] if len(set(after)) == 1 else None
        held = [s for s in SEPARATORS if s != BLANK and all(s in text for text in texts)]
        chosen = chosen or next((s for s in held if there(fields(s))), None)
    if chosen is None:
        return classic
    if chosen != BLANK or quoted:
        return fields(chosen)
    form = Form("suffix", names=True) if re.match(PATH_TO_SUFFIX, first) else fields(BLANK)
    return form if _is_name(form.parts(first)[1] or "", known) else classic


def _header(where: str, texts: Sequence[str], separator: str | None, needed: bool) -> Form | None:
    """The form that a first line of column names gives, None where it is none."""
    first = texts[0]
    if _WHOLE_SUFFIX.search(first) or _NUMBERED.fullmatch(first):
        return None
    best, most = None, 0
    for sep in (separator,) if separator else SEPARATORS:
        names = line_fields(first, sep)
        words = [column_word(name) for name in names]
        path, label = column_place(words, PATH_WORDS), column_place(words, LABEL_WORDS)
        if path is None and label is not None:
            path = column_place(words, ("name", "id"))
        elif label is None and path is not None:
            label = column_place(words, ("name",))
        known = (path is not None) + (label is not None)
        alone = path is not None and len(names) == 1
        if alone and (needed or not any(map(_WHOLE_SUFFIX.search, texts[1:]))):
            continue  # an image called `image`
        if known > most and (known == 2 or sep != BLANK):
            best, most = (sep, tuple(names), words, path, label), known
    if best is None:
        return None
    sep, columns, words, path, label = best
    twice = [word for i in (path, label) if i is not None and words.count(word := words[i]) > 1]
    missing = "paths" if path is None else "labels" if label is None and needed else None
    if twice or missing:
        fault = f"names column {twice[0]!r} twice" if twice else f"names no column of {missing}"
        raise InputError(f"{where}: the header {shown(first)} {fault}; accepted: {_ACCEPTED}")
    return Form("fields", sep, path=int(path or 0), label=label, n_fields=len(columns), header=columns)


def _refuse_strange_header(where: str, form: Form, texts: Sequence[str]) -> None:
    """Refuse a first line that is unlike all others: it seems to name columns, in words that are not known."""
    suffixes = [bool(_WHOLE_SUFFIX.search(text)) for text in texts]
    numbers = [bool(_LIKE_NUMBER.fullmatch(form.parts(text)[1] or "")) for text in texts]
    if len(texts) > 1 and not suffixes[0] and (all(suffixes[1:]) or (all(numbers[1:]) and not numbers[0])):
        raise InputError(
            f"{where}: found {shown(texts[0])}, unlike the lines after it; of a header that names the columns are "
            f"accepted: {_ACCEPTED}"
        )


def line_fields(line: str, separator: str) -> list[str]:
    """A line's fields, as the array code splits them where quotes are as they should be."""
    try:
        text = line.replace("\t", BLANK) if separator == BLANK else line
        fields = [field.strip() for field in next(csv.reader([text], delimiter=separator, skipinitialspace=True))]
    except csv.Error:  # a zero byte, a field of 100 KiB
        return [line]
    while len(fields) > 1 and not fields[-1]:
        fields.pop()
    return [field for field in fields if field] if separator == BLANK else fields


def column_word(column: str) -> str:
    """A column's name as the words above are written: `Label_Name` is `labelname`."""
    return re.sub(r"[\s_-]+", "", column).casefold()


def column_place(words: Sequence[str], accepted: Sequence[str]) -> int | None:
    """The place of the first accepted word that is there."""
    return next((words.index(word) for word in accepted if word in words), None)


def _after_suffix(text: str) -> str | None:
    """The separator behind an image's suffix, the last one in a line; None where nothing is behind it."""
    found = list(_WHOLE_SUFFIX.finditer(text))
    rest = text[found[-1].end() :].removeprefix('"') if found else ""
    word = rest.lstrip(BLANK)
    return word[0] if word[:1] in (",", ";", "\t") and word else BLANK if rest.startswith(BLANK) else None


def _is_name(label: str, known: Sequence[str]) -> bool:
    return not _LIKE_NUMBER.fullmatch(label) or (label in known and not re.fullmatch("[0-9]+", label))
