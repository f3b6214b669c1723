"""From lists and folders to the table's rows and to lists of images.

``build_table`` reads the training rows of any format, ``read_validation`` the validation images,
``read_image_list`` and ``images_under`` what infer.py and eval.py are given.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from urnet.config.recipe import Data
from urnet.core.atomic_files import file_hash
from urnet.core.checks import InputError
from urnet.core.cli import is_main
from urnet.core.counted import plural, verb
from urnet.data.lists import webvision
from urnet.data.lists.changed_rows import changed_rows
from urnet.data.lists.class_names import read_class_names
from urnet.data.lists.class_tree import class_folders, labelled_folders, note_level, note_text_order
from urnet.data.lists.classes import Classes, named, read_classes, whole
from urnet.data.lists.decided import (
    Decider,
    check_decided_files,
    check_trains,
    decision_changes,
    image_root,
    read_data_decisions,
)
from urnet.data.lists.first_rows import FirstRows
from urnet.data.lists.folders import images_under, one_image
from urnet.data.lists.image_list import ImageList, read_image_list
from urnet.data.lists.lines import BLOCK_BYTES
from urnet.data.lists.repeated_paths import LabelsOfPaths, note_shared_paths
from urnet.data.lists.training_rows import check_root, decided_rows, training_rows
from urnet.data.lists.validation import read_validation
from urnet.data.table.table import BLOCK, BaseWriter, Table
from urnet.reweight.evidence.decided import NONE

__all__ = [
    "ImageList",
    "build_table",
    "image_root",
    "images_under",
    "labelled_folders",
    "note_shared_rows",
    "one_image",
    "open_or_build",
    "read_class_names",
    "read_image_list",
    "read_validation",
    "table_changes",
    "training_rows",
]


def build_table(
    data: Data, folder: str | Path, *, replace: bool = False, texts: bool = True, block_bytes: int = BLOCK_BYTES
) -> Table:
    """Read all training rows that ``data`` describes and write them as a table's base.arrow.

    Memory is bounded by ``block_bytes`` of a list, whatever the number of rows. Raises InputError for the first line
    that is wrong; nothing is left behind then. Classes without a row are named on stderr. Without ``texts`` paths and
    texts are read and checked but not kept: a small table of the same rows, to count and compare.
    """
    check_root(data)
    classes, listed = read_classes(data), LabelsOfPaths()
    decider = Decider(data, classes)
    with BaseWriter(
        folder,
        root=image_root(data, classes),
        format=data.format,
        class_names=classes.names,
        replace=replace,
        texts=texts,
        decided=data.decisions is not None,
        **_settings(data, classes),
        **_of_decisions(data),
    ) as writer:
        kept = _Kept(writer, classes, data.limit, decider)
        if data.format in ("webvision2", "webvision1"):
            webvision.add_rows(kept, whole(data, classes), block_bytes)
        else:
            for block in decided_rows(data, classes, block_bytes, kept.count, decider=decider):
                kept.write(block.paths, block.labels, decided=block.decided, given=block.given)
                if data.format != "folder":
                    listed.add(block.paths, block.given)
        if not writer.n_rows:
            raise InputError(f"{_settings(data, classes)['lists']}: lists no training image")
        decider.finish()
        kept.check(str(data.decisions))
    table = Table.open(folder)
    kept.say()
    _name_empty_classes(table)
    listed.note(str(data.train_list), lambda row: _training_path(data, row))
    if data.format == "list" and data.class_names is None and any(classes.listed) and is_main():
        shown = named(classes.listed, range(len(classes.listed)))
        print(
            f"note: {data.train_list}: the names of its labels are the classes, in text order: {shown}", file=sys.stderr
        )
    if data.format == "folder" and data.class_names is None and data.classes is None:
        note_text_order(data.root, classes.folders)
        note_level(data.root, classes.folders)
    return table


class _Kept:
    """Passes the rows of the classes that train on to a table's writer, and counts the others."""

    def __init__(self, writer: BaseWriter, classes: Classes, limit: int | None, decider: Decider) -> None:
        self._writer, self._classes, self._left_out = writer, classes, 0
        self._first, self._decider = FirstRows(limit), decider
        self._rows, self._none = np.zeros((2, len(classes.names)), np.int64)

    @property
    def full(self) -> bool:
        """Whether no further row is wanted."""
        return self._first.full(len(self._classes.names))

    def count(self, left_out: int) -> None:
        self._left_out += left_out

    def add(self, path: Any, label: np.ndarray, *, text: Any = None, **columns: Any) -> None:
        """As ``BaseWriter.add``, with listed labels."""
        arrays = {name: value for name, value in columns.items() if isinstance(value, np.ndarray)}
        texts = [] if text is None else [text]
        label, arrays["decided"], arrays["given"] = self._decider.apply(path, label)
        kept, (path, *parts) = self._classes.keep(label, path, *texts, *arrays.values())
        self.count(len(label) - len(kept))
        shows = parts[len(texts) + list(arrays).index("decided")] != NONE
        kept, (path, *parts) = self._first.choose(kept, path, *parts, wanted=shows)
        columns.update(zip(arrays, parts[len(texts) :], strict=True))
        self.write(path, kept, text=parts[0] if texts else None, **columns)

    def write(self, path: Any, label: np.ndarray, *, decided: np.ndarray, **columns: Any) -> None:
        """Rows of the classes that train, as decided."""
        self._rows += np.bincount(label, minlength=len(self._rows))
        self._none += np.bincount(label[decided == NONE], minlength=len(self._rows))
        self._writer.add(path, label, decided=decided, **columns)

    def check(self, decisions: str) -> None:
        """Raise InputError where all rows of a class are decided to show none of the classes."""
        check_trains(decisions, self._rows, self._none, self._classes.names)

    def say(self) -> None:
        """What trains and how many rows do not, on stderr."""
        if self._classes.chosen is not None:
            names = self._classes.names
            shown, n_listed = named(names, range(len(names))), len(self._classes.listed)
            left_out = plural(self._left_out, "image")
            said = f"{len(names)} of {n_listed} classes {verb(len(names), 'trains', 'train')}, {shown}; "
            said += f"{left_out} of the others {verb(self._left_out, 'does', 'do')} not"
            print(f"note: data.classes: {said}", file=sys.stderr)


