"""The images of a data set as training reads them, and what training would refuse."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from urnet.config.recipe import Data
from urnet.core.checks import InputError
from urnet.data.check.records import PathOf
from urnet.data.lists.build_table import build_table
from urnet.data.lists.classes import settle
from urnet.data.lists.folders import images_under
from urnet.data.lists.image_list import ImageList, Names
from urnet.data.lists.missing import check_some_there
from urnet.data.lists.validation import read_validation


@dataclasses.dataclass(frozen=True)
class Part:
    """Training or validation images: their number, the i-th's file and listed name, their classes (n,), -1 unknown."""

    root: str
    n: int
    path_of: PathOf
    name_of: PathOf
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Training and validation images (None: not asked for, or refused), class names; what is refused, a line each."""

    train: Part
    val: Part | None
    class_names: list[str]
    refused: list[str]


@contextmanager
def open_data_set(data: Data, *, validate: bool) -> Iterator[DataSet]:
    """Read ``data`` as ``train.py`` does; what it raises InputError for becomes a line of ``refused``.

    A folder whose classes cannot be read still gives its images, without classes. Notes of training go to stderr.
    ``validate``: with the validation images of ``data``. Raises InputError where there is no image to look at.
    """
    refused: list[str] = []
    if not validate:
        data = dataclasses.replace(data, val_root=None, val_list=None, val_split=None)
    with TemporaryDirectory(prefix="urnet-check-") as folder:
        try:
            data = settle(data)
            table = build_table(data, Path(folder) / "table")
        except InputError as error:
            if data.format != "folder" or not Path(data.root).is_dir():
                raise
            yield DataSet(_part(images_under(data.root)), None, [], [str(error)])
            return
        names = Names(table.texts("path"))
        train = Part(str(table.root), table.n_rows, table.path, names.__getitem__, table.column("label"))
        val = None
        try:
            if data.format != "folder":
                check_some_there(str(data.train_list or data.root), table.root, names)
            if validate:
                images = read_validation(data, table)
                if images.lines is not None:
                    check_some_there(images.source, images.root, images.paths)
                val = _part(images)
        except InputError as error:
            refused.append(str(error))
        yield DataSet(train, val, list(table.class_names), refused)


def _part(images: ImageList) -> Part:
    return Part(images.root, len(images), images.path, images.name, images.labels)
