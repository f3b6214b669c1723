"""The WebVision challenge's submission, lines `name c1 c2 c3 c4 c5`: written and checked.

The format is the challenge's: five different classes an image, best first, every test image once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from urnet.core.atomic_files import atomic_file
from urnet.core.checks import InputError
from urnet.data.lists.labelled_list import read_list
from urnet.evaluation.prediction_reader import Predictions

WIDTH = 5
NAME = re.compile(r"\S+", re.ASCII)
LINE = re.compile(r"(\S+)((?: [0-9]{1,9}){5})", re.ASCII)


def read_test_list(file: str | Path) -> list[str]:
    """A test list's names; a label beside one is not used. InputError for two alike."""
    names = [name for lines in read_list(file, needed=False) for name in lines.path.to_pylist()]
    if not names:
        raise InputError(f"{file}: lists no image; a name a line is needed")
    known: set[str] = set()
    for name in names:
        if name in known:
            raise InputError(f"{file}: {name!r} is listed twice")
        known.add(name)
    return names


def write_submission(
    blocks: Iterable[Predictions], out: str | Path, wanted: Sequence[str] | None = None, list_name: str = ""
) -> int:
    """Write the five best classes of each image, whole or not at all; returns the number of lines.

    With ``wanted`` (``read_test_list``) in its order, whatever the order of the predictions, which must be of
    exactly these images; else in theirs. Raises InputError for an image without a prediction, one that is
    predicted twice, missing or not wanted, a name that holds a blank, and fewer than five classes.
    """
    lines, file = _lines(blocks)
    if wanted is not None:
        for row, name in enumerate(wanted, 1):
            if name not in lines:
                raise InputError(f"{file}: has no prediction of {name!r} (image {row} of {list_name})")
        if len(lines) > len(wanted):
            known = set(wanted)
            stray = next(name for name in lines if name not in known)
            raise InputError(f"{file}: {stray!r} is not in {list_name}")
    with atomic_file(Path(out), replace=True) as part, part.open("w", encoding="utf-8", newline="") as stream:
        stream.writelines(lines[name] for name in (lines if wanted is None else wanted))
    return len(lines)


def _lines(blocks: Iterable[Predictions]) -> tuple[dict[str, str], str]:
    """Each image's line, by its name, and the file's name."""
    lines: dict[str, str] = {}
    file = ""
    for block in blocks:
        file = block.file
        block.check_width(WIDTH, "a line")
        best = block.classes[:, :WIDTH].tolist()
        rows = zip(block.path.to_pylist(), block.readable.tolist(), best, strict=True)
        for row, (name, readable, classes) in enumerate(rows, block.first + 1):
            if not (readable and NAME.fullmatch(name)):
                what = "a name without blanks is needed" if readable else "has no prediction"
                raise InputError(f"{file}: row {row} ({name}): {what}; every image needs five classes")
            if name in lines:
                raise InputError(f"{file}: {name!r} is predicted twice")
            lines[name] = f"{name} {' '.join(map(str, classes))}\n"
    return lines, file


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
            fault = "a name and five class numbers, parted by single blanks, are accepted"
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
    if not text:
        raise InputError(f"{file}: is empty; lines `name c1 c2 c3 c4 c5` are needed")
    return text.removesuffix("\n").split("\n")
