"""The training rows as lists or folders say them: of the classes that train, without what is held back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from urnet.config.combinations import check_split
from urnet.config.fields import Need
from urnet.config.recipe import Data
from urnet.core.checks import InputError
from urnet.data.lists import webvision
from urnet.data.lists.class_tree import class_folders
from urnet.data.lists.classes import Classes, named, read_classes
from urnet.data.lists.decided import Block, Decider
from urnet.data.lists.first_rows import FirstRows
from urnet.data.lists.held_back import held_back
from urnet.data.lists.image_list import Names
from urnet.data.lists.labelled_list import read_list
from urnet.data.lists.lines import BLOCK_BYTES, Lines, read_lines
from urnet.reweight.evidence.decided import NONE

_FILLED_BY = {  # what makes the folder that a shipped recipe names: by the folder's name, or by the format
    "folder": " (another place: -o data.root=FOLDER)",
    "list": " (another place: -o data.root=FOLDER)",
    "digits_web": " (`python data/make_digits_web.py --out data/digits_web` makes it)",
    "webvision2": f" ({webvision.DOWNLOAD}; another place: -o data.root=FOLDER)",
    "imagenet": (
        " (`sh data/prepare_imagenet2012.sh SOURCE data/ILSVRC2012` makes it from image-net.org's archives; another "
        "place: -o data.root=FOLDER -o data.train_list=FOLDER/train_list.txt)"
    ),
}


def check_root(data: Data) -> None:
    """Raise InputError for a ``root`` that is not there, with what makes it, and for keys that do not go together."""
    if not Path(data.root).is_dir():
        filled = _FILLED_BY.get(Path(data.root).name) or _FILLED_BY.get(data.format, "")
        raise InputError(f"data.root: {data.root} is not a folder; the folder that holds the images is needed{filled}")
    check_split(data, Need("recipe").under("data"))
    if data.train_list is not None and data.format not in ("list", "imagenet"):
        raise InputError(f"data.train_list: found {data.train_list!r}; format {data.format} has its own lists")


def training_rows(
    data: Data, block_bytes: int = BLOCK_BYTES, left_out: Callable[[int], None] = lambda _: None, *, quiet: bool = False
) -> Iterator[tuple[Any, np.ndarray]]:
    """Paths (Arrow strings) and labels (n,) of the training rows, block by block, in the table's order.

    What the lists, or the folder tree, say, and what was decided; WebVision's metadata are not read. ``left_out`` is
    told how many rows of other classes than ``data.classes`` there are; ``quiet``: notes were said before.
    """
    for block in decided_rows(data, read_classes(data), block_bytes, left_out, quiet=quiet):
        yield block.paths, block.labels


def decided_rows(
    data: Data,
    classes: Classes,
    block_bytes: int = BLOCK_BYTES,
    left_out: Callable[[int], None] = lambda _: None,
    *,
    quiet: bool = False,
    decider: Decider | None = None,
) -> Iterator[Block]:
    """The training rows as ``training_rows`` gives them, with what was decided. ``decider``: None: its own."""
    blocks = kept_rows(data, classes, block_bytes, left_out, quiet=quiet, decider=decider)
    if data.val_split is None:
        yield from blocks
        return
    parts = list(blocks)
    whole = joined(parts)
    held, start = split_rows(data, whole, classes.names), 0
    for part in parts:
        trains = ~held[start : start + len(part.labels)]
        yield _chosen(part, trains)
        start += len(part.labels)


def joined(blocks: Sequence[Block]) -> Block:
    """All blocks in one."""
    empty = Block(None, np.zeros(0, np.int64), np.zeros(0, np.int8), np.zeros(0, np.int64))
    _, *arrays = (list(column) for column in zip(empty, *blocks, strict=True))
    return Block(pa.chunked_array([block.paths for block in blocks], pa.string()), *map(np.concatenate, arrays))


def _chosen(block: Block, kept: np.ndarray) -> Block:
    return Block(block.paths.filter(pa.array(kept)), *(column[kept] for column in block[1:]))


def kept_rows(
    data: Data,
    classes: Classes,
    block_bytes: int = BLOCK_BYTES,
    left_out: Callable[[int], None] = lambda _: None,
    *,
    quiet: bool = False,
    decider: Decider | None = None,
) -> Iterator[Block]:
    """All listed rows of the classes that train, by their decided labels; with ``data.limit`` the first of them."""
    first, decider = FirstRows(data.limit), decider or Decider(data, classes, quiet=True)
    for paths, listed in _listed_rows(data, classes, block_bytes, quiet):
        labels, *known = decider.apply(paths, listed)
        kept, (paths, *known) = classes.keep(labels, paths, *known)
        left_out(len(labels) - len(kept))
        kept, (paths, decided, given) = first.choose(kept, paths, *known, wanted=known[0] != NONE)
        yield Block(paths, kept, decided, given)
        if first.full(len(classes.names)):
            return


def _listed_rows(data: Data, classes: Classes, block_bytes: int, quiet: bool) -> Iterator[tuple[Any, np.ndarray]]:
    """Paths and listed labels of all that the lists, or the folder tree, hold."""
    if data.format == "folder":
        for label, paths in class_folders(data.root, classes.folders, quiet=quiet):
            yield paths, np.full(len(paths), label)
        return
    blocks: Iterable[Lines]
    if data.format in ("webvision2", "webvision1"):
        files, high = [file for _, file, _ in webvision.train_lists(data)], len(classes.listed) - 1
        blocks = (lines for file in files for lines in read_lines(file, high=high, block_bytes=block_bytes))
    else:
        blocks = read_list(
            str(data.train_list),
            root=data.root,
            n_classes=len(classes.listed),
            class_names=classes.listed,
            spellings=classes.aliases,
            block_bytes=block_bytes,
            quiet=quiet,
        )
    for lines in blocks:
        yield lines.path, lines.number


def split_rows(data: Data, rows: Block, names: Sequence[str]) -> np.ndarray:
    """bool (n,): which rows ``val_split`` holds back. InputError where a class is left without the one or the other."""
    assert data.val_split is not None
    held, labels, shows = held_back(data.root, Names(rows.paths), data.val_split), rows.labels, rows.decided != NONE
    before, after = (np.bincount(labels[part & shows], minlength=len(names)) for part in (True, ~held))
    emptied = np.flatnonzero((before > 0) & (after == 0)).tolist()
    found = f"data.val_split: found {data.val_split:g}, which holds back"
    if emptied:
        raise InputError(
            f"{found} all images of class {named(names, emptied)}; a smaller share is accepted, or more images"
        )
    if not held.any():
        raise InputError(
            f"{found} none of {len(held):,} images of {data.root}; a larger share is accepted, or more images"
        )
    return held
