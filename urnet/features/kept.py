"""Computes what networks make of pictures once, and keeps it: those that are kept already are not even decoded."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from urnet.config.recipe import Transform
from urnet.core.checks import InputError
from urnet.core.cpus import usable_cores
from urnet.core.one_behind import one_behind
from urnet.core.progress import Progress
from urnet.core.signals import GracefulStop, Interrupted
from urnet.data.images.decode import UnreadableImage, read_bytes
from urnet.data.kept.kept_features import KeptFeatures
from urnet.data.kept.pictures import ABOUT, PictureSource, View
from urnet.data.loading.loader import Batch, Loader
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup

NONE = np.zeros(0, ABOUT)  # what is known of no pictures
BATCH, BLOCK = 4, 4096  # pictures computed at once (16 are slower: their layers do not fit the cache); rows gathered


class Extractor(Protocol):
    """``inference.predictor.FeatureExtractor``, or what gives maps."""

    def launch(self, images: np.ndarray) -> Callable[[], np.ndarray]:
        """Begin uint8 (b, S, S, 3); what is returned waits for float32 (b, …)."""


class KeptNetwork(Protocol):
    """What is computed: ``inference.feature_network.FeatureNetwork``."""

    @property
    def transform(self) -> Transform: ...

    @property
    def exif(self) -> str: ...

    @property
    def max_pixels(self) -> int: ...

    @property
    def shown(self) -> View: ...

    def identity(self) -> dict[str, Any]: ...

    def extractor(self, batch_size: int, threads: int | None = None) -> Extractor: ...


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


@dataclass
class Contents:
    """What is known of some files, by their place in the list: the SHA-256 of those read, why others cannot be."""

    digests: dict[int, bytes] = field(default_factory=dict)
    unreadable: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class KeepJob:
    """Pictures whose activations are to be kept in ``place``: ``KeepJob(…).run(contents)``.

    ``title``: of the progress display. ``check(unreadable)`` may refuse what cannot be read; ``begun(n)`` is told how
    many records there are, first of all, ``announce(n)`` how many pictures will be computed, before it. Of several
    processes in ``group`` each computes its share, and the main one writes; on GPUs the exchange of a batch waits for
    the next one too.
    """

    files: Sequence[str]
    network: KeptNetwork
    place: Path
    work: Work = Work()
    title: str = "features"
    check: Callable[[Mapping[int, str]], None] | None = None
    announce: Callable[[int], None] | None = None
    begun: Callable[[int], None] | None = None
    group: ProcessGroup = SINGLE_PROCESS
    stop: GracefulStop | None = None

    def run(self, contents: Contents) -> tuple[KeptFeatures, int]:
        """The file, which has every readable picture now, and how many were computed.

        ``contents`` is filled: what it knows already is not read again. What is computed is kept batch by batch, each
        when the next one has been begun, so that a run that is ended in between loses two at most. Raises InputError
        where the file is another one's, or changed by another process at the same time; FloatingPointError for features
        that float16 cannot hold; Interrupted when ``stop`` says so.
        """
        with self.group.main_first():
            kept = self._opened()
            if self.begun is not None:
                self.begun(len(kept.records))
        if len(kept):
            read_contents(self.files, contents, self.network.max_pixels, show=self.work.show and self.group.is_main)
        self._checked(contents)
        known, unreadable = contents.digests, contents.unreadable
        missing = [i for i in range(len(self.files)) if i not in unreadable and kept.row(known.get(i, b"")) < 0]
        if not missing:
            kept.close()
            return kept, 0
        if self.announce is not None:
            self.announce(len(missing))
        with contextlib.closing(kept):
            self._compute(missing, kept, contents)
        self.group.barrier()
        return self._opened(), len(missing) - len(unreadable.keys() & set(missing))

    def _opened(self) -> KeptFeatures:
        return KeptFeatures(self.place, self.network.identity())

    def _checked(self, contents: Contents) -> None:
        if self.check is not None:
            self.check(contents.unreadable)

    def _compute(self, missing: Sequence[int], kept: KeptFeatures, contents: Contents) -> None:
        """Send the ``missing`` pictures through the network, keep what comes out, fill ``contents``."""
        group = self.group
        if group.is_main:
            kept.begin()
        network = self.network
        source = PictureSource(
            self.files, network.transform, exif=network.exif, max_pixels=network.max_pixels, shown=network.shown
        )
        size = min(self.work.batch_size, len(missing))
        jobs = [(0, np.asarray(missing[at : at + size])) for at in range(0, len(missing), size)]
        loader = Loader(source, jobs[group.rank :: group.size], workers=self.work.workers)
        extractor = functools.cache(
            lambda: network.extractor(size, self.work.threads)
        )  # not needed if none can be read
        shown = Progress(self.title, len(missing), show=self.work.show and group.is_main)
        with contextlib.closing(loader), shown:
            for begun in one_behind(self._begun(loader, -(-len(jobs) // group.size), source, extractor)):
                for found in group.all_gather(begun()):
                    if found.signal is not None:
                        raise Interrupted(found.signal)
                    for i, digest in zip(found.rows.tolist(), found.about["content"], strict=True):
                        contents.digests[i] = digest.tobytes()
                    contents.unreadable.update(found.unreadable)
                    if len(found.rows) and group.is_main:
                        kept.add(found.about, found.features)
                    shown.update(found.n)
                self._checked(contents)

    def _begun(
        self, loader: Loader, n_batches: int, source: PictureSource, extractor: Callable[[], Extractor]
    ) -> Iterator[Callable[[], _Part]]:
        """This process's batches, begun; of ``n_batches``, as many as any process has, the last may be missing."""
        batches = iter(loader)
        for _ in range(n_batches):
            batch = next(batches, None)
            if batch is None or not batch.readable.any():
                yield functools.partial(self._part, loader, batch)
                continue
            views, about = source.split(batch.images[batch.readable])
            yield functools.partial(self._part, loader, batch, about, extractor().launch(views))

    def _part(
        self,
        loader: Loader,
        batch: Batch | None,
        about: np.ndarray = NONE,
        launched: Callable[[], np.ndarray] | None = None,
    ) -> _Part:
        """What was begun of a batch, when it is there."""
        signal = None if self.stop is None else self.stop.number
        rows, features = np.zeros(0, np.int64), about
        bad: dict[int, str] = {}
        if batch is not None:
            rows = batch.rows[batch.readable]
            bad = {row: loader.bad[row][1] for row in batch.rows[~batch.readable].tolist()}
        if launched is not None:
            with np.errstate(over="ignore"):  # said below
                features = launched().astype(np.float16)
            features = features.reshape(len(features), -1)
            _check_finite(features, [self.files[i] for i in rows.tolist()])
        return _Part(len(rows) + len(bad), rows, about, features, bad, signal)


