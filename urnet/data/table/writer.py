"""``base.arrow``, the table's first file: its columns, and the writer that streams rows into it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from urnet.core.atomic_files import atomic_file, recover_folder
from urnet.core.checks import check_same_rows

BLOCK = 65_536  # rows of one record batch of base.arrow
SOURCES = ("local", "google", "flickr")  # the codes of column `source`: 0, 1, 2
BASE_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.int32()),
        ("source", pa.dictionary(pa.int8(), pa.string())),
        ("query", pa.int32()),
        ("rank", pa.int32()),
        ("text", pa.string()),
    ]
)
# where a person decided about rows: 0 not, 1 the label is certain, 2 it shows none of the classes; and the label before
DECIDED_SCHEMA = BASE_SCHEMA.append(pa.field("decided", pa.int8())).append(pa.field("given", pa.int32()))
LAYOUT = "1"  # written into every file; another number is another layout


class BaseWriter:
    """Writes base.arrow in record batches of ``BLOCK`` rows; memory is bounded by what one ``add`` brings.

    A context manager: leaving it normally puts the file in place, leaving it by an exception leaves nothing.
    ``hash`` holds the table's identity afterwards.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        root: str | Path,
        format: str,
        class_names: Sequence[str],
        replace: bool = False,
        texts: bool = True,
        decided: bool = False,
        **metadata: str,
    ) -> None:
        """``texts`` False: paths and texts count in the hash but are written as ""; ``decided``: DECIDED_SCHEMA."""
        self._path = Path(folder) / "base.arrow"
        described = {"urnet_table": LAYOUT, "format": format, "n_classes": str(len(class_names)), **metadata}
        described["root"] = str(Path(root).absolute())
        described["class_names"] = json.dumps(list(class_names), ensure_ascii=False)
        self._schema = (DECIDED_SCHEMA if decided else BASE_SCHEMA).with_metadata(described)
        self._decided = decided
        self._replace, self._texts = replace, texts
        self._stack = contextlib.ExitStack()
        self._pieces: list[Any] = []
        self._waiting, self.n_rows = 0, 0
        self._digest = hashlib.sha256()
        self.hash = ""

    def __enter__(self) -> BaseWriter:
        recover_folder(self._path)  # what a killed writer left
        temporary = self._stack.enter_context(atomic_file(self._path, replace=self._replace))
        sink = self._stack.enter_context(pa.OSFile(str(temporary), "wb"))
        self._writer = self._stack.enter_context(pa.ipc.new_file(sink, self._schema))
        return self

    def add(
        self,
        path: Any,
        label: np.ndarray,
        *,
        source: str = "local",
        query: np.ndarray | int = -1,
        rank: np.ndarray | int = -1,
        text: Any = None,
        decided: np.ndarray | int = 0,
        given: np.ndarray | None = None,
    ) -> None:
        """Append n rows of one source; ``path`` and ``text`` are Arrow string arrays or lists of str.

        ``query``, ``rank`` and ``decided`` may be one number for all; ``text=None`` means "" everywhere, ``given=None``
        the labels. The last two are not written unless the writer has ``decided``.
        """
        n = len(label)
        if text is None:
            text = _empty(n)
        check_same_rows(label=label, path=path, text=text)
        batch = self._batch(path, label, source, query, rank, text, (decided, label if given is None else given))
        self.n_rows += n
        start = 0
        while start < n:
            piece = batch.slice(start, BLOCK - self._waiting)
            self._pieces.append(piece)
            self._waiting += len(piece)
            start += len(piece)
            if self._waiting == BLOCK:
                self._flush()

    def _batch(
        self, path: Any, label: Any, source: str, query: Any, rank: Any, text: Any, decided: tuple[Any, Any]
    ) -> Any:
        n = len(label)
        codes = pa.array(np.full(n, SOURCES.index(source), np.int8))
        columns = [
            pa.array(path, pa.string()),
            pa.array(np.asarray(label, np.int32)),
            pa.DictionaryArray.from_arrays(codes, pa.array(SOURCES)),
            pa.array(_filled(query, n)),
            pa.array(_filled(rank, n)),
            pa.array(text, pa.string()),
        ]
        if self._decided:
            columns.append(pa.array(_filled(decided[0], n).astype(np.int8)))
            columns.append(pa.array(np.asarray(decided[1], np.int32)))
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _flush(self) -> None:
        """Hash and write the waiting rows as one record batch."""
        if not self._waiting:
            return
        columns = [
            pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)
            for pieces in ([piece.column(i) for piece in self._pieces] for i in range(len(self._schema)))
        ]
        for column in columns:
            for part in contents(column):
                self._digest.update(part)
        if not self._texts:
            columns = [_empty(len(c)) if pa.types.is_string(c.type) else c for c in columns]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        self._pieces, self._waiting = [], 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
                self.hash = self._digest.hexdigest()
                empty = self._batch([], [], SOURCES[0], -1, -1, [], (0, []))
                # The hash is known only at the end: it goes with a last batch without rows.
                self._writer.write_batch(empty, custom_metadata={"base_hash": self.hash})
        except BaseException as failure:
            if not self._stack.__exit__(type(failure), failure, failure.__traceback__):
                raise
        else:
            self._stack.__exit__(kind, error, trace)


def _empty(n: int) -> Any:
    """n empty strings."""
    return pa.array([""]).take(pa.array(np.zeros(n, np.int64)))


def _filled(values: np.ndarray | int, n: int) -> np.ndarray:
    """``values`` as int32, one number repeated n times."""
    return np.full(n, values, np.int32) if isinstance(values, int) else np.asarray(values, np.int32)


def numbers(chunk: Any) -> np.ndarray:
    """A chunk's values without a copy; fixed-size lists as rows."""
    if pa.types.is_dictionary(chunk.type):
        chunk = chunk.indices
    if pa.types.is_fixed_size_list(chunk.type):
        return np.from_dlpack(chunk.flatten()).reshape(len(chunk), chunk.type.list_size)
    return np.from_dlpack(chunk)  # `to_numpy` would import pandas, in every process that reads a column


def contents(column: Any) -> Iterator[Any]:
    """The bytes that say what a column holds, whatever buffers it shares with others."""
    if pa.types.is_string(column.type):
        _, offsets, data = column.buffers()
        ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
        yield (ends - ends[0]).astype("<i4").tobytes()
        if data is not None:
            yield memoryview(data)[ends[0] : ends[-1]]
    else:
        values = numbers(column)
        yield values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
