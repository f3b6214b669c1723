"""The folders of WebVision 1.0 and 2.0: training lists, metadata, and how both agree.

The list of files and the list of metadata go line for line; a metadata line names a query's JSON file and the
entry in it, counted from 1. ``docs/data.md`` describes the layout. Everything is cross-checked.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.config.recipe import Data
from urnet.core.checks import InputError
from urnet.data.lists.lines import Lines, aligned, read_lines, strings_between
from urnet.data.lists.webvision_metadata import Metadata, read_metadata
from urnet.data.table.table import BaseWriter

ENGINES = ("google", "flickr")
_VALIDATION = {
    "webvision2": ("val_images_resized", "val"),
    "webvision1": ("val_images_256", "val_images_resized", "val_images", "val"),
}
_SYNSETS_FROM = {"webvision2": 0, "webvision1": 1}  # the first synset's number in queries_synsets_map.txt
_CACHED = 64  # parsed metadata files kept: the published lists go through each file once


def train_lists(data: Data) -> list[tuple[str, Path, Path]]:
    """(engine, list of files, list of metadata) of the engines whose list of files is there."""
    info = Path(data.root) / "info"
    lists = [(e, info / f"train_filelist_{e}.txt", info / f"train_meta_list_{e}.txt") for e in ENGINES]
    found = [item for item in lists if item[1].is_file()]
    if not found:
        raise InputError(f"{info}: has neither {lists[0][1].name} nor {lists[1][1].name}")
    return found


def validation_root(data: Data) -> Path:
    """The folder of the validation images."""
    names = _VALIDATION[data.format]
    for name in names:
        if (Path(data.root) / name).is_dir():
            return Path(data.root) / name
    raise InputError(f"{data.root}: has no folder {' or '.join(names)}; or name one with data.val_root")


def validation_list(data: Data) -> Path:
    """The list of the validation images: info/val_filelist.txt, or the download's val_list.txt."""
    own = Path(data.root) / "info" / "val_filelist.txt"
    renamed = Path(data.root) / "val_list.txt"
    return renamed if renamed.is_file() and not own.is_file() else own


def image_root(data: Data) -> Path:
    """What the training lists' paths are relative to: ``data.root``, or the download's train/ in it."""
    for _, file, _ in train_lists(data):
        for lines in read_lines(file, high=data.n_classes - 1, block_bytes=4096):
            top = lines.path[0].as_py().split("/")[0]
            root, train = Path(data.root), Path(data.root) / "train"
            return train if (train / top).exists() and not (root / top).exists() else root
    return Path(data.root)


def _metadata_root(data: Data, meta: Path) -> Path | None:
    """What a metadata list's paths are relative to: root, root/train or root/info; None: no metadata there.

    Told by the first line's folder: a single missing file is an error later.
    """
    first = next(read_lines(meta, what="row", low=1, block_bytes=4096), None) if meta.is_file() else None
    if first is None:
        return None
    folder = Path(first.path[0].as_py()).parent
    for root in (Path(data.root), Path(data.root) / "train", Path(data.root) / "info"):
        if any((root / folder).glob("*.json")):
            return root
    return None


def add_rows(writer: BaseWriter, data: Data) -> None:
    """Add all training rows, google's first, with the query, rank and text their metadata give them.

    An engine without any metadata is read without, said on stderr; metadata that is there must agree: row for
    row with the image's name, and query by query with queries_synsets_map.txt. Raises InputError otherwise.
    """
    lists = train_lists(data)
    for engine in set(ENGINES) - {engine for engine, _, _ in lists}:
        print(f"note: {data.root}/info: no train_filelist_{engine}.txt; read without {engine}", file=sys.stderr)
    labels = query_labels(data)
    for engine, file, meta in lists:
        root = _metadata_root(data, meta)
        if root is not None:
            _add_engine(writer, data, engine, file, meta, root, labels)
            continue
        print(f"note: {data.root}: no metadata of {engine}; texts are empty, queries unknown", file=sys.stderr)
        for lines in read_lines(file, high=data.n_classes - 1):
            writer.add(lines.path, lines.number, source=engine)


def query_labels(data: Data) -> dict[int, int]:
    """Query number -> label, from queries_synsets_map.txt; empty when that is not there."""
    file = Path(data.root) / "info" / "queries_synsets_map.txt"
    first = _SYNSETS_FROM[data.format]
    labels: dict[int, int] = {}
    if not file.is_file():
        return labels
    for lines in read_lines(file, what="synset", low=first, high=data.n_classes - 1 + first):
        for query, synset, line in zip(lines.path.to_pylist(), lines.number.tolist(), lines.line.tolist(), strict=True):
            if not re.fullmatch("[0-9]{1,9}", query) or int(query) in labels:
                raise InputError(f"{file}:{line}: query {query!r} is accepted once, as a number")
            labels[int(query)] = synset - first
    return labels


