"""The measuring pass: one forward over the training images, in the evaluation's view.

The batches are cut inside a shard, all of the same size, so that a shard's bytes do not depend on which
process computes it, nor on where an earlier pass was interrupted.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import paddle
from paddle import nn

from urnet.config.recipe import Transform
from urnet.core.atomic_files import recover_folder
from urnet.core.checks import InputError, check_labels
from urnet.core.progress import Progress
from urnet.core.signals import GracefulStop
from urnet.core.top_k import topk
from urnet.data.loading.loader import Batch, ImageSource, Loader
from urnet.data.loading.prefetch import Job
from urnet.evaluation.loop import bad_images_message
from urnet.features.shards import SHARD, Description, fault_of, map_shard, shard_folder, write_shard
from urnet.features.store import SILENCE_SECONDS, Measurement, begin, wait_complete
from urnet.nn.modes import evaluating
from urnet.nn.normalise import Normalise
from urnet.runtime.host_to_device import Uploads


def measure(
    network: Any,
    source: ImageSource,
    labels: np.ndarray,
    folder: str | Path,
    *,
    fingerprint: str,
    base_hash: str,
    k: int = 20,
    batch_size: int = 64,
    workers: int = 0,
    prefetch: int = 4,
    max_bad: int = 0,
    rank: int = 0,
    world_size: int = 1,
    shard: int = SHARD,
    amp: str | None = None,
    stop: GracefulStop | None = None,
    replace: bool = False,
    title: str = "measuring",
    timeout: float = SILENCE_SECONDS,
) -> Measurement:
    """Measure all N rows, or what is missing of them in ``folder``; returns when all shards are there.

    ``network``: ``features(x)`` gives (B, d) for normalised images, ``fc`` the logits (B, C) of those.
    ``source``: makes the image of a row, not for training; its transform normalises. ``labels``: int (N,),
    0..C - 1. ``fingerprint``: a text that differs when weights or settings differ. Of C < ``k`` classes all
    are kept. Process ``rank`` of ``world_size`` computes the shards whose number is ``rank`` modulo ``world_size`` and
    waits for the others (``timeout``: ``measurement.wait_complete``). ``amp``: None, "float16" or "bfloat16".

    Afterwards the network's mode is as before. Raises InputError for another measurement's folder (unless
    ``replace``) and for more than ``max_bad`` unreadable images, FloatingPointError for values that are not
    finite in float16, TimeoutError while waiting, Interrupted when ``stop`` says so. After any of these, and
    after a kill, the next call goes on with the shards that are missing.
    """
    if source.train:
        raise ValueError("source: measuring needs the evaluation's view, train=False")
    _check_counts(rows=len(labels), k=k, batch_size=batch_size, shard=shard)
    if not 0 <= rank < world_size:
        raise InputError(f"measuring: rank {rank} of {world_size} processes; 0..{world_size - 1} is accepted")
    folder = Path(folder)
    with evaluating(network):
        forward = _Forward(network, source.transform, amp)
        width, n_classes = forward.widths(source.transform.size)
        check_labels(labels, n_classes)
        about = Description(base_hash, fingerprint, len(labels), width, min(k, n_classes), batch_size, amp, shard)
        begin(folder, about, rank=rank, replace=replace, timeout=timeout, stop=stop)
        kept, todo = _sort_out(folder, about, range(rank, about.n_shards, world_size))
        if todo:
            loader = Loader(source, _batches(about, todo), workers=workers, prefetch=prefetch)
            bad = sum(int((~map_shard(folder, about, number, "readable")).sum()) for number in kept)
            batches = _checked(loader, bad, max_bad, stop)
            total = sum(len(about.rows(number)) for number in todo)
            with contextlib.closing(loader), Progress(title, total) as shown:
                _write(folder, about, todo, _values(forward, batches, labels, about), shown)
    measured = wait_complete(folder, about, timeout=timeout, stop=stop)
    _check_bad(measured, source, max_bad)
    return measured


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"measuring: {name} is {count}; 1 or more is accepted")


class _Forward:
    """The network behind the normalisation: uint8 images to features and probabilities, on the device."""

    def __init__(self, network: Any, transform: Transform, amp: str | None) -> None:
        self._model = Normalise(network, transform.mean, transform.std)
        self._model.eval()
        self._amp, self._uploads = amp, Uploads()

    @paddle.no_grad()
    def __call__(self, images: np.ndarray) -> tuple[paddle.Tensor, paddle.Tensor]:
        """(B, S, S, 3) -> float16 (B, d) and float32 (B, C); a GPU may still be at work on them."""
        self._uploads.begin()
        with paddle.amp.auto_cast(enable=self._amp is not None, dtype=self._amp or "float16", level="O1"):
            features = self._model.features(self._uploads(images))
            logits = self._model.network.fc(features)
        return features.astype("float16"), nn.functional.softmax(logits.astype("float32"))

    def widths(self, size: int) -> tuple[int, int]:
        """d and C, from one black image."""
        features, prob = self(np.zeros((1, size, size, 3), np.uint8))
        return features.shape[1], prob.shape[1]


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


def _checked(loader: Loader, bad: int, max_bad: int, stop: GracefulStop | None) -> Iterator[Batch]:
    """The loader's batches. Raises Interrupted, and InputError when with ``bad`` from before too many are bad."""
    for batch in loader:
        if stop is not None:
            stop.check()
        bad += int((~batch.readable).sum())
        if bad > max_bad:
            raise InputError(bad_images_message(loader, bad, max_bad))
        yield batch


