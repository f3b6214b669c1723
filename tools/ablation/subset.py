"""A share of a data set's training rows, as a folder of its own that takes the images from the whole one."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa

from tools.ablation.rows import TRUTH, count_classes
from urnet.config.recipe import Data
from urnet.core.atomic_files import atomic_folder, recover_folder
from urnet.core.checks import InputError
from urnet.data.lists.lines import read_lines, read_text
from urnet.data.lists.webvision import train_lists


def write_subset(root: Path, share: Fraction, folder: Path) -> Path:
    """Write WebVision lists with a ``share`` of each class's training rows; returns ``folder``.

    Of a class of n rows ceil(share n) stay, those whose paths' hashes are smallest: the same at every call, a smaller
    share inside a larger one. Metadata and truth_train.txt follow; everything else is a link to what ``root`` has.
    A folder that is there is written anew. Raises InputError as ``read_lines``, and for metadata that does not go line
    for line with its list.
    """
    data = Data(root=str(root), n_classes=count_classes(root))
    kept = _kept([file for _, file, _ in train_lists(data)], share)

    def stays(file: Path, low: int = 0) -> list[bool]:
        return [path.as_py() in kept for lines in read_lines(file, low=low) for path in lines.path]

    recover_folder(folder)
    with atomic_folder(folder, replace=True) as part:
        write_cut(data, [stays(file) for _, file, _ in train_lists(data)], part, left_out=[TRUTH])
        if (root / TRUTH).is_file():
            (part / TRUTH).write_text(chosen_lines(root / TRUTH, stays(root / TRUTH, -1), low=-1), encoding="utf-8")
    return folder


def write_cut(
    data: Data, stays: Sequence[Sequence[bool] | np.ndarray], folder: Path, left_out: Collection[str] = ()
) -> None:
    """Fill ``folder`` with what ``data`` has, but of its training lists, and their metadata's, only lines that stay.

    ``stays``: for each list whether each of its lines does. Everything of the root but info/ and what is ``left_out``
    is a link; of info/ too, folders are links.
    """
    root, info = Path(data.root), folder / "info"
    info.mkdir()
    for item in (root / "info").iterdir():
        if item.is_dir():
            (info / item.name).symlink_to(item.resolve())
        elif not item.name.startswith("train_"):
            shutil.copyfile(item, info / item.name)
    for (_, file, meta), own in zip(train_lists(data), stays, strict=True):
        (info / file.name).write_text(chosen_lines(file, own), encoding="utf-8")
        if meta.is_file() and meta.read_bytes().strip():
            (info / meta.name).write_text(chosen_lines(meta, own), encoding="utf-8")
    for item in root.iterdir():
        if item.name != "info" and item.name not in left_out:
            (folder / item.name).symlink_to(item.resolve())


def _kept(files: list[Path], share: Fraction) -> set[str]:
    """The paths that stay."""
    blocks = [lines for file in files for lines in read_lines(file)]
    paths = pa.chunked_array([lines.path for lines in blocks], pa.string()).to_pylist()
    labels = np.concatenate([np.empty(0, np.int64), *(lines.number for lines in blocks)])
    hashes = np.array([hashlib.sha256(path.encode()).hexdigest() for path in paths])
    kept: set[str] = set()
    for label in np.unique(labels):
        of = np.flatnonzero(labels == label)
        kept.update(paths[row] for row in of[np.argsort(hashes[of])][: -(-len(of) * share // 1)])
    return kept


def chosen_lines(file: Path, stays: Sequence[bool] | np.ndarray, low: int = 0) -> str:
    """The lines of a list, comments and empty ones left out, for which ``stays`` says so."""
    numbers = [int(number) for lines in read_lines(file, low=low) for number in lines.line]
    if len(numbers) != len(stays):
        raise InputError(f"{file}: has {len(numbers)} lines, its list of files {len(stays)}; as many are needed")
    lines = read_text(file, "a list is needed").split("\n")  # names may hold other breaks
    return "".join(f"{lines[number - 1]}\n" for number, stay in zip(numbers, stays, strict=True) if stay)
