"""What two networks know of the rows while they are trained: how probably each label is right."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from urnet.baselines.loss_mixture import clean_probability
from urnet.core.one_behind import one_behind
from urnet.core.progress import Progress
from urnet.core.seeds import PAIR, draw_key
from urnet.core.signals import GracefulStop
from urnet.data.loading.loader import Batch
from urnet.nn.schedule import pair_plan
from urnet.runtime.device_to_host import Download, Downloads
from urnet.runtime.host_to_device import to_tensor
from urnet.training.log import TrainLog
from urnet.training.pair_objective import PairInput
from urnet.training.stage_job import StageJob
from urnet.training.step import TrainState


class PairTraining:
    """Co-teaching's and DivideMix's part of a stage; one of another stage is never asked for anything.

    After DivideMix's warm-up, before the first step of each epoch from there, both networks look at the drawn rows
    in the evaluation's view, and what one's losses say (``clean_probability``) is what the other is told. 8 bytes a
    row, the same in all processes.
    """

    def __init__(self, job: StageJob) -> None:
        self._job, self._stage = job, job.stage
        self._clean: np.ndarray | None = None  # float32 (2, N)
        if self._stage.pair:
            self.begin, self._rate = pair_plan(self._stage, job.steps_per_epoch)

    def due(self, step: int) -> bool:
        """Whether rows are to be divided before step ``step``."""
        divides = self._stage.dividemix is not None and step >= self.begin
        return divides and (step - self.begin) % self._job.steps_per_epoch == 0

    def of(self, step: int, rows: np.ndarray) -> PairInput | None:
        """What a step is given; None in a stage of one network."""
        if not self._stage.pair:
            return None
        clean = None if self._clean is None else self._clean[:, rows]
        numbers = [PAIR, self._job.recipe.seed, draw_key(self._stage.name, step), self._job.group.rank]
        return PairInput(self._rate(step), clean, np.random.default_rng(numbers))

    def divide(self, state: TrainState, stop: GracefulStop, log: TrainLog, step: int) -> int:
        """Look at all drawn rows; the forward passes that this process made. FloatingPointError for losses that are
        not finite; all processes call this."""
        assert self._stage.dividemix is not None
        losses, passes = self._losses(state, stop)
        if np.isinf(losses).any():
            raise FloatingPointError(
                f"stage {self._stage.name}, step {step}: a row's loss is not finite; a lower learning rate, warm-up or "
                "optimizer.clip_norm may help"
            )
        seed = self._job.recipe.seed % 2**32
        told = clean_probability(losses[1], seed), clean_probability(losses[0], seed)  # by the other network
        self._clean = np.stack(told)
        known = np.isfinite(losses[0])
        shares = [
            float((each[known] > self._stage.dividemix.threshold).mean()) if known.any() else 0.0 for each in told
        ]
        log.line(
            f"divided at step {step}: labels used by the first network {shares[0]:.1%}, the second {shares[1]:.1%}"
        )
        log.restart_clock()
        return passes

    def _losses(self, state: TrainState, stop: GracefulStop) -> tuple[np.ndarray, int]:
        """float64 (2, N): the cross entropy of each row's label in both networks, nan where it has none."""
        job, network = self._job, state.network
        rows = np.flatnonzero(job.sampler.expected_draws() > 0)
        share: list[tuple[np.ndarray, np.ndarray]] = []
        state.model.eval()
        shown = Progress(f"stage {job.stage.name}: losses", -(-len(rows) // job.group.size), show=job.group.is_main)
        downloads = Downloads(job.group)

        @paddle.no_grad()
        def begun(batch: Batch) -> tuple[Batch, Download | None]:
            if job.group.is_single:
                stop.check()
            good = batch.rows[batch.readable]
            if not len(good):
                return batch, None
            images = state.model.normalise(to_tensor(batch.images[batch.readable]))
            return batch, downloads(self._of(network, images, job.labels[good]))

        with contextlib.closing(job.plain_loader(rows, train=True)) as loader, shown:
            for batch, found in one_behind(map(begun, loader)):
                if found is not None:
                    share.append((batch.rows[batch.readable], found.value().astype(np.float64)))
                shown.update(len(batch.rows))
        losses = np.full((2, len(job.labels)), np.nan)
        for found in job.group.all_gather(share):
            for good, values in found:
                losses[:, good] = np.where(np.isfinite(values), values, np.inf)
        return losses, 2 * sum(len(good) for good, _ in share)

    @staticmethod
    def _of(network: Any, images: paddle.Tensor, labels: np.ndarray) -> paddle.Tensor:
        target = to_tensor(labels.astype(np.int64))
        each = [F.cross_entropy(net(images).astype("float32"), target, reduction="none") for net in _two(network)]
        return paddle.stack([loss.reshape([-1]) for loss in each])

    def state(self) -> dict[str, dict[str, np.ndarray]]:
        """What a checkpoint keeps, as a set of arrays by its name."""
        return {} if self._clean is None else {"division": {"clean": self._clean}}

    def load(self, sets: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Restore what ``state`` gave."""
        if "division" in sets:
            self._clean = np.array(sets["division"]["clean"])


def _two(network: Any) -> tuple[Any, Any]:
    return network.first, network.second