def _values(
    forward: _Forward, batches: Iterable[Batch], labels: np.ndarray, about: Description
) -> Iterator[dict[str, np.ndarray]]:
    """What is written of each batch. The device works on the next batch while the host ranks this one."""
    launched = ((batch, forward(_full(batch.images, about.batch_size))) for batch in batches)
    now = next(launched, None)
    while now is not None:
        following = next(launched, None)
        yield _read(*now, labels, about.k)
        now = following


def _full(images: np.ndarray, size: int) -> np.ndarray:
    """The images, filled up with black ones to ``size``: other shapes may round differently."""
    missing = size - len(images)
    return np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else images


def _read(batch: Batch, computed: tuple[Any, Any], labels: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """The arrays of one batch; waits for the device."""
    n, good = len(batch.rows), batch.readable
    features, prob = (tensor.numpy()[:n] for tensor in computed)
    given = prob[np.arange(n), labels[batch.rows]]
    finite = np.isfinite(features).all(axis=1) & np.isfinite(given)  # one bad logit makes all nan
    if not finite.all():
        row = int(batch.rows[np.argmin(finite)])
        raise FloatingPointError(f"row {row}: its features or probabilities are not finite in float16")
    index, best = topk(prob, k)
    return {
        "features": np.where(good[:, None], features, np.float16(0)),
        "given": np.where(good, given, np.float32(np.nan)),
        "index": np.where(good[:, None], index, 0).astype(np.int32),
        "prob": np.where(good[:, None], best, 0).astype(np.float16),
        "readable": good,
    }


def _write(folder: Path, about: Description, todo: Iterable[int], values: Iterator[Any], shown: Progress) -> None:
    """Write shard after shard from the batches' values."""
    for number in todo:
        with write_shard(folder, about, number) as writer:
            while writer.missing:
                rows = next(values)
                writer.append(rows)
                shown.update(len(rows["given"]))


def _check_bad(measured: Measurement, source: ImageSource, max_bad: int) -> None:
    """Raise InputError where all processes and passes together met more than ``max_bad`` bad images."""
    bad = np.flatnonzero(~measured.readable)
    if len(bad) > max_bad:
        row = int(bad[0])
        met = {row: (source.path_of(row), source(row, 0)[1] or "it was none when it was measured")}
        raise InputError(bad_images_message(SimpleNamespace(bad=met), len(bad), max_bad))
