"""The features of pictures: those that are kept are read, the others stream through the engine, decoded ahead."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from urnet.core.checks import InputError
from urnet.core.cpus import usable_cores
from urnet.core.progress import Progress
from urnet.data.images.decode import UnreadableImage, read_bytes
from urnet.data.loading.loader import Loader
from urnet.suspects.kept_features import KeptFeatures
from urnet.suspects.network import FeatureNetwork
from urnet.suspects.pictures import PictureSource

BATCH, BLOCK = 4, 4096  # pictures computed at once (16 are slower: their layers do not fit the cache); rows gathered


@dataclass(frozen=True)
class Work:
    """How features are computed: pictures at once, threads of the engine, decoding processes (0: one thread).

    ``kept``: the file that features are kept in; None: nowhere. ``show``: a progress display on stderr.
    """

    batch_size: int = BATCH
    threads: int | None = None
    workers: int = 0
    kept: str | Path | None = None
    show: bool = True


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

    What is computed is kept batch by batch in ``work.kept``, so that a run that is ended in between loses nothing.
    Memory: 2 d + 60 bytes a picture. Raises InputError where none can be read, or the file of kept features is another
    one's, or changed by another process at the same time; FloatingPointError for features that float16 cannot hold.
    """
    with contextlib.ExitStack() as stack:
        place = work.kept
        if place is None:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="urnet-suspects-"))) / "features"
        kept = KeptFeatures(place, network.identity())
        content, unreadable = _contents(files, network.max_pixels, work.show) if len(kept) else ({}, {})
        missing = [i for i in range(len(files)) if i not in unreadable and kept.row(content.get(i, b"")) < 0]
        with contextlib.closing(kept):
            _compute(files, missing, network, work, kept, content, unreadable)
        _check_some_readable(files, unreadable)
        kept = KeptFeatures(place, network.identity()) if missing else kept
        rows = np.array([kept.row(content.get(i, b"")) for i in range(len(files))], np.int64)
        if np.count_nonzero(rows < 0) > len(unreadable):
            raise InputError(f"{place}: was changed by another process meanwhile; name another file for each of both")
        yield _gathered(kept, rows, unreadable, len(missing) - len(unreadable.keys() & set(missing)))


def _contents(files: Sequence[str], max_pixels: int, show: bool) -> tuple[dict[int, bytes], dict[int, str]]:
    """The SHA-256 of every file's bytes, and why some cannot be read."""

    def one(file: str) -> bytes | str:
        try:
            return hashlib.sha256(read_bytes(file, max_pixels)).digest()
        except UnreadableImage as error:
            return error.reason

    content: dict[int, bytes] = {}
    unreadable: dict[int, str] = {}
    with ThreadPoolExecutor(2 * usable_cores()) as pool, Progress("reading", len(files), show=show) as shown:
        for begin in range(0, len(files), BLOCK):
            for i, found in enumerate(pool.map(one, files[begin : begin + BLOCK]), begin):
                if isinstance(found, str):
                    unreadable[i] = found
                else:
                    content[i] = found
                shown.update()
    return content, unreadable


def _compute(
    files: Sequence[str],
    missing: Sequence[int],
    network: FeatureNetwork,
    work: Work,
    kept: KeptFeatures,
    content: dict[int, bytes],
    unreadable: dict[int, str],
) -> None:
    """Send the ``missing`` pictures through the network, keep what comes out, fill ``content`` and ``unreadable``."""
    if not missing:
        return
    kept.begin()
    source = PictureSource(files, network.transform, exif=network.exif, max_pixels=network.max_pixels)
    size = min(work.batch_size, len(missing))
    jobs = [(0, np.asarray(missing[at : at + size])) for at in range(0, len(missing), size)]
    loader = Loader(source, jobs, workers=work.workers)
    extractor = functools.cache(lambda: network.extractor(size, work.threads))  # not needed if no file can be read
    with contextlib.closing(loader), Progress("features", len(missing), show=work.show) as shown:
        for batch in loader:
            good = batch.readable
            if good.any():
                views, about = source.split(batch.images[good])
                with np.errstate(over="ignore"):  # said below
                    features = extractor().features(views).astype(np.float16)
                _check_finite(features, [files[i] for i in batch.rows[good].tolist()])
                kept.add(about, features)
                for i, digest in zip(batch.rows[good].tolist(), about["content"], strict=True):
                    content[i] = digest.tobytes()
            shown.update(len(good))
        unreadable.update({row: reason for row, (_, reason) in loader.bad.items()})


def _check_finite(features: np.ndarray, files: Sequence[str]) -> None:
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise FloatingPointError(f"{files[int(np.argmin(finite))]}: its features are not finite in float16")


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
