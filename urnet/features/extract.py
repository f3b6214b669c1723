"""Features and probabilities of the training images: one forward over them, in the evaluation's view.

The batches are cut inside a shard, all of the same size, so that a shard's bytes do not depend on which
process computes it, nor on where an earlier pass was interrupted.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from urnet.core.atomic_files import recover_folder
from urnet.core.checks import InputError, check_labels
from urnet.core.one_behind import one_behind
from urnet.core.progress import Progress
from urnet.core.signals import GracefulStop
from urnet.data.loading.loader import Batch, ImageSource, Loader
from urnet.data.loading.prefetch import Job
from urnet.evaluation.loop import BY_KEY, check_some_readable, check_unreadable
from urnet.features.forward import Forward
from urnet.features.shards import SHARD, Description, fault_of, map_shard, shard_folder, write_shard
from urnet.features.store import SILENCE_SECONDS, Measurement, begin, wait_complete
from urnet.features.views import MOST
from urnet.nn.modes import evaluating
from urnet.nn.network import Network
from urnet.runtime.device_to_host import Downloads
from urnet.runtime.host_to_device import to_tensor
from urnet.runtime.late_top_k import LateTopK


@dataclass(frozen=True)
class FeatureJob:
    """What is measured of N training images, and where to: ``FeatureJob(…).run(network)``.

    ``source`` makes the image of a row, not for training; its transform normalises. ``fingerprint``: a text
    that differs when weights or settings differ. Process ``rank`` of ``world_size`` computes the shards whose
    number is ``rank`` modulo ``world_size`` and waits for the others, ``timeout`` seconds without a sign of
    life from them (``wait_complete``).
    """

    source: ImageSource
    labels: np.ndarray  # int (N,), 0..C - 1
    folder: Path
    fingerprint: str
    base_hash: str  # of the table's rows
    k: int = 20  # classes kept a row; of fewer all are
    views: int = 1  # features are the mean over so many views (``views_of``); probabilities are of the evaluation's
    front: bool = False  # features hold the maps in front of the network's last part as well
    batch_size: int = 64
    workers: int = 0
    prefetch: int = 4
    max_bad: int = 0  # unreadable images, at most
    rank: int = 0
    world_size: int = 1
    shard: int = SHARD  # rows
    amp: str | None = None  # None | "float16" | "bfloat16"
    compiled: bool = False  # the network computes as one program
    stop: GracefulStop | None = None
    replace: bool = False  # another measurement in the folder
    title: str = "measuring"
    timeout: float = SILENCE_SECONDS

    def run(self, network: Network) -> Measurement:
        """Measure all rows, or what is missing of them in ``folder``; returns when all shards are there.

        Afterwards the network's mode is as before. Raises InputError for another measurement's folder (unless
        ``replace``), for more than ``max_bad`` unreadable images and for none but such; FloatingPointError for values
        that are not finite in float16, TimeoutError while waiting, Interrupted when ``stop`` says so. After any of
        these, and after a kill, the next run resumes with the shards that are missing.
        """
        if self.source.train:
            raise ValueError("source: measuring needs the evaluation's view, train=False")
        _check_counts(rows=len(self.labels), k=self.k, batch_size=self.batch_size, shard=self.shard, views=self.views)
        self._check_network(network)
        if not 0 <= self.rank < self.world_size:
            accepted = f"0..{self.world_size - 1} is accepted"
            raise InputError(f"measuring: rank {self.rank} of {self.world_size} processes; {accepted}")
        with evaluating(network):
            forward = Forward(network, self.source.transform, self.amp, self.views, self.front)
            about = self._description(*forward.widths(self.source.transform.size))
            begin(self.folder, about, rank=self.rank, replace=self.replace, timeout=self.timeout, stop=self.stop)
            kept, todo = _sort_out(self.folder, about, range(self.rank, about.n_shards, self.world_size))
            if todo:
                if self.compiled:
                    forward.compile()
                self._measure(forward, about, kept, todo)
        measured = wait_complete(self.folder, about, timeout=self.timeout, stop=self.stop)
        self._check_bad(measured)
        return measured

    def _description(self, width: int, n_classes: int) -> Description:
        check_labels(self.labels, n_classes)
        k = min(self.k, n_classes)
        n_rows = len(self.labels)
        return Description(
            self.base_hash, self.fingerprint, n_rows, width, k, self.batch_size, self.amp, self.shard, self.views
        )

    def _check_network(self, network: Network) -> None:
        most = MOST[self.source.transform.flip]
        if self.views > most:
            raise InputError(f"measuring: views is {self.views}; at most {most} where flip is {most != MOST[False]}")
        if self.front and not hasattr(network, "front"):
            raise InputError("measuring: front is true, but the network has no `front`; false is accepted")

    def _measure(self, forward: Forward, about: Description, kept: list[int], todo: list[int]) -> None:
        """Compute the shards ``todo``; those ``kept`` were there and count for ``max_bad``."""
        loader = Loader(self.source, _batches(about, todo), workers=self.workers, prefetch=self.prefetch)
        bad = sum(int((~map_shard(self.folder, about, number, "readable")).sum()) for number in kept)
        total = sum(len(about.rows(number)) for number in todo)
        with contextlib.closing(loader), Progress(self.title, total) as shown:
            values = _values(forward, self._checked(loader, bad), self.labels, about)
            for number in todo:
                with write_shard(self.folder, about, number) as writer:
                    while writer.missing:
                        rows = next(values)
                        writer.append(rows)
                        shown.update(len(rows["given"]))

    def _checked(self, loader: Loader, bad: int) -> Iterator[Batch]:
        """The loader's batches. Raises Interrupted, and InputError when with ``bad`` from before too many are bad."""
        for batch in loader:
            if self.stop is not None:
                self.stop.check()
            bad += int((~batch.readable).sum())
            check_unreadable(loader.bad, bad, self.max_bad, BY_KEY)
            yield batch

    def _check_bad(self, measured: Measurement) -> None:
        """Raise InputError where all processes and passes together met too many bad images, or no good one."""
        bad = np.flatnonzero(~measured.readable)
        if len(bad) > min(self.max_bad, len(measured.readable) - 1):
            row = int(bad[0])
            reason = self.source(row, 0)[1] or "it was none when it was measured"
            first = {row: (self.source.path_of(row), reason)}
            check_unreadable(first, len(bad), self.max_bad, BY_KEY)
            check_some_readable(dict.fromkeys(bad.tolist(), first[row]), 0, "training images")


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"measuring: {name} is {count}; 1 or more is accepted")


