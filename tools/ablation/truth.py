"""The data that methods are compared on: the training lists, and what its images really show.

``truth_train.txt`` beside the lists holds `path class`, -1 for an image of none of the classes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.config.recipe import Data
from urnet.core.atomic_files import file_hash
from urnet.core.checks import InputError
from urnet.data.lists.lines import read_lines
from urnet.data.lists.webvision import train_lists

TRUTH = "truth_train.txt"


@dataclass(frozen=True)
class Lists:
    """The training rows in the table's order: Arrow ``paths``, ``labels`` int64 (N,), ``digest``."""

    paths: Any
    labels: np.ndarray
    digest: str

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Truth:
    """``right`` bool (N,): the label is what the image shows; ``labels`` as listed; ``digest``."""

    right: np.ndarray
    labels: np.ndarray
    digest: str


def count_classes(root: Path) -> int:
    """The lines of info/synsets.txt. Raises InputError where there is none."""
    if not root.is_dir():
        raise InputError(
            f"--data: {root} is no folder; accepted: a folder in WebVision 2.0's layout (docs/data.md), "
            "such as data/make_digits_web.py writes"
        )
    file = root / "info" / "synsets.txt"
    try:
        lines = file.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); a line a class is needed") from None
    if len(lines) < 2:
        raise InputError(f"{file}: has {len(lines)} lines; a line a class, two or more, is accepted")
    return len(lines)


def read_lists(data: Data) -> Lists:
    """Read the training lists. Raises InputError as ``read_lines``, and for lists without a line."""
    blocks = [lines for _, file, _ in train_lists(data) for lines in read_lines(file, high=data.n_classes - 1)]
    if not blocks:
        raise InputError(f"{data.root}/info: the training lists have no line; `path label` lines are needed")
    return Lists(
        pa.chunked_array([block.path for block in blocks]).combine_chunks(),
        np.concatenate([block.number for block in blocks]),
        _digest(data),
    )


def _digest(data: Data) -> str:
    """SHA-256 of where the data lie and of every list in info/ and beside the root's images."""
    root = Path(data.root)
    files = [*sorted((root / "info").glob("*.txt")), root / "val_list.txt"]
    files += [Path(file) for file in (data.val_list, data.class_names) if file is not None]
    named = [f"{file} {file_hash(file)}" for file in files if file.is_file()]
    return hashlib.sha256("\n".join([str(root.absolute()), *named]).encode()).hexdigest()


def find_truth(data: Data, lists: Lists) -> Truth | None:
    """Read `path class` lines of truth_train.txt in the data's folder, one for every listed path, in any order.

    None where there is no such file. Raises InputError with the line for a malformed one, a path that is in no
    training list or is there twice, and for a listed path without a line.
    """
    file = Path(data.root) / TRUTH
    if not file.is_file():
        return None
    blocks = list(read_lines(file, what="class", low=-1, high=data.n_classes - 1))
    if not blocks:
        raise InputError(f"{file}: has no line; `path class` for every training image is needed")
    paths = pa.chunked_array([block.path for block in blocks]).combine_chunks()
    line, shown = (np.concatenate([getattr(block, name) for block in blocks]) for name in ("line", "number"))
    listed = pc.index_in(paths, value_set=lists.paths)
    if listed.null_count:
        at = pc.index(listed.is_null(), True).as_py()
        raise InputError(f"{file}:{line[at]}: path {paths[at].as_py()!r} is in no training list")
    first = np.unique(listed.to_numpy(), return_index=True)[1]
    if len(first) < len(paths):
        at = int(np.setdiff1d(np.arange(len(paths)), first)[0])
        raise InputError(f"{file}:{line[at]}: path {paths[at].as_py()!r} is there a second time")
    place = pc.index_in(lists.paths, value_set=paths)
    if place.null_count:
        row = pc.index(place.is_null(), True).as_py()
        raise InputError(f"{file}: has no line for {lists.paths[row].as_py()!r}, which a training list has")
    return Truth(shown[place.to_numpy()] == lists.labels, lists.labels, file_hash(file))


def check_oracle(truth: Truth, root: str) -> None:
    """Raise InputError for a class with rows of which none is right: the oracle could not train it."""
    counts = np.bincount(truth.labels)
    none = np.flatnonzero((counts > 0) & (np.bincount(truth.labels[truth.right], minlength=len(counts)) == 0))
    if len(none):
        raise InputError(
            f"{root}/{TRUTH}: class {none[0]} has {counts[none[0]]} rows, none of them right; the oracle "
            "needs one in every class (leave it out of --methods)"
        )
