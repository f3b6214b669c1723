"""Images found in folders: all of a tree. Sub-folders that are classes: ``class_tree``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from urnet.core.checks import InputError
from urnet.core.counted import plural
from urnet.data.images.header import ACCEPTED
from urnet.data.lists.image_files import is_litter, what_is
from urnet.data.lists.image_list import ImageList


def one_image(path: str | Path) -> ImageList:
    """A list of this one file. Raises InputError for a name that is not UTF-8, which no list can hold."""
    path = Path(path)
    try:
        return ImageList(pa.array([path.name], pa.string()), np.array([-1], np.int32), path.parent)
    except UnicodeEncodeError:
        raise InputError(f"{str(path)!r}: the file's name is not UTF-8; rename it") from None


def images_under(root: str | Path, *, allow_empty: bool = False, quiet: bool = False) -> ImageList:
    """Every image file below a folder (``what_is``), sorted by path; linked folders are followed.

    Pictures that cannot be read (HEIC, SVG …) and other files are counted on stderr; hidden files and other litter
    are left out. A name that is not UTF-8 is listed with `\\xNN` for what is wrong in it, which names no file: its
    image is unreadable, and stderr says why. ``quiet``: all this was said before. Raises InputError when there is no
    image (unless ``allow_empty``) or no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: is not a folder; a folder of images is needed")
    sorts: dict[bool | str, list[str]] = {}
    for path in _files(str(root)):
        sorts.setdefault(what_is(f"{root}/{path}"), []).append(path)
    found, other = sorts.pop(True, []), sorts.pop(False, [])
    unread = ", ".join(f"{len(paths)} x {kind} ({min(paths)} …)" for kind, paths in sorted(sorts.items()))
    if other and not quiet:
        said = plural(len(other), "file is not an image", "files are not images")
        print(f"note: {root}: {said}: {min(other)}{' …' if len(other) > 1 else ''}", file=sys.stderr)
    if unread and (found or allow_empty) and not quiet:
        print(f"note: {root}: left out, since it cannot be read: {unread}; convert it to JPEG", file=sys.stderr)
    if not found and not allow_empty:
        rest = f", only what cannot be read: {unread}; convert it to JPEG" if unread else f"; accepted: {ACCEPTED}"
        raise InputError(f"{root}: has no image below it{rest}")
    try:
        paths = pa.array(sorted(found), pa.string())
    except UnicodeEncodeError:
        paths = pa.array(sorted(_as_utf8(str(root), found, quiet)), pa.string())
    return ImageList(paths, np.full(len(paths), -1, np.int32), root)


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
                if is_litter(entry.name):
                    continue
                if is_folder(entry):
                    waiting.append((f"{below}{entry.name}/", above | {key}))
                elif entry.is_symlink() or entry.is_file():  # a link to nothing is an unreadable image, not none
                    yield f"{below}{entry.name}"


def is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, say
        return False


def _as_utf8(root: str, names: Sequence[str], quiet: bool) -> list[str]:
    """File names as UTF-8 text, `\\xNN` for a byte that is none; InputError where a file is really called so.

    Such a name cannot be kept in a table or list, and must not lead to another image.
    """
    texts = [name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for name in names]
    changed = sorted(text for text, name in zip(texts, names, strict=True) if text != name)
    shown = changed[0].replace("\n", "\\n")
    if not set(changed).isdisjoint(names):
        raise InputError(
            f"{root}: a file's name is not UTF-8, and replacing its bad characters gives another file's name: "
            f"{shown}; rename one"
        )
    if not quiet:
        said = plural(
            len(changed),
            "file whose name is not UTF-8 is unreadable until it is renamed",
            "files whose names are not UTF-8 are unreadable until they are renamed",
        )
        print(f"note: {root}: {said}: {shown}{' …' if len(changed) > 1 else ''}", file=sys.stderr)
    return texts
