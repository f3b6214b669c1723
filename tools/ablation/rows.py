"""The data that methods are compared on: the training rows, and what their images really show.

Of WebVision's layout ``truth_train.txt`` next to the lists holds `path class`, -1 for an image of none of the classes;
of a folder of photographs ``tools.ablation.photos`` says it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tools.ablation import photos
from urnet.config.recipe import Data
from urnet.core.atomic_files import file_hash
from urnet.core.checks import InputError
from urnet.data.lists.lines import Lines, read_lines, read_text
from urnet.data.lists.training_rows import training_rows
from urnet.data.lists.webvision import metadata_root, train_lists

TRUTH = "truth_train.txt"


@dataclass(frozen=True)
class Rows:
    """The rows that train, in the table's order: Arrow ``paths``, ``labels`` int64 (N,); a digest of all lists.

    With data.limit or data.classes they are fewer than are listed.
    ``right`` bool (N,): the label is what the image shows; None where there is no truth. ``has_metadata``: titles and
    search ranks can be known.
    """

    paths: Any
    labels: np.ndarray
    digest: str
    right: np.ndarray | None = None
    truth_digest: str = ""
    has_metadata: bool = True

    def __len__(self) -> int:
        return len(self.labels)


def count_classes(root: Path) -> int:
    """The lines of info/synsets.txt, two or more. Raises InputError where there are none."""
    if not root.is_dir():
        raise InputError(
            f"--data: {root} is not a folder; accepted: a folder in WebVision 2.0's layout (docs/data.md), "
            "such as data/make_digits_web.py writes, or one of photographs, train/CLASS/… and val/CLASS/…"
        )
    file = root / "info" / "synsets.txt"
    if not file.is_file():
        raise InputError(
            f"--data: {root} has no info/synsets.txt, a line per class, as WebVision 2.0's layout has (docs/data.md); "
            "nor is it a folder of photographs where one is accepted, with train/CLASS/… and val/CLASS/…"
        )
    lines = read_text(file, "a line per class is needed").rstrip().splitlines()
    if len(lines) < 2:
        raise InputError(f"{file}: has {len(lines)} lines; a line per class, two or more, is accepted")
    return len(lines)


def pointed(root: Path) -> list[str]:
    """The settings by which a recipe reads the data below ``root``: WebVision's layout, or photographs."""
    if photos.is_photos(root):
        places = {"root": root / photos.TRAIN, "val_root": root / photos.VAL}
        found = [f"data.{key}={json.dumps(str(place))}" for key, place in places.items()]
        return ["data.format=folder", "data.n_classes=null", *found]
    return ["data.format=webvision2", f"data.root={json.dumps(str(root))}", f"data.n_classes={count_classes(root)}"]


def read_rows(data: Data) -> Rows:
    """Read the training lists, and truth_train.txt in the data's folder, if it is there.

    Of a folder tree: what is in its folders, and the truth next to it. Raises InputError as ``read_lines`` and
    ``_right``, for lists without a line, and as ``tools.ablation.photos``.
    """
    if data.format == "folder":
        return _rows_of_photos(data)
    root, highest = Path(data.root), data.n_classes - 1
    blocks = [lines for _, file, _ in train_lists(data) for lines in read_lines(file, high=highest)]
    if not blocks:
        raise InputError(f"{root}/info: the training lists have no line; `path label` lines are needed")
    files = [*sorted((root / "info").glob("*.txt")), root / "val_list.txt"]  # all that a training may read
    files += [Path(file) for file in (data.val_list, data.class_names) if file is not None]
    named = [f"{file} {file_hash(file)}" for file in files if file.is_file()]
    digest = hashlib.sha256("\n".join([str(root.absolute()), *named]).encode()).hexdigest()
    paths, labels = training_paths(data)
    described = any(metadata_root(data, meta) is not None for _, _, meta in train_lists(data))
    rows, truth = Rows(paths, labels, digest, has_metadata=described), root / TRUTH
    if not has_truth(data):
        return rows
    lines = list(read_lines(truth, what="class", low=-1, high=highest))
    listed, named_labels, _ = _joined(blocks)
    right = _right(truth, lines, listed, named_labels)
    return replace(rows, right=right[pc.index_in(paths, value_set=listed).to_numpy()], truth_digest=file_hash(truth))


