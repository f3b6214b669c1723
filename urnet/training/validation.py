"""Evaluation in the middle of training, with the weights that will be used afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import paddle

from urnet.core.progress import Progress
from urnet.core.signals import GracefulStop
from urnet.evaluation.loop import BY_KEY, evaluate
from urnet.runtime.device_to_host import Downloads
from urnet.runtime.host_to_device import to_tensor
from urnet.runtime.late_top_k import LateScores
from urnet.training.stage_job import StageJob
from urnet.training.step import TrainState


@contextlib.contextmanager
def evaluated(
    job: StageJob, state: TrainState, stop: GracefulStop, passed: Callable[[int], None] | None = None
) -> Iterator[dict[str, float]]:
    """Yield the validation's metrics; inside the block the network has the weights they belong to.

    Those are the moving average with batch-norm statistics of its own where the stage has one, else the raw
    weights. ``passed`` is told how many training images this process sent through the network for the statistics.
    Afterwards the network is, byte for byte, as before. Raises Interrupted when a signal came meanwhile;
    not with several processes, which share the images and must agree on that (``StepSync``).
    """
    with _weights_for_use(job, state, stop, passed):
        yield _measure(job, state, stop)


@contextlib.contextmanager
def _weights_for_use(
    job: StageJob, state: TrainState, stop: GracefulStop, passed: Callable[[int], None] | None
) -> Iterator[None]:
    if state.ema is None or job.stage.ema is None:
        yield
        return
    batches = _bn_batches(job, state, stop, passed) if job.kept is None else ()
    with state.ema.in_place(state.network, batches, job.group, state.autocast):
        yield


def _bn_batches(
    job: StageJob, state: TrainState, stop: GracefulStop, passed: Callable[[int], None] | None
) -> Iterator[paddle.Tensor]:
    """Normalised training images, unreadable ones left out. (Of a part that is trained batch norm stays as it is.)"""
    assert job.stage.ema is not None
    with contextlib.closing(job.bn_loader(job.stage.ema.bn_batches)) as loader:
        for batch in loader:
            if job.group.is_single:
                stop.check()
            if batch.readable.any():
                if passed is not None:
                    passed(int(batch.readable.sum()))
                yield state.model.normalise(to_tensor(batch.images[batch.readable]))


def _measure(job: StageJob, state: TrainState, stop: GracefulStop) -> dict[str, float]:
    @paddle.no_grad()
    def logits(images: np.ndarray) -> paddle.Tensor:
        if job.group.is_single:
            stop.check()
        with state.autocast():
            output = state.model(to_tensor(images))
        return output.astype("float32")

    state.model.eval()
    title, data, group = f"stage {job.stage.name}: evaluation", job.recipe.data, job.group
    shown = Progress(title, -(-len(job.validation) // group.size), show=group.is_main)
    with contextlib.closing(job.validation_loader()) as loader, shown:
        try:
            found = evaluate(
                LateScores(logits, Downloads(group)),
                loader,
                job.validation.labels,
                data.n_classes,
                max_bad=data.max_bad,
                remedy=BY_KEY,
                progress=shown,
                group=group,
            )
        except FloatingPointError as error:
            advice = "a lower learning rate, warm-up or optimizer.clip_norm may help"
            raise FloatingPointError(f"{title}: {error}; {advice}") from None
    return found.averages()
