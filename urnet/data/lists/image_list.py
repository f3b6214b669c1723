"""A list of images with their labels, from a text list or from the files below a folder."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from urnet.core.checks import InputError, check_same_rows
from urnet.data.lists.lines import read_lines

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class Names(Sequence):
    """Strings held in an Arrow array: a list of str to the reader, no Python object a row at rest."""

    def __init__(self, values: Any) -> None:
        self.arrow = values

    def __len__(self) -> int:
        return len(self.arrow)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            start, stop, step = i.indices(len(self))
            return [self[k] for k in range(start, stop, step)]
        return self.arrow[int(i)].as_py()

    def __iter__(self) -> Iterator[str]:
        chunks = self.arrow.chunks if isinstance(self.arrow, pa.ChunkedArray) else [self.arrow]
        for chunk in chunks:
            for start in range(0, len(chunk), 1024):
                yield from chunk.slice(start, 1024).to_pylist()


class ImageList:
    """``paths`` as listed, relative to ``root``; ``labels`` (n,) int32, -1 none; ``lines``, where listed."""

    def __init__(
        self, paths: Any, labels: np.ndarray, root: str | Path, *, lines: np.ndarray | None = None, source: str = ""
    ) -> None:
        check_same_rows(paths=paths, labels=labels)
        self.paths, self.labels, self.root = Names(paths), np.asarray(labels, np.int32), str(root)
        self.lines, self.source = lines, source

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, i: int) -> str:
        """The i-th image as listed."""
        return self.paths[i]

    def path(self, i: int) -> str:
        """The i-th image's absolute path."""
        return str(Path(self.root).absolute() / self.paths[i])

    def where(self, i: int) -> str:
        """Where the i-th image is listed, for messages: `list:line`, or the folder."""
        return f"{self.source}:{self.lines[i]}" if self.lines is not None else self.root


def read_image_list(
    list_path: str | Path,
    root: str | Path,
    *,
    n_classes: int | None = None,
    need_labels: bool = False,
    check_exists: bool = False,
) -> ImageList:
    """Read lines `path label`, or `path` alone unless ``need_labels``; paths are relative to ``root``.

    Without ``need_labels`` a line's last word is its label only if it is an integer. Raises InputError naming
    file and line: see ``read_lines``; with ``check_exists`` also for the first image that is not there.
    """
    if not Path(root).is_dir():
        raise InputError(f"{root}: is no folder; the folder that {list_path}'s paths are relative to is needed")
    high = None if n_classes is None else n_classes - 1
    blocks = list(read_lines(list_path, high=high, needed=need_labels))
    if not blocks:
        raise InputError(f"{list_path}: lists no image; lines `path{' label' if need_labels else ''}` are accepted")
    images = ImageList(
        pa.chunked_array([block.path for block in blocks]),
        np.concatenate([block.number for block in blocks]),
        root,
        lines=np.concatenate([block.line for block in blocks]),
        source=str(list_path),
    )
    if check_exists:
        _check_exist(images)
    return images


def _check_exist(images: ImageList) -> None:
    base = str(Path(images.root).absolute())
    missing = [i for i, name in enumerate(images.paths) if not os.path.isfile(f"{base}/{name}")]  # noqa: PTH113
    if missing:
        first = images.path(missing[0])
        try:
            why = "is a folder" if stat.S_ISDIR(os.stat(first).st_mode) else "is no file"  # noqa: PTH116
        except FileNotFoundError:
            why = "is not there"
        except OSError as error:
            why = f"cannot be reached ({error.strerror})"
        raise InputError(
            f"{images.where(missing[0])}: {first} {why} ({len(missing)} of {len(images)} listed images are missing)"
        )


def one_image(path: str | Path) -> ImageList:
    """A list of this one file. Raises InputError for a name that is not UTF-8, which no list can hold."""
    path = Path(path)
    try:
        return ImageList(pa.array([path.name], pa.string()), np.array([-1], np.int32), path.parent)
    except UnicodeEncodeError:
        raise InputError(f"{str(path)!r}: the file's name is not UTF-8; rename it") from None


def images_under(root: str | Path, *, allow_empty: bool = False) -> ImageList:
    """Every image file below a folder (by suffix), sorted by path; linked folders are followed.

    Other files are counted on stderr, hidden ones left out. A name that is not UTF-8 stands in the list with
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


def _as_utf8(root: str, names: Sequence[str]) -> list[str]:
    """File names as UTF-8 text, `\\xNN` for a byte that is none; InputError where a file is really called so.

    Such a name cannot stand in a table or list, and must not lead to another image.
    """
    texts = [name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for name in names]
    odd = sorted(text for text, name in zip(texts, names, strict=True) if text != name)
    shown = odd[0].replace("\n", "\\n")
    if not set(odd).isdisjoint(names):
        raise InputError(f"{root}: a file's name is not UTF-8, and so written is another's: {shown}; rename one")
    print(
        f"note: {root}: {len(odd)} files whose names are not UTF-8 are unreadable until they are renamed: {shown} …",
        file=sys.stderr,
    )
    return texts


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
