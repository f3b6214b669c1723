"""A share of a data set's training rows, as a folder of its own that takes the images from the whole one."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
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
    lists = train_lists(Data(root=str(root), n_classes=count_classes(root)))
    kept, first = _kept([file for _, file, _ in lists], share), {}
    for _, file, meta in lists:
        stays = [path.as_py() in kept for lines in read_lines(file) for path in lines.path]
        first[file.name] = chosen_lines(file, stays)
        if meta.is_file() and meta.read_bytes().strip():
            first[meta.name] = chosen_lines(meta, stays)
    recover_folder(folder)
    with atomic_folder(folder, replace=True) as part:
        (part / "info").mkdir()
        for name, text in first.items():
            (part / "info" / name).write_text(text, encoding="utf-8")
        for file in (root / "info").iterdir():
            if not file.name.startswith("train_"):
                shutil.copyfile(file, part / "info" / file.name)
        for item in root.iterdir():
            if item.name not in ("info", TRUTH):
                (part / item.name).symlink_to(item.resolve())
        if (root / TRUTH).is_file():
            stays = [path.as_py() in kept for lines in read_lines(root / TRUTH, low=-1) for path in lines.path]
            (part / TRUTH).write_text(chosen_lines(root / TRUTH, stays, low=-1), encoding="utf-8")
    return folder


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
