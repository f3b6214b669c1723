"""The classes of a data set: how many there are, what they are called, and the part of them that trains.

What lists number are the *listed* classes. ``data.classes`` may choose some of them, in an order of its own; those are
the classes 0 to n_classes - 1 of the table and the network.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from urnet.config.recipe import Data
from urnet.core.checks import InputError
from urnet.core.counted import plural
from urnet.data.lists.class_names import like, read_class_file, same_name
from urnet.data.lists.class_tree import TreeClasses, sub_folders, tree_classes
from urnet.data.lists.labelled_list import listed_classes, listed_names
from urnet.data.lists.lines import read_text

MOST_COUNTED = 1_000_000  # classes that the labels of a list may make by themselves
_PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}  # of a data set, not classes


class Listed(NamedTuple):
    """All listed classes: names, sub-folders in format folder, and what else they are called in lists and recipes."""

    names: list[str]
    folders: list[str]
    aliases: list[list[str]]


@dataclass(frozen=True)
class Classes:
    """``listed``: the name of each listed class, "" where unknown; ``folders``: its sub-folder, in format folder.

    ``aliases``: lists of other names of the listed classes. ``chosen``: the listed numbers of the classes that train,
    by their new numbers; None: all, as they are.
    """

    listed: list[str]
    folders: list[str]
    aliases: list[list[str]]
    chosen: np.ndarray | None

    @property
    def names(self) -> list[str]:
        """The names of the classes that train."""
        return self.listed if self.chosen is None else [self.listed[c] for c in self.chosen]

    @property
    def own_folders(self) -> list[str]:
        """The sub-folders of the classes that train."""
        return self.folders if self.chosen is None else [self.folders[c] for c in self.chosen]

    def renumbered(self, labels: np.ndarray) -> np.ndarray:
        """Listed labels (n,) as the numbers of the classes that train, -1 for the others."""
        if self.chosen is None:
            return labels
        number = np.full(len(self.listed), -1, np.int32)
        number[self.chosen] = np.arange(len(self.chosen))
        return number[labels]

    def keep(self, labels: np.ndarray, *columns: Any) -> tuple[np.ndarray, list[Any]]:
        """The rows of the classes that train: their new labels, and each of the ``columns`` (Arrow or NumPy, (n,))."""
        new = self.renumbered(labels)
        if self.chosen is None or (len(new) and new.min() >= 0):
            return new, list(columns)
        kept = new >= 0
        return new[kept], [
            column[kept] if isinstance(column, np.ndarray) else column.filter(pa.array(kept)) for column in columns
        ]


def named(names: Sequence[str], numbers: Sequence[int]) -> str:
    """Classes for a message: `3 'shoes', 7`, the first five of them."""
    shown = ", ".join(f"{c} {names[c]!r}" if names[c] else str(c) for c in numbers[:5])
    return shown + (" …" if len(numbers) > 5 else "")


def settle(data: Data, *, least: int = 2) -> Data:
    """``data`` with ``n_classes`` counted where it is None, and ``classes`` as names (numbers where they have none).

    ``least``: so many classes must be there. Raises InputError where there is nothing to count, and for classes that
    are not there, are there twice, or are not as many as ``n_classes``.
    """
    if data.n_classes is not None and data.classes is None:
        return data
    listed = _listed(data, None)
    n_listed = len(listed.names)
    if data.classes is None:
        if n_listed < least and data.format == "folder":
            names = f" ({', '.join(listed.folders)})" if listed.folders else ""
            found = plural(n_listed, "sub-folder")
            needed = "two or more are" if least == 2 else "one or more is"
            raise InputError(f"data.root: {data.root} has {found}{names}; {needed} needed, one per class")
        if n_listed < least:
            raise InputError(f"data.n_classes: null, and {_source(data)} gives {n_listed}; {least} or more are needed")
        return dataclasses.replace(data, n_classes=n_listed)
    chosen = _chosen(data, listed)
    if data.n_classes not in (None, len(chosen)):
        raise InputError(
            f"data.n_classes: found {data.n_classes}, but data.classes chooses {len(chosen)}; null is accepted, or "
            f"{len(chosen)} (-o data.n_classes=null)"
        )
    names = tuple(listed.names[c] if listed.names.count(listed.names[c]) == 1 else str(c) for c in chosen)
    return dataclasses.replace(data, n_classes=len(chosen), classes=names)


def read_classes(data: Data) -> Classes:
    """The classes of a ``data`` that is settled. Raises InputError where they do not fit what is there."""
    if data.classes is None:
        listed = _listed(data, data.n_classes)
        return Classes(*listed, None)
    listed = _listed(data, None)
    chosen = np.asarray(_chosen(data, listed))
    if len(chosen) != data.n_classes:
        raise InputError(f"data.n_classes: found {data.n_classes}, but data.classes chooses {len(chosen)}")
    return Classes(*listed, chosen)


def whole(data: Data, classes: Classes) -> Data:
    """``data`` for reading lists, which number all classes."""
    return data if classes.chosen is None else dataclasses.replace(data, n_classes=len(classes.listed), classes=None)


def _source(data: Data) -> str:
    """Where classes are counted, for messages."""
    if data.class_names is not None:
        return data.class_names
    return {"folder": data.root, "list": str(data.train_list)}.get(data.format, str(_own_file(data)))


def _own_file(data: Data) -> Path:
    return Path(data.root) / {"imagenet": "synsets.txt"}.get(data.format, "info/synsets.txt")


def _listed(data: Data, n_classes: int | None) -> Listed:
    """All listed classes, ``n_classes`` of them; None: as many as there are."""
    if data.format == "folder":
        folders, names = _tree(data, n_classes)
        return Listed(names, folders, [folders])
    own = _own_file(data)
    known = read_class_file(own, n_classes) if data.format != "list" and own.is_file() else None
    aliases = [] if known is None else [reading.keys for reading in known.readings]
    if data.class_names is not None:
        given = read_class_file(data.class_names, n_classes if known is None else len(known.names))
        for keys in aliases[:2]:  # names, and identifiers where it has them
            given.check_order(keys, str(own))
        return Listed(given.names, [], [*(reading.keys for reading in given.readings), *aliases])
    if known is not None:
        return Listed(known.names, [], aliases)
    if n_classes is None:
        return _of_labels(data)
    names = listed_names(data.train_list, data.root) if data.train_list is not None else []
    if names and len(names) != n_classes:
        shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
        raise InputError(
            f"{data.train_list}: its labels are {len(names)} names ({shown}), but data.n_classes is {n_classes} "
            "(-o data.n_classes=null counts them)"
        )
    return Listed(names or [""] * n_classes, [], [])


def _of_labels(data: Data) -> Listed:
    """The classes that the labels of the training list make."""
    if data.train_list is None or data.format in ("webvision1", "webvision2"):
        raise InputError(
            f"data.n_classes: null counts the names in {_own_file(data)}, which does not exist; give the number, or "
            "data.class_names"
        )
    found = listed_classes(data.train_list, data.root)
    if found.n_classes > MOST_COUNTED:
        raise InputError(
            f"{data.train_list}: its largest label is {found.n_classes - 1:,}, which makes as many classes; labels "
            f"count from 0, and up to {MOST_COUNTED:,} classes are counted (data.n_classes: null)"
        )
    return Listed(found.names or [""] * found.n_classes, [], [])


def _tree(data: Data, n_classes: int | None) -> TreeClasses:
    """The classes of a folder tree, in the order of ``data.class_names`` if that is given."""
    names = sub_folders(data.root)
    if n_classes is None and names and {name.lower() for name in names} <= _PARTS:
        raise InputError(
            f"data.root: {data.root} has the sub-folders {', '.join(names)}, which look like parts of a data set, "
            f"not classes; give one of them: {Path(data.root) / names[0]}"
        )
    if n_classes not in (None, len(names)):
        shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
        raise InputError(
            f"{data.root}: has {len(names)} sub-folders ({shown}), but data.n_classes is {n_classes}; one sub-folder "
            "per class is accepted (-o data.n_classes=null counts them)"
        )
    return tree_classes(data.root, None if data.class_names is None else read_class_file(data.class_names))


def _chosen(data: Data, listed: Listed) -> list[int]:
    """The listed numbers of ``data.classes``: an entry is a class's name, else its number, or a range of numbers."""
    short = [name.split(",")[0] for name in listed.names]  # `tench` of the synset `tench, Tinca tinca`
    columns = [list(map(same_name, column)) for column in (listed.names, *listed.aliases, short)]
    chosen: dict[int, str] = {}
    for entry, where in _entries(data):
        key = same_name(entry)
        column = next((column for column in columns if key and key in column), [])
        found = [number for number, name in enumerate(column) if name == key]
        if len(found) > 1:
            raise InputError(f"{where}: {entry!r} is the name of the classes {found[0]} and {found[1]}; give a number")
        for number in found or _numbers(entry, where, listed.names):
            if number in chosen:
                raise InputError(f"{where}: found {entry!r}; class {number} is already chosen, as {chosen[number]!r}")
            chosen[number] = entry
    if len(chosen) < 2:
        raise InputError(f"data.classes: chooses {len(chosen)} class; 2 or more are accepted")
    return list(chosen)


