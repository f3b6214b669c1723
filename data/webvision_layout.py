"""WebVision 2.0's layout for small made-up sets: rows, pictures, lists, metadata; and whether a set is there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from urnet.core.checks import InputError

ENGINES = ("google", "flickr")


@dataclass
class Rows:
    """The training rows: listed label, what the image shows (-1 none of the classes), engine, query, text, position."""

    label: np.ndarray
    truth: np.ndarray
    engine: np.ndarray  # 0 google, 1 flickr
    query: np.ndarray  # from 1
    title: list[str]
    description: list[str]
    tags: list[str]
    ids: list[str]

    def path(self, i: int) -> str:
        """Path of row i's image below the data set's folder."""
        return f"{ENGINES[self.engine[i]]}_images_resized/q{self.query[i]:05d}/{self.ids[i]}.jpg"


def write_jpeg(path: Path, image: np.ndarray, quality: int = 90) -> None:
    """Write one image, grey or BGR, making its folder."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    good, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise RuntimeError(f"{path}: OpenCV could not encode it")
    path.write_bytes(data.tobytes())


def write_lists(
    folder: Path,
    rows: Rows,
    val_lines: Sequence[str],
    synsets: Sequence[str],
    queries: Sequence[tuple[str, int]],
    *,
    metadata: bool = True,
) -> None:
    """Write info/, truth_train.txt and, with ``metadata``, a JSON file per query and the lists that lead to it.

    ``queries``: words and class of each. Without metadata the rows are listed by their random names.
    """
    order = range(len(rows.label)) if metadata else sorted(range(len(rows.label)), key=rows.path)
    listed = [f"{rows.path(i)} {rows.label[i]}" for i in order]
    texts = {
        "info/synsets.txt": synsets,
        "info/queries.txt": [words for words, _ in queries],
        "info/queries_synsets_map.txt": [f"{i} {label}" for i, (_, label) in enumerate(queries, 1)],
        "info/train_filelist_all.txt": listed,
        "info/val_filelist.txt": val_lines,
        "truth_train.txt": [f"{rows.path(i)} {rows.truth[i]}" for i in order],
    }
    for engine in ENGINES:
        texts[f"info/train_filelist_{engine}.txt"] = [line for line in listed if line.startswith(f"{engine}_")]
    if metadata:
        texts.update(_metadata(rows))
    for name, lines in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _metadata(rows: Rows) -> dict[str, list[str]]:
    """The entries of each query and engine, and the lists of metadata, which go line for line with those of files."""
    texts: dict[str, list[str]] = {}
    for code, engine in enumerate(ENGINES):
        own = np.flatnonzero(rows.engine == code)
        where = texts[f"info/train_meta_list_{engine}.txt"] = []
        for query in np.unique(rows.query[own]):
            members = own[rows.query[own] == query].tolist()
            name = f"{engine}/q{query:05d}.json"
            where += [f"{name} {position + 1}" for position in range(len(members))]
            texts[name] = [json.dumps([_entry(rows, i) for i in members], indent=0)]
    return texts


def _entry(rows: Rows, i: int) -> dict[str, str]:
    """Row i's metadata; Flickr's images have tags."""
    entry = {"id": rows.ids[i], "title": rows.title[i], "description": rows.description[i]}
    return {**entry, "tags": rows.tags[i]} if rows.engine[i] else entry


def is_complete(folder: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether ``folder`` holds the wanted set, by its settings.json. Raises InputError when it holds something else."""
    if not folder.exists():
        return False
    file = folder / "settings.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if found == wanted:
        return True
    differing = [f"{k} {found.get(k)!r} is there, {v!r} is asked" for k, v in wanted.items() if found.get(k) != v]
    raise InputError(
        f"{folder}: exists, made otherwise ({differing[0]}); remove it (rm -r {folder}) or name another --out"
    )


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write settings.json, what decides the bytes."""
    (folder / "settings.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
