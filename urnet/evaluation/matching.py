"""Which rows of prediction files and lists are the same images, by their paths and whatever the order.

Paths are alike when they differ only in `\\` for `/`, a leading `./`, doubled separators, the spelling of accents
(NFC or NFD), or in a leading folder ``root`` that both sides then do without.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.core.checks import InputError, counts_from_one
from urnet.data.lists.labelled_list import read_list
from urnet.evaluation.prediction_reader import CLASSES, Predictions, read_paths, read_predictions


def canonical(paths: Any, root: str = "") -> Any:
    """Arrow strings (n,) in the one spelling by which paths are compared, without the leading folder ``root``."""
    paths = pc.utf8_normalize(pc.replace_substring(paths, "\\", "/"), form="NFC")
    paths = pc.replace_substring_regex(pc.replace_substring_regex(paths, r"/(?:\.?/)+", "/"), r"^(\./+)+", "")
    if folder := canonical(pa.array([root]))[0].as_py().rstrip("/") if root else "":
        inside = pc.utf8_slice_codeunits(paths, len(folder) + 1)
        paths = pc.if_else(pc.starts_with(paths, folder + "/"), inside, paths)
    return paths


def match(wanted: Any, found: Any, wanted_name: str, found_name: str, root: str = "") -> np.ndarray:
    """For each path of ``found`` its row in ``wanted`` (Arrow strings), int64 (n,).

    Both must hold the same images, in any order; the same paths in the same order may hold one twice. Raises
    InputError with how many are missing, not wanted or there twice, and the first of each.
    """
    for spelling in (lambda paths: paths, lambda paths: canonical(paths, root)):
        wanted, found = spelling(wanted), spelling(found)
        if found.equals(wanted):
            return np.arange(len(found))
        rows = pc.fill_null(pc.index_in(found, value_set=wanted), -1).to_numpy(zero_copy_only=False)
        if len(rows) == len(wanted) and (np.bincount(rows + 1, minlength=len(wanted) + 1)[1:] == 1).all():
            return rows.astype(np.int64)
    faults = [
        *repeated(wanted, wanted_name),
        *repeated(found, found_name),
        *_absent(wanted, found, f"images of {wanted_name}", found_name),
        *_absent(found, wanted, f"rows of {found_name}", wanted_name),
        *_hint(wanted, found),
    ]
    raise InputError(f"{found_name} and {wanted_name} do not list the same images: {'; '.join(faults)}")


def repeated(paths: Any, name: str) -> list[str]:
    """A line about the paths (Arrow strings) that come more than once, if there are any."""
    number = paths.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    first = np.unique(number, return_index=True)[1]
    again = np.setdiff1d(np.arange(len(paths)), first)
    if not len(again):
        return []
    return [f"{len(again)} of {len(paths)} paths of {name} occur twice (the first: {paths[again[0]].as_py()!r})"]


def _absent(paths: Any, others: Any, what: str, where: str) -> list[str]:
    """A line about the paths that are not among the others."""
    absent = np.flatnonzero(~pc.is_in(paths, value_set=others).to_numpy(zero_copy_only=False))
    if not len(absent):
        return []
    first = paths[absent[0]].as_py()
    return [f"{len(absent)} of {len(paths)} {what} are not in {where} (the first: {first!r}, number {absent[0] + 1})"]


def _hint(wanted: Any, found: Any) -> list[str]:
    """The folder that would make all paths match, if there is one: what one side's first path has in front."""
    for one, other in ((wanted, found), (found, wanted)):
        if not (len(one) and len(other)):
            continue
        parts = one[0].as_py().split("/")
        for cut in range(1, len(parts)):
            folder = "/".join(parts[:cut])
            if pc.is_in(canonical(one, folder), value_set=other).to_numpy(zero_copy_only=False).all():
                return [f"with --root {folder} the leading folder is ignored and they match"]
    return []


