"""Paths that are listed twice: with different labels, or for training and for validation. Notes, no refusals."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.core.cli import is_main

if TYPE_CHECKING:
    from urnet.data.lists.image_list import ImageList

_BLOCK = 65_536


class LabelsOfPaths:
    """Finds paths that have several labels, in 16 bytes per row: paths are told apart by Python's 64-bit hash."""

    def __init__(self) -> None:
        self._hashes: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []

    def add(self, paths: Any, labels: np.ndarray) -> None:
        """The next rows: Arrow strings and labels (n,)."""
        for start in range(0, len(paths), _BLOCK):
            part = paths.slice(start, _BLOCK)
            self._hashes.append(np.fromiter(map(hash, part.to_pylist()), np.int64, len(part)))
        self._labels.append(labels)

    def note(self, file: str, path: Callable[[int], str]) -> None:
        """Say on stderr how many paths have several labels, and which first; ``path(i)`` is row i's."""
        if not self._labels or not is_main():
            return
        hashes, labels = np.concatenate(self._hashes), np.concatenate(self._labels)
        order = np.argsort(hashes, kind="stable")
        again = hashes[order[1:]] == hashes[order[:-1]]
        differ = np.flatnonzero(again & (labels[order[1:]] != labels[order[:-1]]))
        if len(differ):
            count = len(np.unique(hashes[order[differ]]))
            first = differ[np.argmin(order[differ + 1])]
            before, row = order[first : first + 2].tolist()
            what = "paths have" if count > 1 else "path has"
            shown = f"{path(row)!r} has {labels[before]} and {labels[row]}" + (" …" if count > 1 else "")
            print(f"note: {file}: {count} {what} several labels: {shown}", file=sys.stderr)


def note_shared_paths(paths: Iterable[Any], root: str, validation: ImageList) -> None:
    """Say on stderr how many validation images are training images as well, and which first.

    ``paths``: of the training rows, Arrow strings in blocks, relative to ``root``. Images are told apart by their
    paths, below folders that are one, or one inside the other.
    """
    wanted = _relative_to(str(Path(root).resolve()), validation)
    if wanted is None or not is_main():
        return
    found = [pc.unique(block.filter(pc.is_in(block, value_set=wanted))) for block in paths]
    shared = pc.is_in(wanted, value_set=pa.chunked_array(found, pa.string()).combine_chunks())
    count = pc.sum(shared).as_py()
    if count:
        first = validation.name(pc.index(shared, True).as_py())
        print(
            f"note: {count} of {len(validation)} validation images are also training images: {first!r}"
            + (" …" if count > 1 else ""),
            file=sys.stderr,
        )


def _relative_to(root: str, images: ImageList) -> Any:
    """The images' paths relative to ``root``, null for those that are not in it; None where none can be."""
    paths, own = images.paths.arrow, str(Path(images.root).resolve())
    paths = paths.combine_chunks() if isinstance(paths, pa.ChunkedArray) else paths
    if own == root:
        return paths
    outer, inner = root.rstrip("/") + "/", own.rstrip("/") + "/"
    if own.startswith(outer):
        return pc.binary_join_element_wise(own[len(outer) :], paths, "/")
    if root.startswith(inner):
        below = root[len(inner) :] + "/"
        inside = pc.replace_substring_regex(paths, f"^{re.escape(below)}", "")
        return pc.if_else(pc.starts_with(paths, below), inside, None)
    return None
