"""From lists and folders to the table's rows and to lists of images.

``build_table`` reads the training rows of any format, ``read_validation`` the validation images,
``read_image_list`` and ``images_under`` what infer.py and eval.py are given.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from urnet.config.recipe import Data
from urnet.core.atomic_files import file_hash
from urnet.core.checks import InputError
from urnet.data.lists import webvision
from urnet.data.lists.changed_rows import changed_rows
from urnet.data.lists.class_names import read_class_file, read_class_names
from urnet.data.lists.class_tree import TreeClasses, class_folders, labelled_folders, note_text_order, tree_classes
from urnet.data.lists.folders import images_under, one_image
from urnet.data.lists.image_list import ImageList, read_image_list
from urnet.data.lists.labelled_list import listed_names, read_list
from urnet.data.lists.lines import BLOCK_BYTES, Lines, read_lines
from urnet.data.lists.repeated_paths import LabelsOfPaths, note_shared_paths
from urnet.data.table.table import BLOCK, BaseWriter, Table

__all__ = [
    "ImageList",
    "build_table",
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
    _check_root(data)
    names, listed = _class_names(data)[0], LabelsOfPaths()
    with BaseWriter(
        folder,
        root=_image_root(data),
        format=data.format,
        class_names=names,
        replace=replace,
        texts=texts,
        **_settings(data),
    ) as writer:
        if data.format in ("webvision2", "webvision1"):
            webvision.add_rows(writer, data, block_bytes)
        else:
            for paths, labels in training_rows(data, block_bytes):
                writer.add(paths, labels)
                if data.format != "folder":
                    listed.add(paths, labels)
        if not writer.n_rows:
            raise InputError(f"{_settings(data)['lists']}: no training image is listed")
    table = Table.open(folder)
    _name_empty_classes(table)
    listed.note(str(data.train_list), lambda row: _training_path(data, row))
    if data.format == "folder" and data.class_names is None:
        note_text_order(data.root, names)
    return table


def open_or_build(data: Data, folder: str | Path) -> Table:
    """Open the table in ``folder`` if it was built from these lists and settings; build it if there is none.

    Raises InputError, which says what has changed and what to do, when the table there was built otherwise: see
    ``table_changes``.
    """
    if not (Path(folder) / "base.arrow").exists():
        return build_table(data, folder)
    table = Table.open(folder)
    changed = table_changes(data, table)
    if changed:
        remedy = (
            "--replace builds the table again and trains anew, -o name=ANOTHER begins another run beside it"
            if data.table is None
            else "-o data.table=ANOTHER builds another one"
        )
        raise InputError(f"{folder}: the table was built otherwise: {changed}; {remedy}")
    return table


def table_changes(data: Data, table: Table) -> str:
    """What has changed since ``table`` was built, in words; "" where it is what would be built now.

    From another root or format, another number or other names of classes, or from other rows: lists whose lines (for
    a folder tree, its files) are not what they were. Raises InputError for lists that cannot be read.
    """
    _check_root(data)
    wanted = {"root": str(_image_root(data).absolute()), "format": data.format, "n_classes": str(data.n_classes)}
    for key, value in wanted.items():
        found = table.metadata.get(key, "")
        if found != value:
            return f"data.{key} was {found}, now it is {value}"
    for number, (found, name) in enumerate(zip(table.class_names, _class_names(data)[0], strict=True)):
        if found != name:
            return f"class {number} was named {found!r}, now it is {name!r}"
    settings = _settings(data)
    if all(table.metadata.get(key, "") == value for key, value in settings.items()):
        return ""
    return changed_rows(table, training_rows(data)) or _other_metadata(data, table, settings)


def _other_metadata(data: Data, table: Table, settings: dict[str, str]) -> str:
    """What says that rows with the same paths and labels have other texts, queries or ranks; "" if nothing does."""
    if data.format not in ("webvision2", "webvision1"):
        return ""  # the same rows from a list that was moved, or has other comments
    before = table.metadata.get("lists", "").split("; ")
    changed = [file for file in settings["lists"].split("; ") if file not in before] or before
    return f"the lists of metadata are not what they were: {changed[0]}"


def read_validation(data: Data) -> ImageList:
    """The labelled validation images: ``val_root`` and ``val_list``, or where the format keeps them."""
    _check_root(data)
    if data.format == "folder" and data.val_list is None:
        return _folder_validation(data)
    root, file = data.val_root, data.val_list
    if data.format in ("webvision2", "webvision1"):
        root = root or str(webvision.validation_root(data))
        file = file or str(webvision.validation_list(data))
    elif data.format == "imagenet" and file is None:
        file = str(Path(data.root) / "val_list.txt")
    if file is None:
        raise InputError(f"data.val_list: found none; format {data.format} needs a file of `path label` lines")
    names, spellings = _class_names(data)
    return read_image_list(
        file, root or data.root, n_classes=data.n_classes, class_names=names, spellings=spellings, need_labels=True
    )


def note_shared_rows(data: Data, table: Table, validation: ImageList) -> None:
    """Say on stderr which validation images are training images as well; WebVision's are known not to be."""
    if data.format not in ("webvision2", "webvision1"):
        kept = table.strings("path", [0]) != [""]  # not in a table that was built to be counted
        blocks = table.texts("path").chunks if kept else (paths for paths, _ in training_rows(data, quiet=True))
        note_shared_paths(blocks, str(_image_root(data)), validation)


