"""Names of classes: the files that list them, and when two spellings are one name.

A name is its characters, not their encoding: `é` as one code point (NFC) and as `e` with an accent (NFD) are one.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from urnet.config.yaml_dataclass import parse_yaml, shown
from urnet.core.checks import InputError, nearest
from urnet.data.lists.lines import read_text

_SYNSET = re.compile(r"n\d{8}(\s|$)")
_DIGITS, _SEPARATORS = "0123456789", " \t:,;"
_Numbered = tuple[int, str] | None
_ACCEPTED = "one class name per line is accepted"


class Reading(NamedTuple):
    """One way to read a file of names: class c is known elsewhere as ``keys[c]`` and is called ``names[c]``."""

    keys: list[str]
    names: list[str]


@dataclass(frozen=True)
class ClassFile:
    """A file that names every class, by number: ``where[c]`` is class c's line, the first reading the usual one."""

    path: str
    readings: list[Reading]
    where: list[str]

    @property
    def names(self) -> list[str]:
        return self.readings[0].names

    def reading_for(self, found: Iterable[str]) -> Reading:
        """The reading whose keys have most of ``found``, names that the classes have elsewhere (folders, say)."""
        keys = {same_name(name) for name in found}
        return max(self.readings, key=lambda reading: len(keys.intersection(map(same_name, reading.keys))))

    def agreeing(self, known: Sequence[str]) -> Reading | None:
        """The reading that has the ``known`` names (n_classes,) in their order, None if there is none; "" fits any."""
        for reading in self.readings:
            if _agree(reading.keys, known) or _agree(reading.names, known):
                return reading
        return None

    def check_order(self, known: Sequence[str], source: str) -> None:
        """Raise InputError where a class has a name that is another class's among the ``known`` ones of ``source``."""
        if self.agreeing(known) is None:
            for reading in self.readings:
                check_order(reading.keys, known, self.where, source)


def check_order(names: Sequence[str], known: Sequence[str], where: Sequence[str], source: str) -> None:
    """Raise InputError for the first of ``names`` (n_classes,) that is another class's among the ``known`` ones.

    ``where[c]`` and ``source`` say where both are from. A name that is "" or not known at all may be any class's.
    """
    place: dict[str, int] = {}
    for c, name in enumerate(known):
        place.setdefault(same_name(name), c)
    for c, name in enumerate(map(same_name, names)):
        if name and name in place and name != same_name(known[c]):
            raise InputError(
                f"{where[c]}: class {c} is {names[c]!r}, but {known[c]!r} in {source}, where {names[c]!r} is class "
                f"{place[name]}; the same order is accepted"
            )


def same_name(name: str) -> str:
    """What two spellings of one name have in common: the text in Unicode's NFC."""
    return unicodedata.normalize("NFC", name)


def quoted(name: str, other: str = "") -> str:
    """A name in quotes; where it looks like ``other`` but is not, with the code points that differ escaped."""
    alike = name != other and unicodedata.normalize("NFKC", name) == unicodedata.normalize("NFKC", other)
    return ascii(name) if alike else repr(name)


def like(name: str, known: Iterable[str]) -> str:
    """The known names most like ``name``, for a message: those that differ in case, blanks or signs alone first."""
    known = list(known)
    alike = [other for other in known if _squeezed(other) == _squeezed(name)]
    return ", ".join(quoted(other, name) for other in alike[:3]) if alike else nearest(name, known)


def _squeezed(name: str) -> str:
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", name)).casefold()


def _agree(names: Sequence[str], known: Sequence[str]) -> bool:
    return all(not old or same_name(new) == same_name(old) for new, old in zip(names, known, strict=True))


def read_class_names(path: str | Path, n_classes: int | None) -> list[str]:
    """The names of the classes 0, 1, 2 … that a file gives; see ``read_class_file``."""
    return read_class_file(path, n_classes).names


def read_class_file(path: str | Path, n_classes: int | None = None) -> ClassFile:
    """Read one name per line; in synset files (`n01440764 tench, Tinca tinca`) what follows the identifier.

    Where all lines have a number (`0 tench`, `0: tench`, `0,tench`, `tench 0`) and these are 0 to n - 1 in any order,
    they are the classes' numbers. So are those of `{"0": "tench"}`, `{"0": ["n01440764", "tench"]}`, `{"tench": 0}`
    (JSON, or as Python prints it); `["tench", …]` counts from 0. Raises InputError when there are not ``n_classes``
    names (None: any number), for an empty line, a comment, numbers that look like counting but are not 0 to n - 1, and
    text that is not UTF-8.
    """
    path = str(path)
    text = read_text(path, _ACCEPTED).replace("\r\n", "\n").replace("\r", "\n")
    entries = _structured(path, text)
    if entries is not None:
        _check_count(path, len(entries), n_classes, "")
        return ClassFile(path, _readings(entries), [path] * len(entries))
    lines = [line.strip() for line in text.rstrip().split("\n")] if text.strip() else []
    comment = next((f"; line {i} begins with '#'" for i, line in enumerate(lines, 1) if line.startswith("#")), "")
    _check_count(path, len(lines), n_classes, comment)
    for number, line in enumerate(lines, 1):
        if not line:
            raise InputError(f"{path}:{number}: found an empty line; {_ACCEPTED}")
        if re.match(r"#\s", line):
            raise InputError(
                f"{path}:{number}: found {line[:60]!r}; {_ACCEPTED}, and no comment (a name that begins like this "
                "is accepted if every line has its number: `0 # name`)"
            )
    numbered = _numbered(path, lines)
    order = range(len(lines)) if numbered is None else [place for place, _ in numbered]
    lines = [lines[place] for place in order]
    readings = _readings(lines if numbered is None else [name for _, name in numbered])
    if numbered is not None:
        readings.append(Reading(lines, lines))  # folders may be called `0 name`
    return ClassFile(path, readings, [f"{path}:{place + 1}" for place in order])