class _Part(NamedTuple):
    """What one process computed of a batch of ``n`` pictures: the readable ``rows``, why the others are none, and the
    signal it was sent."""

    n: int
    rows: np.ndarray
    about: np.ndarray
    features: np.ndarray
    unreadable: dict[int, str]
    signal: int | None


def read_contents(files: Sequence[str], contents: Contents, max_pixels: int, *, show: bool = True) -> None:
    """Fill ``contents`` with the SHA-256 of every file that it does not know, and why some cannot be read."""

    def one(file: str) -> bytes | str:
        try:
            return hashlib.sha256(read_bytes(file, max_pixels)).digest()
        except UnreadableImage as error:
            return error.reason

    todo = [i for i in range(len(files)) if i not in contents.digests and i not in contents.unreadable]
    with ThreadPoolExecutor(2 * usable_cores()) as pool, Progress("reading", len(todo), show=show) as shown:
        for begin in range(0, len(todo), BLOCK):
            part = todo[begin : begin + BLOCK]
            for i, found in zip(part, pool.map(one, [files[i] for i in part]), strict=True):
                if isinstance(found, str):
                    contents.unreadable[i] = found
                else:
                    contents.digests[i] = found
                shown.update()


def kept_rows(kept: KeptFeatures, n_files: int, contents: Contents) -> np.ndarray:
    """(n_files,) int64: the record of each file, -1 for an unreadable one.

    Raises InputError where another one is missing.
    """
    rows = np.array([kept.row(contents.digests.get(i, b"")) for i in range(n_files)], np.int64)
    unreadable = [i for i in contents.unreadable if i < n_files]
    rows[unreadable] = -1
    if np.count_nonzero(rows < 0) > len(unreadable):
        raise InputError(f"{kept.path}: was changed by another process meanwhile; give each of the two its own file")
    return rows


def _check_finite(features: np.ndarray, files: Sequence[str]) -> None:
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise FloatingPointError(f"{files[int(np.argmin(finite))]}: its features are not finite in float16")
