"""The table, a folder of Arrow files opened memory-mapped. Row number is identity.

``base.arrow`` holds what the lists say; every stage writes one file of its own columns next to it. Files are
uncompressed Arrow IPC (Feather version 2), so that opening costs nothing and all processes of a machine share
one copy. ``docs/data.md`` lists files and columns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from urnet.core.atomic_files import atomic_file, recover_folder
from urnet.core.checks import InputError, check_same_rows, nearest
from urnet.data.table.writer import BASE_SCHEMA, BLOCK, DECIDED_SCHEMA, LAYOUT, SOURCES, BaseWriter, numbers

__all__ = ["BLOCK", "SOURCES", "BaseWriter", "Table"]


class Table:
    """All training rows and every column measured on them so far.

    ``n_rows``; ``base_hash``, 64 hexadecimal digits that depend on the rows and their order alone;
    ``metadata`` of base.arrow (root, format, n_classes …); ``class_names``, "" where unknown. A Table can be
    pickled: the other process opens the folder again and shares the mapped memory.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.refresh()

    @classmethod
    def open(cls, folder: str | Path) -> Table:
        """Open a table's folder. Raises InputError where a file is missing, broken or of another base."""
        return cls(folder)

    def refresh(self) -> None:
        """Read the folder's files, also what another process has written since."""
        base, self.metadata = _read(self.folder / "base.arrow")
        known = base.schema.remove_metadata() in (BASE_SCHEMA, DECIDED_SCHEMA)
        if not known or "base_hash" not in self.metadata:
            raise InputError(f"{self.folder / 'base.arrow'}: its columns are not a base table's")
        self.n_rows: int = base.num_rows
        self.base_hash = self.metadata.pop("base_hash")
        self.class_names: list[str] = json.loads(self.metadata.pop("class_names"))
        self._where = dict.fromkeys(base.column_names, (base, "base"))
        self._described: dict[str, dict[str, str]] = {}
        for path in sorted(self.folder.glob("*.arrow")):
            if path.name != "base.arrow" and not path.name.startswith("."):
                self._join(path)

    def _join(self, path: Path) -> None:
        """Take in one column file."""
        table, described = _read(path)
        if described.get("base_hash") != self.base_hash:
            raise InputError(
                f"{path}: belongs to base {described.get('base_hash', 'unknown')[:16]}, but "
                f"{self.folder / 'base.arrow'} is base {self.base_hash[:16]}; remove or move the older one"
            )
        check_same_rows(**{str(self.folder / "base.arrow"): range(self.n_rows), str(path): table})
        for name in table.column_names:
            self._check_free(name, path.stem)
            self._where[name] = (table, path.stem)
        self._described[path.stem] = described

    def _check_free(self, name: str, file: str) -> None:
        owner = self._where.get(name, (None, file))[1]
        if owner != file:
            raise InputError(
                f"{self.folder / file}.arrow: column {name} is already in {owner}.arrow; a column may be in one "
                "file only"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns, those of base.arrow first."""
        return tuple(self._where)

    def file_of(self, name: str) -> str:
        """The file, such as ``class``, that holds a column."""
        self._chunks(name)
        return self._where[name][1]

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the column files, such as ``class.arrow``."""
        return tuple(f"{name}.arrow" for name in self._described)

    @property
    def root(self) -> Path:
        """What column ``path`` is relative to."""
        return Path(self.metadata["root"])

    def _chunks(self, name: str) -> Any:
        if name not in self._where:
            raise InputError(f"{self.folder}: no column {name!r}; nearest: {nearest(name, self._where)}")
        return self._where[name][0].column(name)

    def column(self, name: str) -> np.ndarray:
        """A numeric column: (N,), or (N, k) for a column of k values per row; read-only.

        Stage columns are views of the mapped file; base.arrow's are one copy of 4 bytes per row. ``source``
        comes as int8 codes into ``SOURCES``. Raises InputError for an unknown or a text column.
        """
        chunks = self._chunks(name)
        if pa.types.is_string(chunks.type):
            raise InputError(f"{self.folder}: column {name!r} holds text; read it with strings(name, rows)")
        parts = [numbers(chunk) for chunk in chunks.chunks]
        values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        values.flags.writeable = False
        return values

    @property
    def decided(self) -> np.ndarray | None:
        """(N,) int8, what a person decided about each row: 0 nothing, 1 its label is certain, 2 it shows none of the
        classes. None where nothing was decided: ``data.decisions``."""
        return self.column("decided") if self._where.get("decided", (None, ""))[1] == "base" else None

    def texts(self, name: str) -> Any:
        """A whole text column as Arrow strings, mapped: for work on all rows at once."""
        return self._chunks(name)

    def strings(self, name: str, rows: np.ndarray | Sequence[int]) -> list[str]:
        """The values of a text column (``path``, ``text``, ``source``) in the asked rows, in their order."""
        chunks, rows = self._chunks(name), np.atleast_1d(np.asarray(rows, np.int64))
        if not (pa.types.is_string(chunks.type) or pa.types.is_dictionary(chunks.type)):
            raise InputError(f"{self.folder}: column {name!r} holds numbers; read it with column(name)")
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.n_rows:
            raise IndexError(f"rows {rows.min()}..{rows.max()} asked of a table of {self.n_rows} rows")
        found: list[str] = [""] * len(rows)
        blocks = rows // BLOCK  # every chunk but the last has BLOCK rows
        order = np.argsort(blocks, kind="stable")
        edges = np.flatnonzero(np.diff(blocks[order])) + 1
        for group in np.split(order, edges):
            if len(group):
                block = int(blocks[group[0]])
                values = chunks.chunk(block).take(pa.array(rows[group] - block * BLOCK)).to_pylist()
                for place, value in zip(group.tolist(), values, strict=True):
                    found[place] = value
        return found

    def paths(self, rows: np.ndarray | Sequence[int]) -> list[str]:
        """Absolute paths of the asked rows' images."""
        root = str(self.root).rstrip("/")
        return [f"{root}/{path}" for path in self.strings("path", rows)]

    def path(self, row: int) -> str:
        """Absolute path of one row's image; for loaders, which ask row by row (20 times as fast as paths)."""
        block, place = divmod(row, BLOCK)  # every chunk but the last has BLOCK rows
        return f"{self.metadata['root'].rstrip('/')}/{self._chunks('path').chunk(block)[place].as_py()}"

    def write(
        self,
        file: str,
        columns: dict[str, np.ndarray],
        *,
        stage: str,
        recipe_hash: str,
        checkpoint: str,
        replace: bool = False,
        passes: int | None = None,
    ) -> None:
        """Write FILE.arrow next to base.arrow, whole or not at all, and take its columns into this Table.

        Each array is (N,) or (N, k), of integers or floats. ``passes``: how many images passed a network for them, None
        where that is not known. Raises InputError when the file exists and
        ``replace`` is false, when a column has another row count, or when another file has the column.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", file) or file == "base":
            raise InputError(f"table file {file!r}: a word such as class or cluster is accepted, not base")
        for name, values in columns.items():
            check_same_rows(**{f"table {self.folder}": range(self.n_rows), f"column {name}": values})
            self._check_free(name, file)
        path = self.folder / f"{file}.arrow"
        described = {"stage": stage, "recipe_hash": recipe_hash, "checkpoint": checkpoint}
        if passes is not None:
            described["passes"] = str(passes)
        table = pa.table({name: _arrow(values, name) for name, values in columns.items()})
        table = table.replace_schema_metadata({"urnet_table": LAYOUT, "base_hash": self.base_hash, **described})
        recover_folder(path)  # what a killed writer left
        with atomic_file(path, replace=replace) as temporary:
            _write_one_batch(temporary, table)
        self._where = {name: held for name, held in self._where.items() if held[1] != file}
        self._join(path)

    def describe(self, file: str) -> dict[str, str]:
        """What is recorded of a column file: stage, recipe_hash, checkpoint, base_hash, and passes where they were
        counted."""
        if file not in self._described:
            known = ", ".join(self._described) or "none yet"
            raise InputError(f"{self.folder}: no column file {file!r}; it has: {known}")
        return dict(self._described[file])

    def __reduce__(self) -> tuple:
        return (Table, (self.folder,))


def _write_one_batch(path: Path, table: Any) -> None:
    """Write an Arrow table as an IPC file of one record batch: its columns then open without a copy."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(table.num_rows, 1))


def _read(path: Path) -> tuple[Any, dict[str, str]]:
    """Map one Arrow file: its table and its metadata (a last empty batch's added to the schema's)."""
    if not path.is_file():
        raise InputError(f"{path}: not found; a table's folder with base.arrow is needed")
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        last = reader.num_record_batches - 1
        tail = reader.get_batch_with_custom_metadata(last).custom_metadata if last >= 0 else None
        table = reader.read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: is not a whole Arrow file ({str(error).splitlines()[0]})") from None
    pairs = {**(reader.schema.metadata or {}), **dict(tail or {})}
    described = {_text(key): _text(value) for key, value in pairs.items()}
    if described.pop("urnet_table", None) != LAYOUT:
        raise InputError(f"{path}: is an Arrow file, but not one of a table of layout {LAYOUT}")
    return table, described


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _arrow(values: np.ndarray, name: str) -> Any:
    values = np.asarray(values)
    if values.dtype.kind not in "iuf" or values.ndim not in (1, 2):
        raise InputError(f"column {name}: numbers (N,) or (N, k) are needed, found {values.dtype} {values.shape}")
    values = np.ascontiguousarray(values)
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
