"""The formats of prediction files, read as tables of path, classes (lists) and scores (lists).

``urnet.evaluation.prediction_reader`` checks what they hold.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json

from urnet.core.checks import InputError
from urnet.evaluation.prediction_writer import ARROW_ROWS, CLASS_COUNT, CLASS_NAMES, FORMATS

TEXT_BYTES = 1 << 20  # of a text file, read at once
COLUMNS = ("path", "classes", "scores")


def read_tables(file: Path, text_bytes: int = TEXT_BYTES, columns: Sequence[str] = COLUMNS) -> Iterator[Any]:
    """Yield a file's rows as Arrow tables of ``columns``, as they come; ``text_bytes`` of a text file at once.

    Raises InputError for another suffix and for a file that cannot be read or is of another format.
    """
    if file.suffix not in FORMATS:
        raise InputError(f"{file}: prediction files end in {' or '.join(FORMATS)}")
    rows = 0
    _check_opens(file)
    try:
        if file.suffix == ".arrow":
            tables = _arrow_tables(file, columns)
        else:
            tables = (_csv_tables if file.suffix == ".csv" else _json_tables)(file, text_bytes, columns)
        for table in tables:
            rows += table.num_rows
            yield table
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({str(error).splitlines()[0]})") from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        what = str(error).splitlines()[0]
        raise InputError(f"{file}: is not a prediction file of infer.py; after row {rows}: {what}") from None


def _check_opens(file: Path) -> None:
    """Let Python say why a file does not open; Arrow does so at length."""
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None


def count_rows(file: str | Path) -> int | None:
    """How many rows an Arrow file has; None for text, where only reading it tells."""
    if Path(file).suffix != ".arrow":
        return None
    _check_opens(Path(file))
    return sum(_batch_rows(Path(file)))


def _batch_rows(file: Path) -> list[int]:
    """The rows of each batch, from a map that ends at once: the pages it touches count as memory in use."""
    reader = _open_arrow(file, mapped=True)
    return [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]


def arrow_names(file: Path) -> list[str]:
    """The names of the classes that an Arrow file says, [] where it says none."""
    _check_opens(file)
    said = (_open_arrow(file, (), mapped=True).schema.metadata or {}).get(CLASS_NAMES, b"[]")
    try:
        names = json.loads(said)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{file}: gives its classes as {said[:40]!r}; a JSON list of names is accepted")
    return names


def class_count(file: str | Path) -> int | None:
    """The number of classes that an Arrow file says its predictions are of; None where it does not say."""
    if Path(file).suffix != ".arrow":
        return None
    _check_opens(Path(file))
    said = (_open_arrow(Path(file), (), mapped=True).schema.metadata or {}).get(CLASS_COUNT, b"").decode("latin-1")
    if not said:
        return None
    if not (said.isascii() and said.isdecimal() and 1 <= int(said[:10]) < 1 << 31):
        raise InputError(f"{file}: gives {said[:40]!r} as its number of classes; a number from 1 is accepted")
    return int(said)


def _csv_tables(file: Path, text_bytes: int, columns: Sequence[str]) -> Iterator[Any]:
    _check_separators(file)
    options = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.string()),
        include_columns=columns,
        include_missing_columns="names" in columns,
    )
    try:
        reader = pa.csv.open_csv(
            file,
            read_options=pa.csv.ReadOptions(block_size=text_bytes, use_threads=False),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=options,
        )
    except KeyError as error:
        raise InputError(f"{file}: {' '.join(str(error).split())}; {', '.join(columns)} are needed") from None
    with reader:
        for batch in reader:
            yield pa.table({name: _csv_column(name, batch.column(name)) for name in columns})


def _csv_column(name: str, texts: Any) -> Any:
    """Lists where a cell holds several numbers."""
    if name not in ("classes", "scores"):
        return texts
    return pc.split_pattern(pc.if_else(pc.equal(texts, ""), None, texts), " ")


def _check_separators(file: Path) -> None:
    """Refuse what a spreadsheet makes of a CSV file when it is saved in other ways."""
    with file.open("rb") as stream:
        head = stream.readline(1 << 12)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(
            f"{file}: is UTF-16 text, as Excel's `Unicode Text`; save it as `CSV UTF-8`, or write it again"
        )
    if b"," not in head:
        for sign, name in ((b";", "semicolons"), (b"\t", "tabs")):
            if sign in head:
                raise InputError(
                    f"{file}: its columns are separated by {name}, as spreadsheets do where the comma is the "
                    "decimal sign; commas are accepted (infer.py's own file)"
                )


def _json_tables(file: Path, text_bytes: int, columns: Sequence[str]) -> Iterator[Any]:
    kinds = {
        "path": pa.string(),
        "classes": pa.list_(pa.int32()),
        "scores": pa.list_(pa.float32()),
        "names": pa.list_(pa.string()),
    }
    options = pa.json.ParseOptions(
        explicit_schema=pa.schema([(name, kinds[name]) for name in columns]), unexpected_field_behavior="ignore"
    )
    rows = 0
    with file.open("rb") as stream:
        if stream.read(3) != codecs.BOM_UTF8:
            stream.seek(0)
        while lines := b"".join(stream.readlines(text_bytes)):
            whole = pa.json.ReadOptions(use_threads=False, block_size=len(lines) + 1)
            table = pa.json.read_json(pa.BufferReader(lines), read_options=whole, parse_options=options)
            for name in columns:
                if name in COLUMNS and table[name].null_count:  # a key that is not there, or null
                    row = rows + pc.index(table[name].is_null(), True).as_py() + 1
                    raise InputError(f"{file}: row {row}: has no {name}; {', '.join(COLUMNS)} are needed")
            rows += table.num_rows
            yield table


def _arrow_tables(file: Path, columns: Sequence[str]) -> Iterator[Any]:
    """Batch by batch: read where they are small, else mapped, so that one block is in memory."""
    reader = _open_arrow(file, columns, mapped=max(_batch_rows(file), default=0) > 4 * ARROW_ROWS)
    if missing := [name for name in columns if name not in reader.schema.names]:
        raise InputError(f"{file}: has no column {missing[0]}; {', '.join(COLUMNS)} are needed")
    for i in range(reader.num_record_batches):
        batch = reader.get_batch(i)
        batch.validate(full=True)  # offsets that lead outside would be followed
        for start in range(0, batch.num_rows, ARROW_ROWS):
            yield pa.Table.from_batches([batch.slice(start, ARROW_ROWS)])


def _open_arrow(file: Path, columns: Sequence[str] = COLUMNS, *, mapped: bool) -> Any:
    try:
        source = pa.memory_map(str(file)) if mapped else pa.OSFile(str(file))
        names = pa.ipc.open_file(source).schema.names
        wanted = [names.index(name) for name in columns if name in names]
        return pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=wanted))
    except pa.ArrowInvalid as error:
        raise InputError(f"{file}: is not a whole Arrow file ({str(error).splitlines()[0]})") from None