def open_or_build(data: Data, folder: str | Path) -> Table:
    """Open the table in ``folder`` if it was built from these lists and settings; build it if there is none.

    Raises InputError, which says what has changed and what to do, when the table there was built otherwise: see
    ``table_changes``; and for a picture that is no longer what was decided.
    """
    if not (Path(folder) / "base.arrow").exists():
        return build_table(data, folder)
    table = Table.open(folder)
    changed = table_changes(data, table)
    if changed:
        remedy = (
            "--replace builds the table again and trains again, -o name=ANOTHER starts a separate run"
            if data.table is None
            else "-o data.table=ANOTHER builds another one"
        )
        raise InputError(f"{folder}: the table was built differently: {changed}; {remedy}")
    if is_main():  # of several processes one is enough
        check_decided_files(data, table)
    return table


def table_changes(data: Data, table: Table, *, quiet: bool = False) -> str:
    """What has changed since ``table`` was built, in words; "" where it is what would be built now.

    What ``list_changes`` says, else whether other decisions were made (``decision_changes``).
    """
    return list_changes(data, table, quiet=quiet) or decision_changes(data, table)


def list_changes(data: Data, table: Table, *, quiet: bool = False) -> str:
    """What has changed since ``table`` was built, in words; "" where it is what would be built now.

    From another root or format, another number or other names of classes, or from other rows: lists whose lines (for
    a folder tree, its files) are not what they were. ``quiet``: without notes on what was read, as it is to be read
    again. Raises InputError for lists that cannot be read.
    """
    check_root(data)
    changed = _changed(table, format=data.format, **_parts(data))
    if changed:
        return changed
    classes = read_classes(data)
    changed = _changed(table, n_classes=str(data.n_classes))
    if changed:
        added = [f"{name!r} is new" for name in classes.names if name and name not in table.class_names]
        gone = [f"{name!r} is gone" for name in table.class_names if name and name not in classes.names]
        return "; ".join([changed, *added[:3], *gone[:3]])
    changed = _changed(table, root=str(image_root(data, classes).absolute()))
    if changed:
        return changed
    for number, (was, name) in enumerate(zip(table.class_names, classes.names, strict=True)):
        if was != name:
            return f"class {number} was named {was!r}, now it is {name!r}"
    lists = _settings(data, classes, quiet=quiet)["lists"]
    if table.metadata.get("lists", "") == lists:
        return ""
    rows = decided_rows(data, classes, quiet=quiet or data.format == "folder")
    return changed_rows(table, ((block.paths, block.given) for block in rows)) or _other_metadata(data, table, lists)


