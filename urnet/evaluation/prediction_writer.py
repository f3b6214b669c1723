"""Predictions as lines on stdout and as rows of a CSV, JSON-lines or Arrow file.

``urnet.evaluation.prediction_reader`` reads the files back.
"""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from urnet.core.atomic_files import atomic_file
from urnet.core.checks import InputError
from urnet.evaluation.prediction_names import join_names

FORMATS = (".csv", ".jsonl", ".arrow")
COLUMNS = ("path", "classes", "scores", "names", "error")
IN_CLASSES = "in_classes"  # the last column, where it is known
CLASS_COUNT, CLASS_NAMES = b"n_classes", b"class_names"  # keys of an Arrow file's metadata
ARROW_ROWS = 4096  # of a record batch: at 100 classes 3 MB, which is what a reader holds of a file


def result_line(number: int, scores: np.ndarray, classes: np.ndarray) -> str:
    """The 2018 release's line of one image: `Test-0-score: [0.93], class [42]`, lists of k, best first."""
    with np.printoptions(linewidth=1 << 20, threshold=1 << 20):
        return f"Test-{number}-score: {scores}, class {classes}"


def unreadable_line(number: int) -> str:
    """The line of an image that could not be read."""
    return f"Test-{number}-score: [nan], class []"


class PredictionFile:
    """Rows of path, classes, scores and error (text files: also names), and in_classes where the file was opened with
    them; ``open_predictions`` makes one."""

    def write_rows(
        self,
        paths: Any,
        classes: np.ndarray,
        scores: np.ndarray,
        errors: Sequence[str],
        in_classes: np.ndarray | None = None,
    ) -> None:
        """Many images: Arrow strings (B,), classes and scores (B, k), best first, ``in_classes`` (B,).

        A row with an error gets none of them.
        """
        raise NotImplementedError

    def write(
        self,
        path: str,
        classes: Sequence[int],
        scores: Sequence[float],
        error: str = "",
        in_classes: float | None = None,
    ) -> None:
        """One image: ``classes`` best first and their ``scores``; both empty with an ``error``."""
        import pyarrow as pa  # waits: `infer.py --help` needs none of it

        fits = None if in_classes is None else np.asarray([in_classes], np.float32)
        self.write_rows(pa.array([path], pa.string()), np.asarray([classes]), np.asarray([scores]), [error], fits)


class TextPredictions(PredictionFile):
    """In JSON lines, classes, scores and names are lists. In CSV, classes and scores are parted by blanks and
    names by `; ` (``urnet.evaluation.prediction_names``). Scores have nine digits, which give the float32 back.
    """

    def __init__(self, stream: Any, suffix: str, class_names: Sequence[str], in_classes: bool = False) -> None:
        self._stream, self._names, self._fits = stream, class_names, in_classes
        self._columns = (*COLUMNS, IN_CLASSES) if in_classes else COLUMNS
        self._csv = csv.writer(stream, lineterminator="\n") if suffix == ".csv" else None
        self._quoting = csv.writer(
            stream, lineterminator="\n", quoting=csv.QUOTE_ALL
        )  # a lone return is left bare else
        if self._csv:
            self._csv.writerow(self._columns)

    def write_rows(
        self,
        paths: Any,
        classes: np.ndarray,
        scores: np.ndarray,
        errors: Sequence[str],
        in_classes: np.ndarray | None = None,
    ) -> None:
        """As ``PredictionFile``: a line per image, at once."""
        fits = [None] * len(errors) if in_classes is None else in_classes.tolist()
        rows = zip(paths.to_pylist(), classes.tolist(), scores.tolist(), errors, fits, strict=True)
        for path, row, values, error, fit in rows:
            numbers, texts = ([], []) if error else (row, [f"{score:.9g}" for score in values])
            names = [self._names[c] for c in numbers] if self._names else []
            fit_text = "" if error or fit is None else f"{fit:.9g}"
            if self._csv:
                last = (fit_text,) if self._fits else ()
                row_cells = (path, " ".join(map(str, numbers)), " ".join(texts), join_names(names), error, *last)
                (self._quoting if any("\r" in cell for cell in row_cells) else self._csv).writerow(row_cells)
            else:
                cells = (path, numbers, list(map(float, texts)), names, error)
                entry = dict(zip(COLUMNS, cells, strict=True))
                if self._fits:
                    entry[IN_CLASSES] = float(fit_text) if fit_text else None
                self._stream.write(json.dumps(entry, ensure_ascii=False) + "\n")


def arrow_schema(n_classes: int | None = None, class_names: Sequence[str] = (), in_classes: bool = False) -> Any:
    """The columns of an Arrow file of predictions, and number and names of the classes, where they are known."""
    import pyarrow as pa

    lists = (("classes", pa.list_(pa.int32())), ("scores", pa.list_(pa.float32())))
    metadata = {} if n_classes is None else {CLASS_COUNT: str(n_classes)}
    if any(class_names):
        metadata[CLASS_NAMES] = json.dumps(list(class_names))
    last = [(IN_CLASSES, pa.float32())] if in_classes else []
    return pa.schema([("path", pa.string()), *lists, ("error", pa.string()), *last], metadata or None)


