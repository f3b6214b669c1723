"""The features of the pictures that are checked, and what else is known of each, kept or computed now."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from urnet.core.checks import InputError
from urnet.data.kept.kept_features import KeptFeatures
from urnet.features.kept import BLOCK, Contents, KeepJob, Work, kept_rows
from urnet.inference.feature_network import FeatureNetwork

__all__ = ["Extracted", "Thumbnails", "Work", "extracted"]


@dataclass(frozen=True)
class Extracted:
    """Of n pictures: ``features`` float16 (n, d), 0 for an unreadable one; ``hashes`` uint64 (n,) perceptual ones;
    ``pixels`` int64 (n,); ``thumbnails``, whose ``[i]`` is uint8 (64, 64); ``unreadable``: row -> why. ``computed`` of
    them went through the network now.
    """

    features: np.ndarray
    hashes: np.ndarray
    pixels: np.ndarray
    thumbnails: Thumbnails
    unreadable: dict[int, str]
    computed: int

    @property
    def readable(self) -> np.ndarray:
        """bool (n,)."""
        mask = np.ones(len(self.features), bool)
        mask[list(self.unreadable)] = False
        return mask


class Thumbnails:
    """Small grey copies of pictures, read from the file of records when they are asked for."""

    def __init__(self, records: np.ndarray, rows: np.ndarray) -> None:
        self._records, self._rows = records, rows

    def __len__(self) -> int:
        return len(self._rows)

    def part(self, rows: slice) -> Thumbnails:
        """Those of some rows."""
        return Thumbnails(self._records, self._rows[rows])

    def __getitem__(self, i: int) -> np.ndarray:
        row = int(self._rows[i])
        shape = self._records.dtype["about"]["thumbnail"].shape
        return np.zeros(shape, np.uint8) if row < 0 else np.asarray(self._records[row]["about"]["thumbnail"])


@contextlib.contextmanager
def extracted(files: Sequence[str], network: FeatureNetwork, work: Work) -> Iterator[Extracted]:
    """The features of pictures' files; inside the block ``thumbnails`` can be asked for.

    What is computed is kept batch by batch in ``work.kept``, so that a run that is ended in between loses two at most.
    Memory: 2 d + 60 bytes per picture. Raises InputError where none can be read, or the file of kept features is of
    another kind, or another process changed it at the same time; FloatingPointError for features that float16 cannot
    hold.
    """
    with contextlib.ExitStack() as stack:
        place = work.kept
        if place is None:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="urnet-suspects-"))) / "features"
        contents = Contents()
        kept, computed = KeepJob(files, network, Path(place), work).run(contents)
        _check_some_readable(files, contents.unreadable)
        rows = kept_rows(kept, len(files), contents)
        yield _gathered(kept, rows, contents.unreadable, computed)


def _check_some_readable(files: Sequence[str], unreadable: dict[int, str]) -> None:
    if len(unreadable) == len(files):
        first = min(unreadable)
        count = f"none of the {len(files)} pictures can be read; the first: " if len(files) > 1 else ""
        raise InputError(f"{count}{files[first]}: {unreadable[first]}")


def _gathered(kept: KeptFeatures, rows: np.ndarray, unreadable: dict[int, str], computed: int) -> Extracted:
    records, n = kept.records, len(rows)
    features, hashes = np.zeros((n, kept.width), np.float16), np.zeros(n, np.uint64)
    pixels = np.zeros(n, np.int64)
    for begin in range(0, n, BLOCK):
        part = rows[begin : begin + BLOCK]
        there = np.flatnonzero(part >= 0)
        found = records[part[there]]
        features[begin + there] = found["features"]
        hashes[begin + there], pixels[begin + there] = found["about"]["hash"], found["about"]["pixels"]
    return Extracted(features, hashes, pixels, Thumbnails(kept.records, rows), unreadable, computed)