def _sort_out(folder: Path, about: Description, mine: Iterable[int]) -> tuple[list[int], list[int]]:
    """Which of my shards are whole, and which are to be computed; what a killed process left is removed."""
    kept: list[int] = []
    todo: list[int] = []
    for number in mine:
        recover_folder(shard_folder(folder, number))
        fault = fault_of(folder, about, number)
        (todo if fault else kept).append(number)
        if fault and shard_folder(folder, number).exists():
            print(f"note: {fault}; this shard is measured again", file=sys.stderr)
    return kept, todo


def _batches(about: Description, numbers: Iterable[int]) -> Iterator[Job]:
    """The rows of some shards, ``batch_size`` at a time; the last of a shard may be fewer."""
    for number in numbers:
        rows, size = about.rows(number), about.batch_size
        for start in range(rows.start, rows.stop, size):
            yield 0, np.arange(start, min(start + size, rows.stop))


def _values(
    forward: Forward, batches: Iterable[Batch], labels: np.ndarray, about: Description
) -> Iterator[dict[str, np.ndarray]]:
    """What is written of each batch. The device works on the next one while the host waits for this one."""
    downloads = Downloads()
    launched = (_Launched(forward, batch, labels, about, downloads) for batch in batches)
    for batch in one_behind(launched):
        yield batch.read()


def _full(images: np.ndarray, size: int) -> np.ndarray:
    """The images, filled up with black ones to ``size``: other shapes may round differently."""
    missing = size - len(images)
    return np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else images


class _Launched:
    """The arrays of one batch, begun on the device; what is kept of its probabilities is chosen there."""

    def __init__(
        self, forward: Forward, batch: Batch, labels: np.ndarray, about: Description, downloads: Downloads
    ) -> None:
        self._batch, n = batch, len(batch.rows)
        features, prob = (tensor[:n] for tensor in forward(_full(batch.images, about.batch_size)))
        given = paddle.take_along_axis(prob, to_tensor(labels[batch.rows].astype(np.int64)[:, None]), 1)
        self._features, self._given = downloads(features), downloads(given)
        self._best = LateTopK(prob, about.k, downloads)

    def read(self) -> dict[str, np.ndarray]:
        """Waits for the device."""
        batch, good = self._batch, self._batch.readable
        features, given = self._features.value(), self._given.value()[:, 0]
        finite = np.isfinite(features).all(axis=1) & np.isfinite(given)  # one bad logit makes all nan
        if not finite.all():
            row = int(batch.rows[np.argmin(finite)])
            raise FloatingPointError(f"row {row}: its features or probabilities are not finite in float16")
        index, best = self._best.value()
        return {
            "features": np.where(good[:, None], features, np.float16(0)),
            "given": np.where(good, given, np.float32(np.nan)),
            "index": np.where(good[:, None], index, 0).astype(np.int32),
            "prob": np.where(good[:, None], best, 0).astype(np.float16),
            "readable": good,
        }