def _rows_of_photos(data: Data) -> Rows:
    paths, labels = training_paths(data)
    named = [f"{path} {label}" for path, label in zip(paths.to_pylist(), labels.tolist(), strict=True)]
    text = "\n".join([str(Path(data.root).absolute()), *named, *photos.validation_names(data)])
    rows = Rows(paths, labels, hashlib.sha256(text.encode()).hexdigest(), has_metadata=False)
    truth = photos.truth_file(data)
    if not has_truth(data):
        return rows
    return replace(rows, right=photos.right_rows(data, paths.to_pylist(), labels), truth_digest=file_hash(truth))


def training_paths(data: Data) -> tuple[Any, np.ndarray]:
    """Paths (Arrow strings) and labels int64 (N,) of the rows that train."""
    parts = list(training_rows(data, quiet=True))
    paths = pa.chunked_array([part for part, _ in parts], pa.string()).combine_chunks()
    return paths, np.concatenate([np.empty(0, np.int64), *(part for _, part in parts)])


def _joined(blocks: Sequence[Lines]) -> tuple[Any, np.ndarray, np.ndarray]:
    """Paths (Arrow), numbers and line numbers of all blocks."""
    paths = pa.chunked_array([block.path for block in blocks], pa.string()).combine_chunks()
    empty = np.empty(0, np.int64)
    return paths, *(np.concatenate([empty, *(getattr(b, name) for b in blocks)]) for name in ("number", "line"))


def _right(file: Path, lines: Sequence[Lines], listed: Any, labels: np.ndarray) -> np.ndarray:
    """Which of the ``listed`` rows (Arrow paths) show their label, by lines `path class` in any
    order, one for every row.

    Raises InputError with the line for a path that is in no training list or is there twice, and for a row without one.
    """
    paths, shown, line = _joined(lines)
    row = pc.fill_null(pc.index_in(paths, value_set=listed), -1).to_numpy()
    again = np.ones(len(row), bool)
    again[np.unique(row, return_index=True)[1]] = False
    for bad, what in ((row < 0, "is in no training list"), (again, "is there a second time")):
        if bad.any():
            at = int(np.argmax(bad))
            raise InputError(f"{file}:{line[at]}: path {paths[at].as_py()!r} {what}")
    missing = np.isin(np.arange(len(listed)), row, invert=True)
    if missing.any():
        path = listed[int(np.argmax(missing))].as_py()
        raise InputError(f"{file}: has no line for {path!r}, which a training list has")
    return shown[np.argsort(row)] == labels


def truth_place(data: Data) -> Path:
    """The file that says what the training images show, whether it is there or not."""
    return photos.truth_file(data) if data.format == "folder" else Path(data.root) / TRUTH


def has_truth(data: Data) -> bool:
    """Whether that file is there. Raises InputError for something else of its name: it would count as no truth."""
    place = truth_place(data)
    if not os.path.lexists(place):
        return False
    if not place.is_file():
        found = "a folder" if place.is_dir() else "a link that leads nowhere" if place.is_symlink() else "no plain file"
        raise InputError(
            f"{place}: found {found}; a text file that says what the pictures show, or nothing, is accepted"
        )
    return True


def check_oracle(rows: Rows, truth: Path) -> None:
    """Raise InputError for a class with rows of which none is right: the oracle could not train it."""
    if rows.right is None:
        return
    counts = np.bincount(rows.labels)
    none = np.flatnonzero((counts > 0) & (np.bincount(rows.labels, rows.right) == 0))
    if len(none):
        raise InputError(
            f"{truth}: class {none[0]} has {counts[none[0]]} rows, none of them right; the oracle "
            "needs one in every class (leave it out of --methods)"
        )
