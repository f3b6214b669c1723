"""What a stage's checkpoints need for ``in_classes``: where its network sees the classes, measured at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from urnet.checkpoints.checkpoint import read_weights
from urnet.checkpoints.in_classes import write_reference
from urnet.checkpoints.load import load_into
from urnet.checkpoints.second import joined, read_second
from urnet.core.checks import InputError
from urnet.core.one_behind import one_behind
from urnet.core.progress import Progress
from urnet.core.seeds import stage_key
from urnet.core.signals import GracefulStop
from urnet.data.loading.loader import Batch
from urnet.reweight.class_centres import ClassCentres, from_sums
from urnet.runtime.device_to_host import Download, Downloads
from urnet.runtime.host_to_device import to_tensor
from urnet.training.log import TrainLog
from urnet.training.stage_job import StageJob
from urnet.training.step import TrainState

PER_CLASS = 20  # training images that a class's centre is the mean of; more gain nothing (docs/method.md)
HELD_OUT = 1000  # validation images that the threshold is found from
STREAM = 3  # of random numbers, see urnet.core.seeds


def leave_references(
    job: StageJob, state: TrainState, stop: GracefulStop, log: TrainLog, better: bool
) -> ClassCentres | None:
    """The reference of the network as it is, for ``final/``; None where there is none, with a line in the log.

    ``best/``, which has the same weights if ``better``, gets its own. All processes call this.
    """
    if not job.recipe.model.in_classes:
        return None
    found = measured_reference(job, state, stop)
    own = found if better else _reference_of(job.folder / "best", job, state, stop)
    for name, reference in (("best", own), ("final", found)):
        if isinstance(reference, str):
            log.line(f"note: {name}/ has no reference for in_classes: {reference}", show=True)
    if isinstance(own, ClassCentres) and job.group.is_main:
        write_reference(job.folder / "best", own)
    return found if isinstance(found, ClassCentres) else None


def _reference_of(folder: Path, job: StageJob, state: TrainState, stop: GracefulStop) -> ClassCentres | str:
    """The reference of the weights that a checkpoint holds, or why there is none: somebody may have removed it."""
    try:
        weights = joined(read_weights(folder), read_second(folder))
    except InputError as error:
        return str(error)
    with weights_in_place(state.network, weights):
        return measured_reference(job, state, stop)


def reference_rows(job: StageJob, per_class: int = PER_CLASS) -> np.ndarray:
    """At most ``per_class`` rows of each class, ordered by class, int64.

    Drawn without replacement with probabilities by what training makes of them, w = expected draws times loss weight:
    those of the largest u^(1/w), u uniform (Efraimidis & Spirakis 2006). Weight 0 is never drawn.
    """
    weight = job.sampler.expected_draws() * job.loss_weight
    rows = np.flatnonzero(weight > 0)
    rng = np.random.default_rng([STREAM, job.recipe.seed, stage_key(job.stage.name)])
    key = np.log(rng.random(len(rows))) / weight[rows]  # in (-inf, 0], the largest first
    rows = rows[np.lexsort((-key, job.labels[rows]))]
    labels = job.labels[rows]
    place = np.arange(len(rows)) - np.searchsorted(labels, labels)  # in its class
    chosen: np.ndarray = rows[place < per_class]
    return chosen


def measured_reference(job: StageJob, state: TrainState, stop: GracefulStop) -> ClassCentres | str:
    """The reference of the network as it is now, or why there is none. All processes call this and get the same.

    The same bytes for any number of processes: sums are added in the order of the batches.
    """
    rows = reference_rows(job)
    held = np.linspace(0, len(job.validation) - 1, min(HELD_OUT, len(job.validation))).round().astype(np.int64)
    sums: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    rest: dict[int, np.ndarray] = {}
    shown = Progress(
        f"stage {job.stage.name}: in_classes", -(-(len(rows) + len(held)) // job.group.size), show=job.group.is_main
    )
    with shown:
        for number, read, features in _features(job, state, stop, rows, shown, train=True):
            labels, first = np.unique(job.labels[read], return_index=True)
            sums[number] = labels, np.add.reduceat(features.astype(np.float64), first) if len(first) else features
        for number, _, features in _features(job, state, stop, held, shown, train=False):
            rest[number] = features
    sums, rest = _together(job.group.all_gather(sums)), _together(job.group.all_gather(rest))
    width = next((part.shape[1] for _, part in sums.values() if len(part)), 0)
    held_out = [part for part in rest.values() if len(part)]
    if not width or not held_out:
        return "no training or validation image can be read"
    total = np.zeros((job.recipe.data.n_classes, width))
    for labels, part in sums.values():
        if len(part):
            total[labels] += part
    held_features = np.concatenate(held_out)
    if not (np.isfinite(total).all() and np.isfinite(held_features).all()):
        return "the network's features are not finite"
    try:
        return from_sums(total, held_features)
    except InputError as error:
        return str(error)


def _features(
    job: StageJob, state: TrainState, stop: GracefulStop, rows: np.ndarray, shown: Progress, *, train: bool
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """This process's batches: number, rows that could be read, their features (b, d)."""
    state.model.eval()
    numbers = iter(range(job.group.rank, len(rows), job.group.size))
    downloads = Downloads(job.group)

    @paddle.no_grad()
    def begun(batch: Batch) -> tuple[Batch, Download]:
        if job.group.is_single:
            stop.check()
        with state.autocast():
            features = state.model.features(to_tensor(batch.images))
        return batch, downloads(features.astype("float32"))

    with contextlib.closing(job.plain_loader(rows, train=train)) as loader:
        for batch, features in one_behind(map(begun, loader)):
            good = batch.readable
            shown.update(len(good))
            yield next(numbers), batch.rows[good], features.value()[good]


def _together(shares: list[dict[int, Any]]) -> dict[int, Any]:
    return dict(sorted((item for share in shares for item in share.items()), key=lambda item: item[0]))


@contextlib.contextmanager
def weights_in_place(network: Any, weights: Mapping[str, np.ndarray]) -> Iterator[None]:
    """Inside the block ``network`` has these weights; afterwards, also after an error, its own bytes again."""
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    try:
        load_into(network, weights)
        yield
    finally:
        for name, value in network.state_dict().items():
            value.set_value(kept[name])