def _training_path(data: Data, row: int) -> str:
    for paths, _ in training_rows(data, quiet=True):
        if row < len(paths):
            return paths[row].as_py()
        row -= len(paths)
    raise IndexError(row)


def training_rows(
    data: Data, block_bytes: int = BLOCK_BYTES, *, quiet: bool = False
) -> Iterator[tuple[Any, np.ndarray]]:
    """Paths (Arrow strings) and labels (n,) of the training rows, block by block, in the table's order.

    What the lists, or the folder tree, say; WebVision's metadata are not read. ``quiet``: notes were said before.
    """
    if data.format == "folder":
        for label, paths in class_folders(data.root, _tree(data).folders):
            yield paths, np.full(len(paths), label)
        return
    blocks: Iterable[Lines]
    if data.format in ("webvision2", "webvision1"):
        files = [file for _, file, _ in webvision.train_lists(data)]
        blocks = (
            lines for file in files for lines in read_lines(file, high=data.n_classes - 1, block_bytes=block_bytes)
        )
    else:
        names, spellings = _class_names(data)
        blocks = read_list(
            str(data.train_list),
            root=data.root,
            n_classes=data.n_classes,
            class_names=names,
            spellings=spellings,
            block_bytes=block_bytes,
            quiet=quiet,
        )
    for lines in blocks:
        yield lines.path, lines.number


def _check_root(data: Data) -> None:
    if not Path(data.root).is_dir():
        raise InputError(f"data.root: {data.root} is no folder; the folder that holds the images is needed")
    if data.train_list is not None and data.format not in ("list", "imagenet"):
        raise InputError(f"data.train_list: found {data.train_list!r}; format {data.format} has its own lists")


def _image_root(data: Data) -> Path:
    """What column ``path`` is relative to."""
    return webvision.image_root(data) if data.format in ("webvision2", "webvision1") else Path(data.root)


def _settings(data: Data) -> dict[str, str]:
    """What identifies a table's rows: lists with their hashes, or a folder tree with a hash of its names.

    Metadata lists count; the JSON files they name, gigabytes of text, do not.
    """
    if data.format == "folder":
        digest = hashlib.sha256()
        for _, paths in class_folders(data.root, _tree(data).folders):
            for block in range(0, len(paths), BLOCK):
                digest.update("\0".join([*paths[block : block + BLOCK].to_pylist(), ""]).encode())
        return {"lists": f"{Path(data.root).absolute()} ({digest.hexdigest()[:16]})"}
    if data.format in ("webvision2", "webvision1"):
        files = [file for _, *pair in webvision.train_lists(data) for file in pair if file.is_file()]
    else:
        files = [Path(str(data.train_list))]
    return {"lists": "; ".join(f"{file.absolute()} ({_short_hash(file)})" for file in files)}


def _short_hash(file: Path) -> str:
    return file_hash(file)[:16] if file.is_file() else "missing"


def _class_names(data: Data) -> tuple[list[str], list[list[str]]]:
    """The classes' names, and other lists of names that they are known by.

    ``data.class_names``, else the format's own, else the names that a training list has for labels; "" where there are
    none.
    """
    if data.format == "folder":
        tree = _tree(data)
        return tree.names, [tree.folders]
    own = Path(data.root) / {"imagenet": "synsets.txt"}.get(data.format, "info/synsets.txt")
    known = read_class_file(own, data.n_classes) if data.format != "list" and own.is_file() else None
    given = None if data.class_names is None else read_class_file(data.class_names, data.n_classes)
    if given is not None and known is not None:
        for reading in known.readings[:2]:  # names, and identifiers where it has them
            given.check_order(reading.keys, known.path)
    files = [file for file in (given, known) if file is not None]
    if files:
        return files[0].names, [reading.keys for file in files for reading in file.readings]
    names = listed_names(data.train_list, data.root) if data.train_list is not None else []
    if names and len(names) != data.n_classes:
        shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
        raise InputError(
            f"{data.train_list}: its labels are {len(names)} names ({shown}), but data.n_classes is {data.n_classes}"
        )
    return names or [""] * data.n_classes, []


def _tree(data: Data) -> TreeClasses:
    """The classes of a folder tree, as many as ``n_classes``, in the order of ``data.class_names`` if that is given."""
    found = tree_classes(data.root, None if data.class_names is None else read_class_file(data.class_names))
    names = found.folders
    if len(names) != data.n_classes:
        shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
        raise InputError(
            f"{data.root}: has {len(names)} sub-folders ({shown}), but data.n_classes is {data.n_classes}; "
            "one sub-folder a class is accepted"
        )
    return found


def _folder_validation(data: Data) -> ImageList:
    """A second tree, whose sub-folders are all classes of the first."""
    if data.val_root is None:
        raise InputError("data.val_root: found none; a folder tree with one sub-folder a class is needed")
    return labelled_folders(data.val_root, _tree(data).folders, f"class of {data.root}")


def _name_empty_classes(table: Table) -> None:
    names, n_classes = table.class_names, len(table.class_names)
    empty = np.flatnonzero(np.bincount(table.column("label"), minlength=n_classes) == 0).tolist()
    if empty:
        shown = ", ".join(f"{c} {names[c]!r}" if names[c] else str(c) for c in empty[:5])
        more = " …" if len(empty) > 5 else ""
        print(f"note: {len(empty)} of {n_classes} classes have no training image: {shown}{more}", file=sys.stderr)
