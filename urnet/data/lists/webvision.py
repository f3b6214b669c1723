"""The folders of WebVision 1.0 and 2.0: training lists, metadata, and how both agree.

The list of files and the list of metadata go line for line; a metadata line names a query's JSON file and the
entry in it, counted from 1. ``docs/data.md`` describes the layout. Everything is cross-checked.
"""

from __future__ import annotations

import functools
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.config.recipe import Data
from urnet.core.checks import InputError
from urnet.data.lists.lines import BLOCK_BYTES, Lines, aligned, read_lines, strings_between
from urnet.data.lists.webvision_metadata import Metadata, read_metadata

ENGINES = ("google", "flickr")
_VALIDATION = {
    "webvision2": ("val_images_resized", "val"),
    "webvision1": ("val_images_256", "val_images_resized", "val_images", "val"),
}
DOWNLOAD = "`sh data/download_webvision2018.sh info train val` fills data/webvision2018"
_SYNSETS_FROM = {"webvision2": 0, "webvision1": 1}  # the first synset's number in queries_synsets_map.txt


class RowWriter(Protocol):
    """What takes rows: ``BaseWriter.add``; and whether no more of them are wanted."""

    @property
    def full(self) -> bool: ...

    def add(self, path: Any, label: np.ndarray, *, text: Any = None, **columns: Any) -> None: ...


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
    raise InputError(f"{data.root}: has no folder {' or '.join(names)}; or name one with data.val_root{_fetched(data)}")


def validation_list(data: Data) -> Path:
    """The list of the validation images: info/val_filelist.txt, or the download's val_list.txt."""
    own = Path(data.root) / "info" / "val_filelist.txt"
    renamed = Path(data.root) / "val_list.txt"
    if not own.is_file() and not renamed.is_file():
        raise InputError(
            f"{data.root}: has neither info/{own.name} nor {renamed.name}; or name a list with data.val_list"
            + _fetched(data)
        )
    return own if own.is_file() else renamed


def _fetched(data: Data) -> str:
    return f" ({DOWNLOAD})" if data.format == "webvision2" else ""


def image_root(data: Data) -> Path:
    """What the training lists' paths are relative to: ``data.root``, or the download's train/ in it."""
    for _, file, _ in train_lists(data):
        for lines in read_lines(file, high=data.n_classes - 1, block_bytes=4096):
            top = lines.path[0].as_py().split("/")[0]
            root, train = Path(data.root), Path(data.root) / "train"
            return train if (train / top).exists() and not (root / top).exists() else root
    return Path(data.root)


def metadata_root(data: Data, meta: Path) -> Path | None:
    """What a metadata list's paths are relative to: root, root/train or root/info; None: no metadata there.

    The first line's folder decides: a single missing file is an error later.
    """
    first = next(read_lines(meta, what="row", low=1, block_bytes=4096), None) if meta.is_file() else None
    if first is None:
        return None
    folder = Path(first.path[0].as_py()).parent
    for root in (Path(data.root), Path(data.root) / "train", Path(data.root) / "info"):
        if any((root / folder).glob("*.json")):
            return root
    return None


def add_rows(writer: RowWriter, data: Data, block_bytes: int = BLOCK_BYTES) -> None:
    """Add all training rows, google's first, with the query, rank and text their metadata give them.

    An engine without any metadata is read without, said on stderr; metadata that is there must agree: row for
    row with the image's name, and query by query with queries_synsets_map.txt. Raises InputError otherwise.
    """
    lists = train_lists(data)
    for engine in set(ENGINES) - {engine for engine, _, _ in lists}:
        print(f"note: {data.root}/info: no train_filelist_{engine}.txt; reading without {engine}", file=sys.stderr)
    labels = query_labels(data)
    for engine, file, meta in lists:
        if writer.full:
            break
        images = read_lines(file, high=data.n_classes - 1, block_bytes=block_bytes)
        root = metadata_root(data, meta)
        if root is None:
            print(
                f"note: {data.root}: no metadata of {engine}; its texts are empty and its queries unknown",
                file=sys.stderr,
            )
            for lines in itertools.takewhile(lambda _: not writer.full, images):
                writer.add(lines.path, lines.number, source=engine)
            continue
        disagreements = _Disagreements(labels, file, data)
        read = functools.lru_cache(64)(read_metadata)  # the published lists go through each file once
        entries = read_lines(meta, what="row", low=1, block_bytes=block_bytes)
        for lines, wheres in aligned(images, entries, str(file), str(meta)):
            if writer.full:
                break
            for part, where, stems in _same_file(lines, wheres):
                name = where.path[0].as_py()
                query, metadata = _query_number(meta, where, name), read(root / name)
                rank = _ranks(file, meta, part, where, stems, metadata)
                disagreements.count(part, query)
                texts = metadata.texts.take(pa.array(rank))
                writer.add(part.path, part.number, source=engine, query=query, rank=rank, text=texts)
        disagreements.refuse()


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
        self._n_rows, self._first = 0, ""

    def count(self, lines: Lines, query: int) -> None:
        if not self._labels:
            return
        if query not in self._labels:
            raise InputError(f"{self._file}:{lines.line[0]}: query {query} is not in queries_synsets_map.txt")
        wrong = np.flatnonzero(lines.number != self._labels[query])
        if len(wrong) and not self._n_rows:
            i = wrong[0]
            self._first = f"{self._file}:{lines.line[i]}: label {lines.number[i]}"
            self._first += f" but query {query} is synset {self._labels[query]} (counted from 0)"
        self._n_rows += len(wrong)

    def refuse(self) -> None:
        if self._n_rows:
            raise InputError(
                f"{self._first} in queries_synsets_map.txt; {self._n_rows} rows disagree with their query "
                f"(in format {self._data.format} that file's synsets count from "
                f"{_SYNSETS_FROM[self._data.format]})"
            )


def _same_file(lines: Lines, wheres: Lines) -> Iterator[tuple[Lines, Lines, Any]]:
    """Both lists, and the images' stems, in stretches of lines with the same metadata file."""
    stems = _stems(lines.path)
    codes = wheres.path.dictionary_encode().indices.to_numpy()
    edges = (np.flatnonzero(np.diff(codes)) + 1).tolist()
    for start, stop in itertools.pairwise([0, *edges, len(codes)]):
        yield lines.part(start, stop), wheres.part(start, stop), stems.slice(start, stop - start)


def _query_number(meta: Path, where: Lines, name: str) -> int:
    found = re.search(r"(?:^|/)q([0-9]{1,9})\.json\Z", name)
    if not found:
        raise InputError(
            f"{meta}:{where.line[0]}: found {name!r}; a query's file such as google/q00001.json is accepted"
        )
    return int(found.group(1))


def _ranks(file: Path, meta: Path, lines: Lines, where: Lines, stems: Any, metadata: Metadata) -> np.ndarray:
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