class Listed:
    """The labelled images of a list, in its order: ``paths`` (Arrow strings), ``labels`` int32 (n,).

    ``class_names``: what labels that are names are looked up in. ``n_classes``: labels from 0 to one less are
    accepted; None: nothing says how many there are, and ``check_range`` refuses some.
    """

    def __init__(
        self, file: str | Path, n_classes: int | None, root: str = "", class_names: Sequence[str] = ()
    ) -> None:
        lines = list(read_list(file, n_classes=n_classes or CLASSES, class_names=class_names, anywhere=True))
        if not lines:
            raise InputError(f"{file}: lists no image; lines `path label` are accepted")
        self.file, self.n_classes, self.root = str(file), n_classes, root
        self.paths = pa.concat_arrays([block.path for block in lines])
        self.labels = np.concatenate([block.number for block in lines]).astype(np.int32)

    def __len__(self) -> int:
        return len(self.labels)

    def rows_of(self, file: str | Path) -> np.ndarray:
        """For each row of a prediction file the list's row of the same image, int64 (n,); see ``match``."""
        return match(self.paths, read_paths(file), self.file, str(file), self.root)

    def labels_of(self, file: str | Path) -> np.ndarray:
        """The labels of a prediction file's rows, int32 (n,)."""
        return self.labels[self.rows_of(file)]

    def beyond(self, widest: int, file: str | Path) -> str:
        """What is wrong if ``widest``, the highest class that ``file`` lists, is below a label; else ""."""
        above = np.flatnonzero(self.labels > widest)
        if not len(above):
            return ""
        path, label = self.paths[above[0]].as_py(), self.labels[above[0]]
        one = counts_from_one(int(self.labels.min()), int(self.labels.max()), widest + 1)
        return (
            f"{self.file}: {len(above)} of {len(self)} images have labels above {widest}, the highest class in "
            f"{file}, such as {path!r} {label}" + (f"; {one}" if one else "")
        )

    def check_range(self, widest: int, file: str | Path) -> None:
        """Raise InputError for a label that is not a predicted class, where nothing says how many classes there are."""
        if self.n_classes is None and (fault := self.beyond(widest, file)):
            raise InputError(f"{fault}; if the network has more classes, give --class_dim N")


def read_aligned(
    files: Sequence[str | Path], n_classes: int, rows: int = 4096, *, root: str = ""
) -> Generator[list[Predictions], None, None]:
    """Yield blocks of the same images of several files, in the order of the first.

    A file in another order is read as a whole, 8 k bytes per image. Raises InputError as ``match`` does.
    """
    lead, *others = (read_predictions(file, n_classes, rows) for file in files)
    for first in lead:
        blocks = [first]
        for number, file in enumerate(files[1:]):
            block = next(others[number], None)
            if block is None or not block.path.equals(first.path):
                others[number] = _in_order_of(files[0], file, n_classes, rows, first.first, root)
                block = next(others[number])
            blocks.append(block)
        yield blocks
    for file, rest in zip(files[1:], others, strict=True):
        if next(rest, None) is not None:  # which the first file does not have
            match(read_paths(files[0]), read_paths(file), str(files[0]), str(file), root)


def _in_order_of(
    lead: str | Path, file: str | Path, n_classes: int, rows: int, start: int, root: str
) -> Iterator[Predictions]:
    """Blocks of ``file`` in the order of ``lead``, from its row ``start``."""
    paths = read_paths(lead)
    order = np.argsort(match(paths, read_paths(file), str(lead), str(file), root))
    blocks = list(read_predictions(file, n_classes))
    shape = len(paths), max(block.classes.shape[1] for block in blocks)
    classes, scores = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    for block in blocks:  # those before the first prediction of a file are of no width
        place = slice(block.first, block.first + len(block)), slice(block.classes.shape[1])
        classes[place], scores[place] = block.classes, block.scores
    readable = np.concatenate([block.readable for block in blocks])
    for first in range(start, len(paths), rows):
        chosen = order[first : first + rows]
        part = paths.slice(first, rows)
        yield Predictions(str(file), first, part, classes[chosen], scores[chosen], readable[chosen])
