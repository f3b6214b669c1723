"""The validation images of a recipe's data: lists or folders of their own, or a part of the training images."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.config.recipe import Data
from urnet.core.checks import InputError
from urnet.core.cli import is_main
from urnet.core.counted import verb
from urnet.data.lists import webvision
from urnet.data.lists.class_tree import labelled_folders
from urnet.data.lists.classes import Classes, named, read_classes
from urnet.data.lists.first_rows import FirstRows
from urnet.data.lists.image_list import ImageList, read_image_list
from urnet.data.lists.training_rows import check_root, joined, kept_rows, split_rows
from urnet.data.table.table import Table
from urnet.reweight.evidence.decided import NONE

_SPLIT = "or data.val_split=0.1, which holds a part of the training images back"


def read_validation(data: Data, table: Table | None = None) -> ImageList:
    """The labelled validation images: ``val_root`` and ``val_list``, or where the format keeps them.

    With ``val_split`` those of the training lists that are not in ``table``; without a table they are chosen anew, for
    which every image is read.
    """
    check_root(data)
    classes = read_classes(data)
    if data.val_split is not None:
        return _held_back(data, classes, table)
    images = _validation(data, classes)
    labels, (paths, *lines) = classes.keep(images.labels, images.paths.arrow, *_arrays(images.lines))
    if not len(labels):
        raise InputError(f"{images.source or images.root}: has no image of data.classes")
    if len(labels) < len(images) and is_main():
        n = len(images) - len(labels)
        print(f"note: data.classes: {n:,} validation images of other classes are left out", file=sys.stderr)
    labels, (paths, *lines) = FirstRows(data.limit).choose(labels, paths, *lines)
    if not len(labels):
        raise InputError(
            f"{images.source or images.root}: has no image of the classes 0 to 9, all that data.limit takes"
        )
    return ImageList(paths, labels, images.root, lines=lines[0] if lines else None, source=images.source)


def _arrays(*values: np.ndarray | None) -> list[np.ndarray]:
    return [value for value in values if value is not None]


def validation_places(data: Data) -> tuple[str | None, str | None]:
    """Folder and list of the validation images, as given or where the format keeps them: no list where sub-folders are
    the classes; neither where a part of the training images is held back."""
    root, file = data.val_root, data.val_list
    if data.val_split is not None:
        return None, None
    if data.format in ("webvision2", "webvision1"):
        root = root or str(webvision.validation_root(data))
        file = file or str(webvision.validation_list(data))
    elif data.format == "imagenet" and file is None:
        file = str(Path(data.root) / "val_list.txt")
    return root or data.root, file


def _validation(data: Data, classes: Classes) -> ImageList:
    """All validation images, with listed labels."""
    if data.format == "folder" and data.val_list is None:
        if data.val_root is None:
            raise InputError(
                f"data.val_root: found none; a folder tree with one sub-folder per class is needed, {_SPLIT}"
            )
        if not Path(data.val_root).is_dir():
            raise InputError(
                f"data.val_root: {data.val_root}: is not a folder; one with a sub-folder per class is needed, or "
                "data.val_root=null with data.val_split=0.1, which holds a part of the training images back"
            )
        return labelled_folders(data.val_root, classes.folders, f"class of {data.root}")
    root, file = validation_places(data)
    if root is None or file is None:
        raise InputError(
            f"data.val_list: found none; format {data.format} needs a file of `path label` lines, {_SPLIT}"
        )
    return read_image_list(
        file,
        root,
        n_classes=len(classes.listed),
        class_names=classes.listed,
        spellings=classes.aliases,
        need_labels=True,
    )


def _held_back(data: Data, classes: Classes, table: Table | None) -> ImageList:
    """The part of the training images that ``val_split`` holds back for validation: those that do not train."""
    rows = joined(list(kept_rows(data, classes, quiet=True)))
    paths, labels = rows.paths, rows.labels
    if table is None:
        held = split_rows(data, rows, classes.names)
    else:
        held = ~np.asarray(pc.is_in(paths, table.texts("path")))
    shows = rows.decided != NONE
    if data.decisions is not None and is_main():
        known, none = int((held & (rows.decided > 0)).sum()), int((held & ~shows).sum())
        print(
            f"note: {data.decisions}: of the validation images {known:,} {verb(known)} decided; {none:,} of them "
            f"{verb(none, 'shows', 'show')} none of the classes and {verb(none)} left out",
            file=sys.stderr,
        )
    whole, held = len(held), held & shows
    empty = np.flatnonzero(np.bincount(labels[held], minlength=len(classes.names)) == 0).tolist()
    if is_main():
        n_held = int(held.sum())
        print(
            f"note: data.val_split: {n_held:,} of {whole:,} images {verb(n_held)} held back for validation",
            file=sys.stderr,
        )
        if empty:
            n, shown = len(classes.names), named(classes.names, empty)
            print(
                f"note: {len(empty)} of {n} classes {verb(len(empty), 'has', 'have')} no validation image: {shown}",
                file=sys.stderr,
            )
    return ImageList(paths.filter(pa.array(held)), labels[held], data.root)