def _numbers(entry: str, where: str, names: Sequence[str]) -> Sequence[int]:
    """The numbers of `7` or `0-49`. Raises InputError for anything else, and for numbers that are not a class."""
    found = re.fullmatch(r"([0-9]{1,9})(?:\s*-\s*([0-9]{1,9}))?", entry)
    if not found:
        known = [name for name in names if name]
        hint = f"nearest: {like(entry, known)}" if known else f"numbers from 0 to {len(names) - 1} are accepted"
        raise InputError(f"{where}: {entry!r} is not a class; {hint}")
    first, last = int(found[1]), int(found[2] or found[1])
    if not first <= last < len(names):
        raise InputError(f"{where}: found {entry}; the classes are 0 to {len(names) - 1}")
    return range(first, last + 1)


def _entries(data: Data) -> list[tuple[str, str]]:
    """(entry, where it is written) of ``data.classes``: of its list, or of the file that it names."""
    entries = data.classes or ()
    if len(entries) > 1 or re.fullmatch(r"[0-9]+\s*-\s*[0-9]+", entries[0]):
        return [(entry, "data.classes") for entry in entries]
    file = Path(entries[0])
    if not file.is_file():
        raise InputError(
            f"data.classes: found {entries[0]!r}, which is not a file; accepted: a list of names or numbers "
            "([cat, dog]), a range of numbers (0-49), or a file with one per line"
        )
    lines = [line.strip() for line in read_text(file, "one class per line is accepted").splitlines()]
    return [(line, f"{file}:{i}") for i, line in enumerate(lines, 1) if line]
