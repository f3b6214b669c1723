"""A list of images with their labels, and how it is read from a text file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from urnet.core.checks import InputError, check_same_rows
from urnet.data.lists.labelled_list import read_list
from urnet.data.lists.missing import instead
from urnet.data.lists.repeated_paths import LabelsOfPaths


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
    class_names: Sequence[str] = (),
    spellings: Sequence[Sequence[str]] = (),
    need_labels: bool = False,
    check_exists: bool = False,
) -> ImageList:
    """Read paths, relative to ``root`` or inside it, and labels, numbers or ``class_names``: see ``read_list``.

    Without ``need_labels`` a line may be a path alone, and its last word is its label only if it is an integer. Raises
    InputError naming file and line; with ``check_exists`` also for the first image that is not there.
    """
    if not Path(root).is_dir():
        raise InputError(f"{root}: is not a folder; the folder that {list_path}'s paths are relative to is needed")
    blocks = list(
        read_list(
            list_path, root=root, n_classes=n_classes, class_names=class_names, spellings=spellings, needed=need_labels
        )
    )
    if not blocks:
        raise InputError(f"{list_path}: lists no image; lines `path{' label' if need_labels else ''}` are accepted")
    images = ImageList(
        pa.chunked_array([block.path for block in blocks]),
        np.concatenate([block.number for block in blocks]),
        root,
        lines=np.concatenate([block.line for block in blocks]),
        source=str(list_path),
    )
    if need_labels:
        listed = LabelsOfPaths()
        for block in blocks:
            listed.add(block.path, block.number)
        listed.note(str(list_path), images.name)
    if check_exists:
        _check_exist(images)
    return images


def _check_exist(images: ImageList) -> None:
    base = str(Path(images.root).absolute())
    missing = [i for i, name in enumerate(images.paths) if not os.path.isfile(f"{base}/{name}")]  # noqa: PTH113
    if missing:
        first = images.path(missing[0])
        try:
            why = "is a folder" if stat.S_ISDIR(os.stat(first).st_mode) else "is not a file"  # noqa: PTH116
        except FileNotFoundError:
            why = "does not exist"
        except OSError as error:
            why = f"cannot be reached ({error.strerror})"
        raise InputError(
            f"{images.where(missing[0])}: {first} {why} ({len(missing)} of {len(images)} listed images are missing)"
            f"{instead(base, images.name(missing[0]))}"
        )