class _Disagreements:
    """Counts rows whose label is not their query's; the first is kept for the message."""

    def __init__(self, labels: dict[int, int], file: Path, data: Data) -> None:
        self._labels, self._file, self._data = labels, file, data
        self.count, self.first = 0, ""

    def look(self, lines: Lines, query: int) -> None:
        if not self._labels:
            return
        if query not in self._labels:
            raise InputError(f"{self._file}:{lines.line[0]}: query {query} is not in queries_synsets_map.txt")
        wrong = np.flatnonzero(lines.number != self._labels[query])
        if len(wrong) and not self.count:
            i = wrong[0]
            self.first = f"{self._file}:{lines.line[i]}: label {lines.number[i]}"
            self.first += f" but query {query} is synset {self._labels[query]} (counted from 0)"
        self.count += len(wrong)

    def refuse(self) -> None:
        if self.count:
            raise InputError(
                f"{self.first} in queries_synsets_map.txt; {self.count} rows disagree with their query "
                f"(in format {self._data.format} that file's synsets count from "
                f"{_SYNSETS_FROM[self._data.format]})"
            )


def _add_engine(
    writer: BaseWriter, data: Data, engine: str, file: Path, meta: Path, root: Path, labels: dict[int, int]
) -> None:
    """The rows of one engine, a run of lines with the same metadata file at a time."""
    disagreements = _Disagreements(labels, file, data)
    read = _cached(lambda name: read_metadata(root / name))
    pairs = aligned(
        read_lines(file, high=data.n_classes - 1), read_lines(meta, what="row", low=1), str(file), str(meta)
    )
    for lines, wheres in pairs:
        stems = _stems(lines.path)
        for start, stop in _runs(wheres.path):
            part, where = lines.part(start, stop), wheres.part(start, stop)
            name = where.path[0].as_py()
            query = _query_number(meta, where, name)
            entry = _entries(file, meta, part, where, stems.slice(start, stop - start), read(name))
            disagreements.look(part, query)
            texts = read(name).texts.take(pa.array(entry))
            writer.add(part.path, part.number, source=engine, query=query, rank=entry, text=texts)
    disagreements.refuse()


def _cached(read: Callable[[str], Metadata]) -> Callable[[str], Metadata]:
    kept: dict[str, Metadata] = {}

    def get(name: str) -> Metadata:
        if name not in kept:
            if len(kept) == _CACHED:
                del kept[next(iter(kept))]
            kept[name] = read(name)
        return kept[name]

    return get


def _runs(paths: Any) -> Iterator[tuple[int, int]]:
    """(start, stop) of the stretches of equal strings."""
    codes = paths.dictionary_encode().indices.to_numpy()
    edges = np.flatnonzero(np.diff(codes)) + 1
    starts, stops = [0, *edges.tolist()], [*edges.tolist(), len(codes)]
    return zip(starts, stops, strict=True)


def _query_number(meta: Path, where: Lines, name: str) -> int:
    found = re.search(r"(?:^|/)q([0-9]{1,9})\.json\Z", name)
    if not found:
        raise InputError(
            f"{meta}:{where.line[0]}: found {name!r}; a query's file such as google/q00001.json is accepted"
        )
    return int(found.group(1))


def _entries(file: Path, meta: Path, lines: Lines, where: Lines, stems: Any, metadata: Metadata) -> np.ndarray:
    """Positions (from 0) of the lines' entries, after checking that each entry is the image's own."""
    entry, n = where.number - 1, len(metadata.ids)
    outside = np.flatnonzero(entry >= n)
    if len(outside):
        i = outside[0]
        raise InputError(
            f"{meta}:{where.line[i]}: row {where.number[i]} of {where.path[i].as_py()}, which has {n} entries"
        )
    same = pc.equal(metadata.ids.take(pa.array(entry)), stems)
    if not pc.all(same).as_py():
        i = pc.index(same, False).as_py()
        raise InputError(
            f"{file}:{lines.line[i]}: image {stems[i].as_py()!r}, but row {where.number[i]} (from 1) of "
            f"{where.path[i].as_py()} has id {metadata.ids[int(entry[i])].as_py()!r}"
        )
    return entry


def _stems(paths: Any) -> Any:
    """File names without folder and suffix."""
    _, offsets, values = paths.buffers()
    edges = np.frombuffer(offsets, np.int32)[paths.offset : paths.offset + len(paths) + 1].astype(np.int64)
    data = np.frombuffer(values, np.uint8)
    starts, ends = edges[:-1], edges[1:]
    starts = np.maximum(starts, _last(data, ord("/"), ends) + 1)
    dots = _last(data, ord("."), ends)
    return strings_between(data, starts, np.where(dots > starts, dots, ends))


def _last(data: np.ndarray, byte: int, ends: np.ndarray) -> np.ndarray:
    """Position of the last ``byte`` before each end; -1 where there is none."""
    places = np.concatenate([[-1], np.flatnonzero(data == byte)])
    return places[np.searchsorted(places, ends) - 1]
