"""Images found in folders: all of a tree, or sub-folders that are classes."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from urnet.core.checks import InputError
from urnet.data.lists.image_list import ImageList

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def one_image(path: str | Path) -> ImageList:
    """A list of this one file. Raises InputError for a name that is not UTF-8, which no list can hold."""
    path = Path(path)
    try:
        return ImageList(pa.array([path.name], pa.string()), np.array([-1], np.int32), path.parent)
    except UnicodeEncodeError:
        raise InputError(f"{str(path)!r}: the file's name is not UTF-8; rename it") from None


def images_under(root: str | Path, *, allow_empty: bool = False) -> ImageList:
    """Every image file below a folder (by suffix), sorted by path; linked folders are followed.

    Other files are counted on stderr, hidden ones left out. A name that is not UTF-8 is listed with
    `\\xNN` for what is wrong in it, which names no file: its image is unreadable, and stderr says why. Raises
    InputError when there is no image (unless ``allow_empty``) or no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: is no folder; a folder of images is needed")
    found: list[str] = []
    other: list[str] = []
    for path in _files(str(root)):
        (found if path.lower().endswith(IMAGE_SUFFIXES) else other).append(path)
    if other:
        print(f"note: {root}: {len(other)} files are no images by their names: {min(other)} …", file=sys.stderr)
    if not found and not allow_empty:
        raise InputError(f"{root}: has no image below it; accepted: {', '.join(IMAGE_SUFFIXES)}")
    try:
        paths = pa.array(sorted(found), pa.string())
    except UnicodeEncodeError:
        paths = pa.array(sorted(_as_utf8(str(root), found)), pa.string())
    return ImageList(paths, np.full(len(paths), -1, np.int32), root)


def class_folders(root: str, names: Sequence[str]) -> Iterator[tuple[int, Any]]:
    """(label, image paths relative to ``root``) of every class that has a folder there."""
    own = set(sub_folders(root))
    for label, name in enumerate(names):
        if name in own:
            found = images_under(Path(root) / name, allow_empty=True)
            yield label, pa.array([f"{name}/{path}" for path in found.paths], pa.string())


def labelled_folders(root: str | Path, class_names: Sequence[str], kind: str) -> ImageList:
    """The images in the sub-folders of ``root``, each labelled with its place in ``class_names``.

    A class without a sub-folder has no image. Raises InputError for a sub-folder that is none of the names
    ("is no ``kind``") or the name of two classes, for an image in none of them, and where there is no image.
    """
    times = Counter(class_names)
    for name in sub_folders(root):
        if name not in times:
            raise InputError(f"{root}: sub-folder {name!r} is no {kind}")
        if times[name] > 1:
            raise InputError(f"{root}: sub-folder {name!r} is the name of two classes; one is accepted")
    loose = sorted(path.name for path in Path(root).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if loose:
        raise InputError(f"{root}: image {loose[0]!r} is in no sub-folder, so it has no class")
    found = list(class_folders(str(root), class_names))
    paths = pa.chunked_array([paths for _, paths in found], pa.string())
    if not len(paths):
        raise InputError(f"{root}: has no image in its sub-folders")
    labels = np.concatenate([np.full(len(paths), label, np.int32) for label, paths in found])
    return ImageList(paths, labels, root)


def sub_folders(root: str | Path) -> list[str]:
    """The sorted names of a folder's own folders, hidden ones left out.

    Raises InputError where there is no such folder, and for a name that is not one line of UTF-8.
    """
    if not Path(root).is_dir():
        raise InputError(f"{root}: is no folder; one with a sub-folder a class is needed")
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if _is_folder(entry) and not entry.name.startswith("."))
    for name in names:
        if re.search("[\r\n\ud800-\udfff]", name):
            raise InputError(f"{root}: sub-folder {name!r}: a class's name is one line of UTF-8 text")
    return names


def _files(root: str) -> Iterator[str]:
    """Files below root, relative to it, in no order. A link back to a folder that holds it ends there."""
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while waiting:
        below, above = waiting.pop()
        here = os.stat(f"{root}/{below}")  # noqa: PTH116
        key = (here.st_dev, here.st_ino)
        if key in above:
            continue
        with os.scandir(f"{root}/{below}") as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    waiting.append((f"{below}{entry.name}/", above | {key}))
                elif entry.is_symlink() or entry.is_file():  # a link to nothing is an unreadable image, not none
                    yield f"{below}{entry.name}"


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, say
        return False


def _as_utf8(root: str, names: Sequence[str]) -> list[str]:
    """File names as UTF-8 text, `\\xNN` for a byte that is none; InputError where a file is really called so.

    Such a name cannot be kept in a table or list, and must not lead to another image.
    """
    texts = [name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for name in names]
    changed = sorted(text for text, name in zip(texts, names, strict=True) if text != name)
    shown = changed[0].replace("\n", "\\n")
    if not set(changed).isdisjoint(names):
        raise InputError(f"{root}: a file's name is not UTF-8, and so written is another's: {shown}; rename one")
    said = f"{len(changed)} files whose names are not UTF-8 are unreadable until they are renamed: {shown} …"
    print(f"note: {root}: {said}", file=sys.stderr)
    return texts
