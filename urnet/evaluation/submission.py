"""The WebVision challenge's submission, lines `name c1 c2 c3 c4 c5`: written and checked.

The format is the challenge's: five different classes an image, best first, every test image once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.core.atomic_files import atomic_file
from urnet.core.checks import InputError
from urnet.data.lists.lines import read_lines
from urnet.evaluation.prediction_reader import Predictions

WIDTH = 5
BLOCK = 1 << 16  # lines written at once


def read_test_list(file: str | Path) -> Any:
    """A test list's names (Arrow strings); a label beside one is not used. InputError for two alike."""
    names = pa.chunked_array([lines.path for lines in read_lines(file, needed=False)], pa.string())
    names = pa.concat_arrays(names.chunks) if names.num_chunks else pa.array([], pa.string())
    if not len(names):
        raise InputError(f"{file}: lists no image; a name a line is needed")
    if (twice := _repeated(names)).any():
        raise InputError(f"{file}: {names[int(np.argmax(twice))].as_py()!r} is listed twice")
    return names


def write_submission(
    blocks: Iterable[Predictions], out: str | Path, wanted: Any | None = None, list_name: str = ""
) -> int:
    """Write the five best classes of each image, whole or not at all; returns the number of lines.

    With ``wanted`` (``read_test_list``) in its order, whatever the order of the predictions, which must be of
    exactly these images; else in theirs. 20 bytes and the name an image are held. Raises InputError for an
    image without a prediction, one that is predicted twice, missing or not wanted, a name that holds a blank,
    and fewer than five classes.
    """
    names, classes, file = _collect(blocks)
    if (twice := _repeated(names)).any():
        raise InputError(f"{file}: {names[int(np.argmax(twice))].as_py()!r} is predicted twice")
    if wanted is not None:
        place = _places(names, wanted)
        if (place < 0).any():
            row = int(np.argmax(place < 0))
            raise InputError(f"{file}: has no prediction of {wanted[row].as_py()!r} (image {row + 1} of {list_name})")
        if len(names) > len(wanted):
            stray = _places(wanted, names) < 0
            raise InputError(f"{file}: {names[int(np.argmax(stray))].as_py()!r} is not in {list_name}")
        names, classes = wanted, classes[place]
    with atomic_file(Path(out), replace=True) as part, part.open("w", encoding="utf-8", newline="") as stream:
        stream.writelines(_lines(names, classes))
    return len(names)


def check_submission(file: str | Path, wanted: Any, list_name: str, n_classes: int) -> int:
    """Check a submission against a test list's names; returns the number of lines.

    Raises InputError for the first line that is wrong: not a name and five whole numbers parted by single
    blanks, a class outside 0..n_classes-1 or given twice, a name that is not listed or has had its line; then
    for the first listed name without a line. The order of the lines is free.
    """
    lines = _text_lines(Path(file))
    formed = pc.match_substring_regex(lines, r"^\S+( [0-9]{1,9}){5}$")
    end = pc.index(formed, False).as_py()
    names, classes = _cells(lines if end < 0 else lines[:end])
    place = _places(wanted, names)
    tests = (
        ((classes >= n_classes).any(axis=1), f"a class is outside 0..{n_classes - 1}"),
        ((np.diff(np.sort(classes, axis=1), axis=1) == 0).any(axis=1), "a class is given twice"),
        (place < 0, f"the name is not in {list_name}"),
        (_repeated(names), "the name has a line already"),
    )
    faults = [(int(np.argmax(mask)), what) for mask, what in tests if mask.any()]
    if end >= 0:
        faults.append((end, "a name and five class numbers, parted by single blanks, are accepted"))
    if faults:
        row, what = min(faults, key=lambda fault: fault[0])
        raise InputError(f"{file}:{row + 1}: found {lines[row].as_py()[:100]!r}: {what}")
    if len(names) < len(wanted):
        row = int(np.argmin(np.bincount(place, minlength=len(wanted))))
        raise InputError(
            f"{file}: has no line for {wanted[row].as_py()!r} (image {row + 1} of {list_name}); it has "
            f"{len(names)} lines for {len(wanted)} images"
        )
    return len(names)


def _collect(blocks: Iterable[Predictions]) -> tuple[Any, np.ndarray, str]:
    """Names, the five best classes (n, 5) int32, and the file's name."""
    names, classes, file = [], [], ""
    for block in blocks:
        file = block.file
        block.check_width(WIDTH, "a line")
        blank = np.asarray(pc.match_substring_regex(block.path, r"\s|^$").to_numpy(zero_copy_only=False), bool)
        for odd, what in ((~block.readable, "has no prediction"), (blank, "a name without blanks is needed")):
            if odd.any():
                row = int(np.argmax(odd))
                where = f"{file}: row {block.first + row + 1} ({block.path[row].as_py()})"
                raise InputError(f"{where}: {what}; every image needs five classes")
        names.append(block.path)
        classes.append(block.classes[:, :WIDTH].copy())
    return pa.concat_arrays(names), np.concatenate(classes), file


def _lines(names: Any, classes: np.ndarray) -> Iterator[str]:
    """The text, in blocks of lines."""
    for start in range(0, len(names), BLOCK):
        texts = [pa.array(column).cast(pa.string()) for column in classes[start : start + BLOCK].T]
        joined = pc.binary_join_element_wise(names[start : start + BLOCK], *texts, " ")
        yield "\n".join(joined.to_pylist()) + "\n"


def _text_lines(file: Path) -> Any:
    """A text file's lines as Arrow strings, without their newlines."""
    try:
        text = file.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        raise InputError(f"{file}:{line}: is not UTF-8 text") from None
    if not text:
        raise InputError(f"{file}: is empty; lines `name c1 c2 c3 c4 c5` are needed")
    whole = pa.array([text[:-1] if text.endswith("\n") else text], pa.large_string())
    return pc.split_pattern(whole, "\n").flatten()


def _cells(lines: Any) -> tuple[Any, np.ndarray]:
    """Names, and classes (n, 5) int64, of lines that are well formed."""
    words = pc.split_pattern(lines, " ").flatten()
    numbers = np.arange(len(words)) % (1 + WIDTH) > 0
    names = words.filter(pa.array(~numbers)).cast(pa.string())
    classes = words.filter(pa.array(numbers)).cast(pa.int64()).to_numpy(zero_copy_only=False)
    return names, classes.reshape(-1, WIDTH)


def _repeated(names: Any) -> np.ndarray:
    """Which names (n,) bool have stood before."""
    codes = names.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    first = np.zeros(len(codes), bool)
    first[np.unique(codes, return_index=True)[1]] = True
    return ~first


def _places(known: Any, names: Any) -> np.ndarray:
    """Where each of ``names`` stands among ``known``, (n,) int64; -1 where it does not."""
    return pc.fill_null(pc.index_in(names, value_set=known), -1).to_numpy(zero_copy_only=False).astype(np.int64)