def _check_count(path: str, found: int, n_classes: int | None, more: str) -> None:
    if n_classes is not None and found != n_classes:
        raise InputError(f"{path}: has {found} class names, but n_classes is {n_classes}{more}")


def _readings(entries: list[str]) -> list[Reading]:
    """The entries as names; where all begin with a synset's identifier or have a tab, what is before it as keys."""
    whole = Reading(entries, entries)
    if entries and all(_SYNSET.match(entry) for entry in entries):
        names = [entry[9:].strip() or entry for entry in entries]
        return [Reading(names, names), Reading([entry[:9] for entry in entries], names), whole]
    if entries and all("\t" in entry for entry in entries):
        pairs = [entry.split("\t", 1) for entry in entries]
        return [whole, Reading([key.strip() for key, _ in pairs], [name.strip() for _, name in pairs])]
    return [whole]


def _numbered(path: str, lines: Sequence[str]) -> list[tuple[int, str]] | None:
    """(place among the lines, name) of the classes 0, 1, 2 … where the lines are numbered; None where they are not."""
    first, last = [_number_first(line) for line in lines], [_number_last(line) for line in lines]
    counting = list(range(len(lines)))
    found = []
    for parts in (first, last):
        pairs = [part for part in parts if part is not None]
        distinct = parts is first or len({name for _, name in pairs}) == len(pairs)
        if pairs and len(pairs) == len(lines) and sorted(number for number, _ in pairs) == counting and distinct:
            places = sorted(counting, key=lambda i, pairs=pairs: pairs[i][0])  # type: ignore[misc]
            found.append([(i, pairs[i][1]) for i in places])
    if len(found) == 2 and [name for _, name in found[0]] != [name for _, name in found[1]]:
        raise InputError(
            f"{path}: its lines begin and end with a number, 0 to {len(lines) - 1}; one of them is accepted"
        )
    if not found:
        _refuse_counting(path, first, last)
    return found[0] if found else None


def _refuse_counting(
    path: str, first: Sequence[tuple[int, str] | None], last: Sequence[tuple[int, str] | None]
) -> None:
    """Refuse lines that seem to be numbered, but not from 0 on, each number once."""
    n = len(first)
    for parts in (first, last):
        pairs = [part for part in parts if part is not None]
        numbers = [number for number, _ in pairs]
        if n < 2 or len(pairs) < n:
            continue
        from_one = sorted(numbers) == list(range(1, n + 1)) and len({name for _, name in pairs}) == n
        if from_one or (parts is first and min(numbers) < 2 and max(numbers) <= 2 * n):
            odd = next(i for i, number in enumerate(numbers) if number >= n or number in numbers[:i])
            raise InputError(
                f"{path}:{odd + 1}: found number {numbers[odd]}; numbered names are accepted with the numbers 0 to "
                f"{n - 1}, each once, as classes count from 0 (names that hold numbers: number all lines from 0)"
            )


def _number_first(line: str) -> _Numbered:
    """Number and name of `0 name`, `0: name`, `0,name`."""
    rest = line.lstrip(_DIGITS)
    name = rest.lstrip(_SEPARATORS)
    return _pair(line[: len(line) - len(rest)], name, len(rest) > len(name))


def _number_last(line: str) -> _Numbered:
    """Number and name of `name 0`, `name,0`."""
    rest = line.rstrip(_DIGITS)
    name = rest.rstrip(_SEPARATORS)
    return _pair(line[len(rest) :], name, len(rest) > len(name))


def _pair(number: str, name: str, separated: bool) -> _Numbered:
    return (int(number), name) if 1 <= len(number) <= 9 and name and separated else None


def _structured(path: str, text: str) -> list[str] | None:
    """The names of a JSON (or Python) object or list, in the order of their numbers; None where the text is none."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        tree = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        try:
            tree = parse_yaml(text)  # what Python prints is YAML as well, up to rare escapes
        except yaml.YAMLError as error:
            if text.lstrip().startswith("["):
                return None  # a name may begin so
            raise InputError(f"{path}: is not valid JSON ({' '.join(str(error).split())[:100]})") from None
    items = tree
    if isinstance(tree, dict):
        by_number = {str(key): value for key, value in tree.items()}
        if all(type(value) is int for value in tree.values()):  # {"name": 0, …}
            by_number = {str(number): key for key, number in tree.items()}
        items = [by_number.get(str(c)) for c in range(len(tree))]
    names = [_name(item) for item in items] if isinstance(items, list) else []
    if not names or not all(names):
        raise InputError(
            f'{path}: found {shown(tree)}; accepted: {{"0": "name", …}} with the numbers 0 to n - 1, {{"name": 0, …}}, '
            'or ["name", …]'
        )
    return names


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        raise ValueError("a key is there twice")
    return tree


def _name(item: Any) -> str:
    """A name, or the identifier and the name of one, as one text without line ends; "" for anything else."""
    parts = item if isinstance(item, list) else [item]
    good = 1 <= len(parts) <= 2 and all(isinstance(part, str) for part in parts)
    return " ".join(" ".join(parts).split()) if good else ""
