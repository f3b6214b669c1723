"""A part of the noisy training rows, held out for choosing settings: a data folder in which they are the validation.

The folder links to the images and metadata of the one it is cut from, and has lists of its own. The validation images
and truth_train.txt of that one are not in it, so nothing that trains there can see them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tools.ablation.rows import TRUTH
from urnet.config.recipe import Data
from urnet.core.atomic_files import atomic_folder, recover_folder
from urnet.core.checks import InputError
from urnet.data.lists.held_back import held_back
from urnet.data.lists.lines import Lines, read_lines, read_text
from urnet.data.lists.validation import validation_places
from urnet.data.lists.webvision import image_root, train_lists

SHARE = 0.15  # of the training rows
VALIDATION = "val_filelist.txt"  # in info/


def write_held_out(data: Data, folder: Path) -> tuple[Path, Path]:
    """Write ``folder`` of the training rows of ``data`` (WebVision's layout); returns its validation root and list.

    About ``SHARE`` of the images, chosen by a hash of their bytes, are held out: copies of one are on one side. Their
    labels are those given. A folder that is there is written anew. Raises InputError as ``read_lines``, where a class
    would be left without a training row, and where nothing is held out.
    """
    lists = [list(read_lines(file, high=data.n_classes - 1)) for _, file, _ in train_lists(data)]
    root, images = Path(data.root), image_root(data)
    paths = [path for blocks in lists for lines in blocks for path in lines.path.to_pylist()]
    held = held_back(images, paths, SHARE)
    _check(np.concatenate([np.empty(0, np.int64), *(lines.number for blocks in lists for lines in blocks)]), held)
    left_out = {"info", TRUTH, "val_list.txt", *_validation_folders(data)}
    recover_folder(folder)
    with atomic_folder(folder, replace=True) as part:
        info = part / "info"
        info.mkdir()
        _copy_info(root / "info", info)
        lines: list[str] = []
        begin = 0
        for (_, file, meta), blocks in zip(train_lists(data), lists, strict=True):
            numbers = _numbers(blocks)
            own = held[begin : begin + len(numbers)]
            begin += len(numbers)
            (info / file.name).write_text("".join(_chosen(file, numbers, ~own)), encoding="utf-8")
            lines += _chosen(file, numbers, own)
            if meta.is_file() and meta.read_bytes().strip():
                entries = _numbers(read_lines(meta, what="row"))
                if len(entries) != len(numbers):
                    raise InputError(
                        f"{meta}: has {len(entries)} lines, {file.name} {len(numbers)}; as many are needed"
                    )
                (info / meta.name).write_text("".join(_chosen(meta, entries, ~own)), encoding="utf-8")
        (info / VALIDATION).write_text("".join(lines), encoding="utf-8")
        for item in root.iterdir():
            if item.name not in left_out:
                (part / item.name).symlink_to(item.resolve())
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


def _check(labels: np.ndarray, held: np.ndarray) -> None:
    if not held.any():
        raise InputError(f"search: none of the {len(held)} training rows is held out to choose by; more are needed")
    rows = np.bincount(labels)
    bare = np.flatnonzero((rows > 0) & (np.bincount(labels[~held], minlength=len(rows)) == 0))
    if len(bare):
        raise InputError(
            f"search: class {bare[0]} has {rows[bare[0]]} training rows, all held out to choose by; more are needed"
        )


def _copy_info(source: Path, place: Path) -> None:
    """All of info/ but the lists of training rows and of the validation; folders as links."""
    for item in source.iterdir():
        if item.is_dir():
            (place / item.name).symlink_to(item.resolve())
        elif not item.name.startswith("train_") and item.name != VALIDATION:
            shutil.copyfile(item, place / item.name)


def _numbers(blocks: Iterable[Lines]) -> np.ndarray:
    """The numbers (from 1) of the lines that are rows, int64."""
    return np.concatenate([np.empty(0, np.int64), *(np.asarray(lines.line, np.int64) for lines in blocks)])


def _chosen(file: Path, numbers: np.ndarray, stays: np.ndarray) -> list[str]:
    lines = read_text(file, "a list is needed").splitlines()
    return [f"{lines[number - 1]}\n" for number in numbers[stays].tolist()]
