"""The WebVision challenge's submission, lines `name c1 c2 c3 c4 c5`: written and checked.

The format is the challenge's: five different classes per image, best first, every test image once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from urnet.core.atomic_files import atomic_file
from urnet.core.checks import InputError
from urnet.data.lists.labelled_list import read_list
from urnet.evaluation.matching import canonical, match, repeated
from urnet.evaluation.prediction_reader import Predictions

WIDTH = 5
NAME = re.compile(r"\S+", re.ASCII)
LINE = re.compile(r"(\S+)((?: [0-9]{1,9}){5})", re.ASCII)


def read_test_list(file: str | Path) -> list[str]:
    """A test list's names; a label next to one is not used. InputError for two alike."""
    names = [name for lines in read_list(file, needed=False) for name in lines.path.to_pylist()]
    if not names:
        raise InputError(f"{file}: lists no image; a name per line is needed")
    if faults := repeated(pa.array(names), str(file)):
        raise InputError(f"{faults[0]}; every image has one line")
    return names


def write_submission(
    blocks: Iterable[Predictions],
    out: str | Path,
    wanted: Sequence[str] | None = None,
    list_name: str = "",
    root: str = "",
) -> int:
    """Write the five best classes of each image, whole or not at all; returns the number of lines.

    With ``wanted`` (``read_test_list``) in its order and with its names, whatever the order of the predictions, which
    must be of exactly these images (``urnet.evaluation.matching`` says when paths are alike, and what ``root`` is);
    else in theirs. Raises InputError for an image without a prediction, one that is predicted twice, missing or not
    wanted, a name that holds a blank, and fewer than five classes.
    """
    paths, classes, file = _rows(blocks, root)
    if wanted is None:
        if faults := repeated(paths, file):
            raise InputError(f"{file}: {faults[0]}; every image has one line")
        names, order = paths.to_pylist(), np.arange(len(paths))
    else:
        names, order = list(wanted), np.argsort(match(pa.array(wanted), paths, list_name, file, root))
    with atomic_file(Path(out), replace=True) as part, part.open("w", encoding="utf-8", newline="") as stream:
        stream.writelines(f"{name} {classes[row]}\n" for name, row in zip(names, order.tolist(), strict=True))
    return len(names)


def _rows(blocks: Iterable[Predictions], root: str) -> tuple[Any, list[str], str]:
    """Each image's path (Arrow strings, without ``root``) and five classes, and the file's name."""
    paths: list[Any] = []
    classes: list[str] = []
    file = ""
    for block in blocks:
        file = block.file
        block.check_width(WIDTH, "a line")
        path = canonical(block.path, root) if root else block.path
        for row, (name, readable) in enumerate(zip(path.to_pylist(), block.readable.tolist(), strict=True)):
            if not (readable and NAME.fullmatch(name)):
                what = "a name without blanks is needed" if readable else "has no prediction"
                raise InputError(
                    f"{file}: row {block.first + row + 1} ({name}): {what}; every image needs five classes"
                )
        paths.append(path)
        classes.extend(" ".join(map(str, best)) for best in block.classes[:, :WIDTH].tolist())
    return pa.concat_arrays(paths), classes, file


def check_submission(file: str | Path, wanted: Sequence[str], list_name: str, n_classes: int) -> int:
    """Check a submission against a test list's names; returns the number of lines.

    Raises InputError for the first line that is wrong: not a name and five whole numbers parted by single
    blanks, a class outside 0..n_classes-1 or given twice, a name that is not listed or has had its line; then
    for the first listed name without a line. The order of the lines is free.
    """
    missing, listed = dict.fromkeys(wanted), set(wanted)
    lines = _read_lines(Path(file))
    for number, line in enumerate(lines, 1):
        form = LINE.fullmatch(line)
        name, classes = (form[1], [int(word) for word in form[2].split()]) if form else ("", [])
        if form is None:
            fault = "a name and five class numbers, separated by single blanks, are accepted"
        elif max(classes) >= n_classes:
            fault = f"a class is outside 0..{n_classes - 1}"
        elif len(set(classes)) < WIDTH:
            fault = "a class is given twice"
        elif name not in listed:
            fault = f"the name is not in {list_name}"
        elif name not in missing:
            fault = "the name has a line already"
        else:
            del missing[name]
            continue
        raise InputError(f"{file}:{number}: found {line[:100]!r}: {fault}")
    if missing:
        name = next(iter(missing))
        raise InputError(
            f"{file}: has no line for {name!r} (image {wanted.index(name) + 1} of {list_name}); it has "
            f"{len(lines)} lines for {len(wanted)} images"
        )
    return len(lines)


def _read_lines(file: Path) -> list[str]:
    """A text file's lines, without their newlines."""
    try:
        text = file.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        raise InputError(f"{file}:{line}: is not UTF-8 text") from None
    if text.startswith("\ufeff"):
        raise InputError(
            f"{file}:1: begins with a byte order mark, which would become part of a name; save it without one"
        )
    if not text:
        raise InputError(f"{file}: is empty; lines `name c1 c2 c3 c4 c5` are needed")
    return text.removesuffix("\n").split("\n")
