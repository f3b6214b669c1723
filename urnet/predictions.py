"""Level 1: predictions as lines on stdout and as rows of a CSV or JSON-lines file."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from urnet.checks import InputError
from urnet.files import whole_file

FORMATS = (".csv", ".jsonl")
COLUMNS = ("path", "classes", "scores", "names", "error")


def result_line(number: int, scores: np.ndarray, classes: np.ndarray) -> str:
    """The first release's line of one image: `Test-0-score: [0.93], class [42]`, lists of k, best first."""
    with np.printoptions(linewidth=1 << 20, threshold=1 << 20):
        return f"Test-{number}-score: {scores}, class {classes}"


def unreadable_line(number: int) -> str:
    """The line of an image that could not be read."""
    return f"Test-{number}-score: [nan], class []"


class PredictionFile:
    """Rows of path, classes, scores, names and error; ``open_predictions`` makes one.

    In JSON lines, classes, scores and names are lists. In CSV, classes and scores are parted by blanks and
    names by `; `. Scores have nine digits, which give the float32 back.
    """

    def __init__(self, stream: Any, suffix: str, class_names: Sequence[str]) -> None:
        self._stream, self._names = stream, class_names
        self._csv = csv.writer(stream, lineterminator="\n") if suffix == ".csv" else None
        if self._csv:
            self._csv.writerow(COLUMNS)

    def write(self, path: str, classes: Sequence[int], scores: Sequence[float], error: str = "") -> None:
        """One image: ``classes`` best first and their ``scores``; both empty with an ``error``."""
        names = [self._names[c] for c in classes] if self._names else []
        texts = [f"{score:.9g}" for score in scores]
        if self._csv:
            row = (path, " ".join(map(str, classes)), " ".join(texts), "; ".join(names), error)
            self._csv.writerow(row)
            return
        values = (path, list(map(int, classes)), list(map(float, texts)), names, error)
        self._stream.write(json.dumps(dict(zip(COLUMNS, values)), ensure_ascii=False) + "\n")


@contextlib.contextmanager
def open_predictions(
    path: Optional[Union[str, Path]], class_names: Sequence[str] = ()
) -> Iterator[Optional[PredictionFile]]:
    """Yield a PredictionFile for ``path`` (None: none); it appears whole when the block ends well.

    An existing file is replaced then, and only then. Raises InputError, at once, for a suffix that is not in
    FORMATS and for a place that cannot be written.
    """
    if path is None:
        yield None
        return
    path = Path(path)
    if path.suffix not in FORMATS:
        raise InputError(f"--output {path}: accepted are names that end in {' or '.join(FORMATS)}")
    with open_text(path, "--output") as stream:
        yield PredictionFile(stream, path.suffix, class_names)


@contextlib.contextmanager
def open_text(path: Path, flag: str) -> Iterator[Any]:
    """A UTF-8 text stream; the file appears, or is replaced, when the block ends well."""
    if path.is_dir():
        raise InputError(f"{flag} {path}: is a folder; a file's name is accepted")
    with whole_file(path, replace=True) as part, part.open("w", encoding="utf-8", newline="") as stream:
        yield stream
