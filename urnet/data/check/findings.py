"""What there is to say about a data set, as plain values: for ``report_lines`` and for JSON."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from urnet.config.recipe import Data
from urnet.core.counted import verb
from urnet.data.check.data_set import DataSet, Part
from urnet.data.check.records import ALPHA, CMYK, GREY, KINDS, SEVERAL, FileThumbnails, RecordSource, read_records
from urnet.reweight.near_duplicates import leaks, near_duplicates

MODES = {"grey": GREY, "with alpha": ALPHA, "CMYK": CMYK, "several pictures in one file": SEVERAL}
# fmt: off
_SUFFIXES = {
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".pjp", ".pjpeg"), "PNG": (".apng", ".png"), "GIF": (".gif",),
    "WebP": (".webp",), "BMP": (".bmp", ".dib"), "TIFF": (".tif", ".tiff"), "AVIF": (".avif", ".avifs"),
    "JPEG 2000": (".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx"), "PNM": (".pam", ".pbm", ".pgm", ".pnm", ".ppm"),
}
# fmt: on
_KIND_OF = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes}


def findings(data_set: DataSet, data: Data, *, workers: int) -> dict[str, Any]:
    """Decode every image and say what was found; ``refused`` are the lines for which training would stop."""
    refused, found, looked = list(data_set.refused), {}, []
    for name, words, part in (("train", "training", data_set.train), ("val", "validation", data_set.val)):
        if part is None:
            continue
        source = RecordSource(part.path_of, exif=data.exif, max_pixels=data.max_pixels)
        records, bad = read_records(source, part.n, workers=workers, title=f"check {words}")
        found[name] = _of_part(part, records, bad, data_set.class_names)
        looked.append(_Looked(part, records, bad, FileThumbnails(source)))
        if len(bad) > data.max_bad:
            first = f"{part.path_of(min(bad))}: {bad[min(bad)]}"
            most = (
                f"{data.max_bad:,} {verb(data.max_bad)} accepted"
                if data.max_bad
                else "0 are accepted where no recipe sets data.max_bad"
            )
            refused.append(
                f"{len(bad):,} of {part.n:,} {words} images cannot be read ({first}); at most {most}: "
                f"remove or replace them, or train with -o data.max_bad={len(bad)}"
            )
    return {
        "root": data_set.train.root,
        "class_names": data_set.class_names,
        **found,
        "missing": _missing(data_set),
        "duplicates": _duplicates(looked[0], data_set.class_names),
        "leaks": _leaks(*looked) if len(looked) == 2 else [],
        "refused": refused,
    }


class _Looked:
    """The readable images of a part: rows of first of equal files, and how they can be compared."""

    def __init__(self, part: Part, records: np.ndarray, bad: dict[int, str], thumbnails: FileThumbnails) -> None:
        self.part, self.thumbnails = part, thumbnails
        rows = np.setdiff1d(np.arange(part.n), np.fromiter(bad, np.int64, len(bad)))
        self.sha = records["sha256"][rows]
        _, first, same = np.unique(self.sha, axis=0, return_index=True, return_inverse=True)
        self.rows, self.first = rows, rows[first[same.ravel()]]  # of each row, the first with the same bytes
        self.distinct = np.unique(self.first)
        self.hashes = np.ascontiguousarray(records["hash"][self.distinct])

    def shown(self) -> _Rows:
        return _Rows(self.thumbnails, self.distinct)


class _Rows:
    """Some rows of thumbnails."""

    def __init__(self, thumbnails: FileThumbnails, rows: np.ndarray) -> None:
        self._thumbnails, self._rows = thumbnails, rows

    def __getitem__(self, i: int) -> np.ndarray:
        return self._thumbnails[int(self._rows[i])]


def _of_part(part: Part, records: np.ndarray, bad: dict[int, str], class_names: list[str]) -> dict[str, Any]:
    readable = np.ones(part.n, bool)
    readable[list(bad)] = False
    good = records[readable]
    sizes = {
        side: [int(v) for v in (values.min(), np.median(values), values.max())]
        for side, values in (("width", good["width"]), ("height", good["height"]))
        if len(values)
    }
    reasons: dict[str, list[str]] = {}
    for row in sorted(bad):
        reasons.setdefault(bad[row], []).append(part.name_of(row))
    labelled = part.labels[part.labels >= 0]
    return {
        "root": part.root,
        "images": part.n,
        "class_sizes": np.bincount(labelled, minlength=len(class_names)).tolist() if class_names else [],
        "unreadable": reasons,
        "sizes": sizes,
        "formats": {KINDS[k]: int(n) for k, n in enumerate(np.bincount(good["kind"])) if n},
        "modes": {name: int(n) for name, bit in MODES.items() if (n := np.count_nonzero(good["modes"] & bit))},
        "wrong_suffix": _wrong_suffixes(part, records["kind"], readable),
    }


def _wrong_suffixes(part: Part, kinds: np.ndarray, readable: np.ndarray) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in np.flatnonzero(readable).tolist():
        name = part.name_of(row)
        suffix = Path(name).suffix.lower()
        if _KIND_OF.get(suffix, KINDS[kinds[row]]) != KINDS[kinds[row]]:
            found.setdefault(f"{KINDS[kinds[row]]} called {suffix}", []).append(name)
    return found


def _missing(data_set: DataSet) -> dict[str, list[str]]:
    """Names (numbers where there is none) of the classes that have no image."""
    names = [name or str(number) for number, name in enumerate(data_set.class_names)]
    return {
        key: [names[c] for c in np.flatnonzero(np.bincount(part.labels, minlength=len(names)) == 0)]
        for key, part in (("train", data_set.train), ("val", data_set.val))
        if part is not None and names
    }


def _duplicates(looked: _Looked, class_names: list[str]) -> list[dict[str, Any]]:
    """Groups of two or more files that show the same: ``equal`` bytes, else ``near``; the classes they are under."""
    group = near_duplicates(None, looked.hashes, thumbnails=looked.shown())
    group_of = dict(zip(looked.distinct.tolist(), group.tolist(), strict=True))
    members: dict[tuple[int, int], list[int]] = {}
    for row, first in zip(looked.rows.tolist(), looked.first.tolist(), strict=True):
        near = group_of[first]
        members.setdefault((near, -1) if near >= 0 else (-1, first), []).append(row)
    part = looked.part
    return [
        {
            "kind": "equal" if near < 0 else "near",
            "paths": [part.name_of(row) for row in rows],
            "classes": _names(part.labels[rows], class_names),
        }
        for (near, _), rows in sorted(members.items(), key=lambda item: item[1][0])
        if len(rows) > 1
    ]


def _names(labels: np.ndarray, class_names: list[str]) -> list[str]:
    return [class_names[c] or str(c) if class_names else "" for c in np.unique(labels).tolist()]


def _leaks(train: _Looked, val: _Looked) -> list[dict[str, str]]:
    """Training files that show a validation picture: ``equal`` bytes, else ``near``."""
    equal = {sha.tobytes(): row for sha, row in zip(val.sha[::-1], val.rows[::-1].tolist(), strict=True)}
    near = leaks(None, train.hashes, None, val.hashes, thumbnails=train.shown(), val_thumbnails=val.shown())
    near_of = dict(zip(train.distinct.tolist(), near.tolist(), strict=True))
    found = []
    for row, first, sha in zip(train.rows.tolist(), train.first.tolist(), train.sha, strict=True):
        other = equal.get(sha.tobytes())
        kind = "near" if other is None else "equal"
        if other is None and near_of[first] >= 0:
            other = int(val.distinct[near_of[first]])
        if other is not None:
            found.append({"kind": kind, "path": train.part.name_of(row), "val": val.part.name_of(other)})
    return found


def imbalance(sizes: list[int]) -> float:
    """The largest class over the smallest that has an image; 1 where there is none."""
    filled = [size for size in sizes if size]
    return max(filled) / min(filled) if filled else 1.0


def crossing(groups: list[dict[str, Any]]) -> Counter:
    """How many ``duplicates`` of each kind there are, and how many of them are under several labels."""
    counts: Counter = Counter()
    for group in groups:
        counts[group["kind"]] += 1
        counts[group["kind"], "across"] += len(group["classes"]) > 1
        counts[group["kind"], "files"] += len(group["paths"])
    return counts
