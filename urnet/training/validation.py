"""Level 3: evaluation in the middle of training, with the weights that will be used afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import paddle

from urnet.core.progress import Progress
from urnet.core.signals import StopRequest
from urnet.evaluation.loop import evaluate
from urnet.runtime.host_to_device import to_tensor
from urnet.training.stage_job import Task
from urnet.training.step import Learner


@contextlib.contextmanager
def evaluated(task: Task, learner: Learner, stop: StopRequest) -> Iterator[dict[str, float]]:
    """Yield the validation's metrics; inside the block the network has the weights they belong to.

    Those are the moving average with batch-norm statistics of its own where the stage has one, else the raw
    weights. Afterwards the network is, byte for byte, as before. Raises Stopped when a signal came meanwhile;
    not with several processes, which share the images and must agree on that (``Bulletin``).
    """
    with _weights_for_use(task, learner, stop):
        yield _measure(task, learner, stop)


@contextlib.contextmanager
def _weights_for_use(task: Task, learner: Learner, stop: StopRequest) -> Iterator[None]:
    if learner.ema is None or task.stage.ema is None:
        yield
        return
    batches = _bn_batches(task, learner, stop)
    with learner.ema.in_place(learner.network, batches, task.world):
        yield


def _bn_batches(task: Task, learner: Learner, stop: StopRequest) -> Iterator[paddle.Tensor]:
    """Normalised training images, unreadable ones left out."""
    assert task.stage.ema is not None
    with contextlib.closing(task.bn_loader(task.stage.ema.bn_batches)) as loader:
        for batch in loader:
            if task.world.alone:
                stop.check()
            if batch.readable.any():
                yield learner.model.normalise(to_tensor(batch.images[batch.readable]))


def _measure(task: Task, learner: Learner, stop: StopRequest) -> dict[str, float]:
    @paddle.no_grad()
    def predict(images: np.ndarray) -> np.ndarray:
        if task.world.alone:
            stop.check()
        logits: np.ndarray = learner.model(to_tensor(images)).numpy()
        return logits

    learner.model.eval()
    title, data, world = f"stage {task.stage.name}: evaluation", task.recipe.data, task.world
    shown = Progress(title, -(-len(task.validation) // world.size), show=world.lead)
    with contextlib.closing(task.validation_loader()) as loader, shown:
        return evaluate(
            predict, loader, task.validation.labels, data.n_classes, max_bad=data.max_bad, progress=shown,
            world=world,
        )  # fmt: skip
