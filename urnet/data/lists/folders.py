"""Folder trees whose sub-folders are classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from urnet.core.checks import InputError
from urnet.data.lists.image_list import IMAGE_SUFFIXES, ImageList, images_under, sub_folders


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
