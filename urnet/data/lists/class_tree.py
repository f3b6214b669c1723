"""Folder trees whose sub-folders are the classes: which there are, in which order, and their images."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from urnet.core.checks import InputError
from urnet.data.lists.class_names import ClassFile, like, quoted, same_name
from urnet.data.lists.folders import images_under, is_folder
from urnet.data.lists.image_files import is_litter, loose_images
from urnet.data.lists.image_list import ImageList


class TreeClasses(NamedTuple):
    """The classes of a training tree, by number: the sub-folder of each and what it is called."""

    folders: list[str]
    names: list[str]


def tree_classes(root: str | Path, file: ClassFile | None = None) -> TreeClasses:
    """The sub-folders of ``root`` in text order (1, 10, 2), or in the order of the lines of ``file``.

    Raises InputError unless file and folders name the same classes, each once.
    """
    folders = sub_folders(root)
    if file is None:
        return TreeClasses(folders, folders)
    wanted, own = file.reading_for(folders), {same_name(name): name for name in folders}
    first: dict[str, str] = {}
    for key, where in zip(wanted.keys, file.where, strict=True):
        if same_name(key) in first:
            raise InputError(
                f"{where}: {key!r} is in {first[same_name(key)]} already; one line per sub-folder is accepted"
            )
        first[same_name(key)] = where
    unknown = [(key, where) for key, where in zip(wanted.keys, file.where, strict=True) if same_name(key) not in own]
    unnamed = [name for key, name in own.items() if key not in first]
    if unknown or unnamed:
        found = [f"{where}: class {key!r} is not a sub-folder of {root}" for key, where in unknown[:1]]
        found += [f"sub-folder {name!r} of {root} is not in {file.path}" for name in unnamed[:1]]
        hint = f" (nearest: {like(unknown[0][0], unnamed or folders)})" if unknown else ""
        raise InputError(
            f"{', and '.join(found)}{hint}; the sub-folders' names are accepted, in the order of the class numbers"
        )
    return TreeClasses([own[same_name(key)] for key in wanted.keys], wanted.names)


def note_text_order(root: str | Path, folders: Sequence[str]) -> None:
    """Say on stderr that folders in text order (1, 10, 2) are not in the order that a person would count them in."""
    for number, (name, natural) in enumerate(zip(folders, sorted(folders, key=_natural), strict=True)):
        if name != natural:
            print(
                f"note: {root}: class {number} is folder {name!r}: folders are numbered in text order; "
                "data.class_names gives another order",
                file=sys.stderr,
            )
            return


def note_level(root: str | Path, folders: Sequence[str]) -> None:
    """Say on stderr that every class holds the same folders (train/cat, val/cat), so that those may be the classes."""
    common: set[str] | None = None
    for name in folders:
        if not (Path(root) / name).is_dir():
            return
        with os.scandir(Path(root) / name) as entries:
            below = {entry.name for entry in entries if is_folder(entry) and not is_litter(entry.name)}
        common = below if common is None else common & below
        if len(common) < 2:
            return
    if common:
        print(
            f"note: {root}: its folders are the classes ({', '.join(folders[:3])}), and each of them holds folders "
            f"with the same names ({', '.join(sorted(common)[:3])}); if those are the classes, give one of its "
            f"folders instead, such as {Path(root) / folders[-1]}",
            file=sys.stderr,
        )


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts 2 before 10."""
    parts = re.split("([0-9]+)", name)
    return [(0, int(part), "") if i % 2 else (1, 0, part) for i, part in enumerate(parts) if part]


def class_folders(root: str | Path, folders: Sequence[str], *, quiet: bool = False) -> Iterator[tuple[int, Any]]:
    """(label, image paths relative to ``root``) of every class that has a folder there.

    ``quiet``: what is left out was said before. Raises InputError for an image next to the folders, which has no class.
    """
    own = {same_name(name): name for name in sub_folders(root)}
    _refuse_loose(root)
    for label, name in enumerate(folders):
        found = own.get(same_name(name))
        if found is not None:
            paths = images_under(Path(root) / found, allow_empty=True, quiet=quiet).paths
            yield label, pa.array([f"{found}/{path}" for path in paths], pa.string())


def labelled_folders(root: str | Path, class_names: Sequence[str], kind: str, remedy: str = "") -> ImageList:
    """The images in the sub-folders of ``root``, each labelled with its place in ``class_names``.

    A class without a sub-folder has no image. Raises InputError for a sub-folder that is none of the names
    ("is not a ``kind``"; ``remedy``: what can be done but renaming it and moving it out) or the name of two
    classes, for an image in none of them, and where there is no image.
    """
    places: dict[str, list[int]] = {}
    for number, name in enumerate(class_names):
        places.setdefault(same_name(name), []).append(number)
    own = sub_folders(root)
    for name in own:
        of = places.get(same_name(name), [])
        if len(of) > 1:
            raise InputError(
                f"{root}: sub-folder {name!r} is the name of two classes, {of[0]} and {of[1]}; one is accepted"
            )
    strange = [name for name in own if same_name(name) not in places]
    if strange:
        more = f", nor {'are' if len(strange) > 2 else 'is'} {len(strange) - 1} more" if len(strange) > 1 else ""
        raise InputError(
            f"{root}: sub-folder {strange[0]!r} is not a {kind}{more}; nearest: {like(strange[0], class_names)} "
            f"(of {len(class_names)} classes); rename it or move it out{remedy and f', or {remedy}'}"
        )
    found = list(class_folders(root, class_names))
    paths = pa.chunked_array([paths for _, paths in found], pa.string())
    if not len(paths):
        raise InputError(f"{root}: has no image in its sub-folders")
    labels = np.concatenate([np.full(len(paths), label, np.int32) for label, paths in found])
    return ImageList(paths, labels, root)


def sub_folders(root: str | Path) -> list[str]:
    """The sorted names of a folder's own folders, hidden ones and other litter left out.

    Raises InputError where there is no such folder, for a name that is not one line of UTF-8, and for two that are
    one name in two Unicode forms.
    """
    if not Path(root).is_dir():
        raise InputError(f"{root}: is not a folder; one with a sub-folder per class is needed")
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if is_folder(entry) and not is_litter(entry.name))
    seen: dict[str, str] = {}
    for name in names:
        if re.search("[\r\n\ud800-\udfff]", name):
            raise InputError(f"{root}: sub-folder {name!r}: a class's name is one line of UTF-8 text")
        other = seen.setdefault(same_name(name), name)
        if other != name:
            raise InputError(
                f"{root}: sub-folders {quoted(other, name)} and {quoted(name, other)} are one name, "
                f"{same_name(name)!r}, in two Unicode forms (NFC and NFD); put their images into one of them"
            )
    return names


def _refuse_loose(root: str | Path) -> None:
    """Raise InputError for images next to the class folders."""
    loose = loose_images(root)
    if loose:
        more = f" ({len(loose)} such images)" if len(loose) > 1 else ""
        raise InputError(
            f"{root}: image {loose[0]!r} is in no sub-folder, so it has no class{more}; move it into a sub-folder, "
            "or out of the folder"
        )