class ArrowPredictions(PredictionFile):
    """Record batches of ``arrow_schema`` (Arrow IPC file, uncompressed): 8 k bytes and the path per image.

    A row with an error has empty lists, and no in_classes. Class names are metadata. A batch is written once
    ``batch_rows`` wait.
    """

    def __init__(self, writer: Any, schema: Any, batch_rows: int = ARROW_ROWS) -> None:
        self._writer, self._schema, self._batch_rows = writer, schema, batch_rows
        self._waiting: list[tuple] = []  # paths, rows' lengths, classes and scores (flat), errors, in_classes
        self._fits = IN_CLASSES in schema.names
        self._rows = 0

    def write_rows(
        self,
        paths: Any,
        classes: np.ndarray,
        scores: np.ndarray,
        errors: Sequence[str],
        in_classes: np.ndarray | None = None,
    ) -> None:
        """As ``PredictionFile``: kept until ``batch_rows`` wait."""
        import pyarrow as pa

        good = np.array([not error for error in errors], bool)
        lengths = np.where(good, classes.shape[1], 0)
        numbers = classes[good].ravel().astype(np.int32), scores[good].ravel().astype(np.float32)
        fits = np.zeros(len(good), np.float32) if in_classes is None else in_classes.astype(np.float32)
        known = pa.array(fits, mask=~good | (in_classes is None))
        self._waiting.append((paths, lengths, *numbers, pa.array(errors, pa.string()), known))
        self._rows += len(paths)
        if self._rows >= self._batch_rows:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait."""
        import pyarrow as pa

        if self._rows:
            paths, lengths, classes, scores, errors, fits = zip(*self._waiting, strict=True)
            ends = np.cumsum(np.concatenate(lengths))
            offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
            lists = (pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(flat))) for flat in (classes, scores))
            columns = [pa.concat_arrays(paths), *lists, pa.concat_arrays(errors)]
            if self._fits:
                columns.append(pa.concat_arrays(fits))
            self._writer.write_batch(pa.record_batch(columns, schema=self._schema))
            self._waiting, self._rows = [], 0


@contextlib.contextmanager
def open_predictions(
    path: str | Path | None,
    class_names: Sequence[str] = (),
    flag: str = "--output",
    *,
    n_classes: int | None = None,
    in_classes: bool = False,
    excel: bool = False,
    batch_rows: int = ARROW_ROWS,
) -> Iterator[PredictionFile | None]:
    """Yield a PredictionFile for ``path`` (None: none); it appears whole when the block ends well.

    An existing file is replaced then, and only then. Raises InputError, at once, for a suffix that is not in
    FORMATS and for a place that cannot be written. ``in_classes``: with that column. ``excel``: as in ``open_text``,
    for CSV only. For Arrow files:
    ``n_classes`` that the predictions are of, which readers then know as they do the names, and ``batch_rows`` of a
    record batch.
    """
    if excel and (path is None or Path(path).suffix != ".csv"):
        raise InputError(f"--excel only affects a CSV file; it needs {flag} FILE.csv")
    if path is None:
        yield None
        return
    path = Path(path)
    if path.suffix not in FORMATS:
        raise InputError(f"{flag} {path}: names that end in {' or '.join(FORMATS)} are accepted")
    if path.suffix == ".arrow":
        with _open_arrow(path, flag, arrow_schema(n_classes, class_names, in_classes), batch_rows) as file:
            yield file
        return
    with open_text(path, flag, excel=excel) as stream:
        yield TextPredictions(stream, path.suffix, class_names, in_classes)


@contextlib.contextmanager
def _open_arrow(path: Path, flag: str, schema: Any, batch_rows: int) -> Iterator[ArrowPredictions]:
    _refuse_folder(path, flag)
    with contextlib.ExitStack() as stack:
        part = stack.enter_context(atomic_file(path, replace=True))
        import pyarrow as pa

        sink = stack.enter_context(pa.OSFile(str(part), "wb"))
        file = ArrowPredictions(stack.enter_context(pa.ipc.new_file(sink, schema)), schema, batch_rows)
        yield file
        file.flush()


@contextlib.contextmanager
def open_text(path: Path, flag: str, *, excel: bool = False) -> Iterator[Any]:
    """A UTF-8 text stream; the file appears, or is replaced, when the block ends well.

    ``excel``: it begins with a byte order mark, without which Excel takes it for a national encoding.
    """
    _refuse_folder(path, flag)
    encoding = "utf-8-sig" if excel else "utf-8"
    with atomic_file(path, replace=True) as part, part.open("w", encoding=encoding, newline="") as stream:
        yield stream


def _refuse_folder(path: Path, flag: str) -> None:
    if path.is_dir():
        raise InputError(f"{flag} {path}: is a folder; a file's name is accepted")
