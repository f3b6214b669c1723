"""A part of the noisy training rows, held out for choosing settings: a data folder in which they are the validation.

The folder links to the images and metadata of the one it is cut from, and has lists of its own; of a folder tree it has
train/ and val/ with a link to each picture. The validation images and the truth of that one are not in it, so nothing
that trains there can see them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tools.ablation.photos import TRAIN, VAL
from tools.ablation.rows import TRUTH, training_paths
from tools.ablation.subset import chosen_lines, write_cut
from urnet.config.recipe import Data
from urnet.core.atomic_files import atomic_folder, recover_folder
from urnet.core.checks import InputError
from urnet.data.lists.held_back import byte_hashes, chosen
from urnet.data.lists.lines import read_lines
from urnet.data.lists.validation import validation_places
from urnet.data.lists.webvision import image_root, train_lists

SHARE = 0.15  # of the training rows
VALIDATION = "val_filelist.txt"  # in info/


def held_out(data: Data, folder: Path) -> Data:
    """``data`` of which a part is held out, and is the validation: written to ``folder`` as ``write_held_out`` does."""
    if data.format == "folder":
        return _tree_held_out(data, folder)
    root, listed = write_held_out(data, folder)
    return replace(data, root=str(folder), val_root=str(root), val_list=str(listed))


def _tree_held_out(data: Data, folder: Path) -> Data:
    paths, labels = training_paths(data)
    held, root = _held(data.root, paths.to_pylist(), labels), Path(data.root).absolute()
    recover_folder(folder)
    with atomic_folder(folder, replace=True) as part:
        for path, out in zip(paths.to_pylist(), held, strict=True):
            link = part / (VAL if out else TRAIN) / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(root / path)
    return replace(data, root=str(folder / TRAIN), val_root=str(folder / VAL))


def write_held_out(data: Data, folder: Path) -> tuple[Path, Path]:
    """Write ``folder`` of the training rows of ``data`` (WebVision's layout); returns its validation root and list.

    About ``SHARE`` of the images, chosen by a hash of their bytes, are held out: copies of one are on one side. Of a
    class of which none would be, the image with the smallest hash is. Their labels are those given. A folder that is
    there is written anew. Raises InputError as ``read_lines``, where a class would be left without a training row, and
    where nothing is held out.
    """
    lists = [list(read_lines(file, high=data.n_classes - 1)) for _, file, _ in train_lists(data)]
    root, images = Path(data.root), image_root(data)
    paths = [path for blocks in lists for block in blocks for path in block.path.to_pylist()]
    labels = np.concatenate([np.empty(0, np.int64), *(block.number for blocks in lists for block in blocks)])
    held = _held(images, paths, labels)
    ends = np.cumsum([sum(len(block.number) for block in blocks) for blocks in lists])
    own = np.split(held, ends[:-1])
    recover_folder(folder)
    with atomic_folder(folder, replace=True) as part:
        write_cut(data, [~one for one in own], part, {TRUTH, "val_list.txt", *_validation_folders(data)})
        lines = [chosen_lines(file, one) for (_, file, _), one in zip(train_lists(data), own, strict=True)]
        (part / "info" / VALIDATION).write_text("".join(lines), encoding="utf-8")
    return folder / images.relative_to(root), folder / "info" / VALIDATION


def _validation_folders(data: Data) -> set[str]:
    """The folder in the data's root that holds the validation images, if there is one of their own."""
    try:
        place, _ = validation_places(data)
    except InputError:  # without validation images settings can be chosen all the same
        return set()
    root = Path(data.root).resolve()
    inside = place is not None and root in Path(place).resolve().parents
    return {Path(place).resolve().relative_to(root).parts[0]} if place is not None and inside else set()


def _held(root: str | Path, paths: list[str], labels: np.ndarray) -> np.ndarray:
    """bool (n,): the rows held out, of every class with a readable image at least one. Raises InputError."""
    numbers, readable = byte_hashes(root, paths)
    held = chosen(numbers, readable, SHARE)
    least = np.full(labels.max(initial=-1) + 1, np.iinfo(np.uint64).max)
    np.minimum.at(least, labels[readable], numbers[readable])
    without = np.bincount(labels[held], minlength=len(least)) == 0
    held |= readable & np.isin(numbers, least[without])  # its copies under other labels as well
    _check(labels, held)
    return held


def _check(labels: np.ndarray, held: np.ndarray) -> None:
    if not held.any():
        raise InputError(f"search: none of the {len(held)} training rows is held out to choose by; more are needed")
    rows = np.bincount(labels)
    bare = np.flatnonzero((rows > 0) & (np.bincount(labels[~held], minlength=len(rows)) == 0))
    if len(bare):
        raise InputError(
            f"search: class {bare[0]} has {rows[bare[0]]} training rows, all held out to choose by; more are needed"
        )