def _changed(table: Table, **wanted: str) -> str:
    for key, value in wanted.items():
        found = table.metadata.get(key, "")
        if found != value:
            return f"data.{key} was {found or 'null'}, now it is {value or 'null'}"
    return ""


def _parts(data: Data) -> dict[str, str]:
    """The settings that only leave rows out, as a table has them; "" where it has none."""
    classes = "" if data.classes is None else json.dumps(data.classes, ensure_ascii=False)
    return {
        "classes": classes,
        "val_split": "" if data.val_split is None else str(data.val_split),
        "limit": "" if data.limit is None else str(data.limit),
    }


def _other_metadata(data: Data, table: Table, lists: str) -> str:
    """What says that rows with the same paths and labels have other texts, queries or ranks; "" if nothing does."""
    if data.format not in ("webvision2", "webvision1"):
        return ""  # the same rows from a list that was moved, or has other comments
    before = table.metadata.get("lists", "").split("; ")
    changed = [file for file in lists.split("; ") if file not in before] or before
    return f"the metadata lists have changed: {changed[0]}"


def note_shared_rows(data: Data, table: Table, validation: ImageList) -> None:
    """Say on stderr which validation images are training images as well; WebVision's are known not to be."""
    if data.format not in ("webvision2", "webvision1"):
        kept = table.strings("path", [0]) != [""]  # not in a table that was built to be counted
        blocks = table.texts("path").chunks if kept else (paths for paths, _ in training_rows(data, quiet=True))
        note_shared_paths(blocks, str(image_root(data, read_classes(data))), validation)


def _training_path(data: Data, row: int) -> str:
    for paths, _ in training_rows(data, quiet=True):
        if row < len(paths):
            return paths[row].as_py()
        row -= len(paths)
    raise IndexError(row)


def _settings(data: Data, classes: Classes, *, quiet: bool = True) -> dict[str, str]:
    """What identifies a table's rows: lists with their hashes, or a folder tree with a hash of its names.

    Metadata lists count; the JSON files they name, gigabytes of text, do not.
    """
    settings = {key: value for key, value in _parts(data).items() if value}
    if data.format == "folder":
        digest = hashlib.sha256()
        for _, paths in class_folders(data.root, classes.own_folders, quiet=quiet):
            for block in range(0, len(paths), BLOCK):
                digest.update("\0".join([*paths[block : block + BLOCK].to_pylist(), ""]).encode())
        return {"lists": f"{Path(data.root).absolute()} ({digest.hexdigest()[:16]})", **settings}
    if data.format in ("webvision2", "webvision1"):
        files = [file for _, *pair in webvision.train_lists(data) for file in pair if file.is_file()]
    else:
        files = [Path(str(data.train_list))]
    return {"lists": "; ".join(f"{file.absolute()} ({_short_hash(file)})" for file in files), **settings}


def _of_decisions(data: Data) -> dict[str, str]:
    """What is recorded of the decisions: the file, the hash of its bytes, and what they say (``identity``)."""
    decisions = read_data_decisions(data, quiet=True)
    if decisions is None:
        return {}
    file = Path(decisions.file)
    return {"decisions": decisions.identity(), "decisions_file": f"{file.absolute()} ({file_hash(file)})"}


def _short_hash(file: Path) -> str:
    return file_hash(file)[:16] if file.is_file() else "missing"


def _name_empty_classes(table: Table) -> None:
    names, n_classes = table.class_names, len(table.class_names)
    empty = np.flatnonzero(np.bincount(table.column("label"), minlength=n_classes) == 0).tolist()
    if empty:
        shown = named(names, empty)
        print(
            f"note: {len(empty)} of {n_classes} classes {verb(len(empty), 'has', 'have')} no training image: {shown}",
            file=sys.stderr,
        )
