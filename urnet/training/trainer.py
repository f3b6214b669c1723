"""Trains one stage: from a network, a table and a recipe to checkpoints, curves and best weights.

Every random choice is a function of (seed, stage, step, row), so a run that was killed and resumed ends with
the weights of one that was not.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle

from urnet.checkpoints import checkpoint, in_classes, second
from urnet.core.checks import InputError
from urnet.core.seeds import stage_key
from urnet.core.signals import GracefulStop, Interrupted
from urnet.data.loading.loader import Batch
from urnet.nn.mixup import Mixup
from urnet.nn.schedule import gate_plan, plan
from urnet.reweight.class_centres import ClassCentres
from urnet.reweight.evidence.decided import NONE
from urnet.training.bag_attention import Attention
from urnet.training.elr_memory import ElrMemory
from urnet.training.in_classes import leave_references
from urnet.training.log import TrainLog
from urnet.training.noise_memory import NoiseMemory
from urnet.training.objective import StepInput
from urnet.training.pair_training import PairTraining
from urnet.training.passes import PassCounter, Passes
from urnet.training.saving import StageSaver, checkpoints
from urnet.training.stage_job import StageJob
from urnet.training.step import TrainState, train_step
from urnet.training.step_sync import StepSync
from urnet.training.unreadable import Unreadable
from urnet.training.validation import evaluated


@dataclass
class TrainingProgress:
    """How far a stage is: steps done; metrics and step of its best and its last evaluation ({} before)."""

    step: int = 0
    best: dict[str, Any] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)


class Trainer:
    """Trains a StageJob: ``Trainer(job).train()``."""

    def __init__(self, job: StageJob) -> None:
        self.job, stage = job, job.stage
        self.total, self.lr = plan(stage, job.steps_per_epoch)
        self.eval_every = max(job.steps(stage.eval_every), 1)
        self.checkpoint_every = max(job.steps(stage.checkpoint_every), 1)
        self.group = job.group
        self.state = TrainState(job.network, stage, job.recipe.transform, job.amp, self.group)
        if job.recipe.model.compile:
            self.state.compile()
        self.attention = Attention(len(job.labels) if stage.bags else 0, self.group)
        self.memory = ElrMemory(stage.elr, len(job.labels), job.recipe.data.n_classes, self.group)
        self.noise = NoiseMemory(stage.sop, job.labels, job.recipe.data.n_classes, self.group)
        self.passes = PassCounter(job.passes_before, self.group)
        self.pair = PairTraining(job)
        self.kept = (self.attention, self.memory, self.noise, self.pair)  # in checkpoints, next to the weights
        self.threshold = gate_plan(stage, job.steps_per_epoch)
        self.progress, self.stop = TrainingProgress(), GracefulStop()
        remembers = stage.bags is not None or stage.elr is not None or stage.sop is not None
        self.sync = StepSync(self.group, self.stop, with_rows=remembers)
        self.saver = StageSaver(job)

    def train(self, *, resume: bool = False) -> TrainingProgress:
        """Train to the end, from the start or (with ``resume``) from the newest checkpoint if there is one.

        Raises Interrupted after SIGTERM or Ctrl-C, with a checkpoint written; FloatingPointError for a loss that
        is not finite; InputError for more unreadable training images than ``data.max_bad``, and for an
        epoch without a readable one, of all or of a class.
        """
        if resume:
            self._restore()
        now = self.progress
        with self.open_log() as log, self.stop, self.saver:
            try:
                if self._evaluation_is_due():  # the checkpoint was written just before it
                    self._evaluate(log)
                for _ in self.steps(log):
                    self.saver.check()
                    if now.step % self.checkpoint_every == 0:
                        self._save_checkpoint(log)
                    self.sync.check()
                    if self._evaluation_is_due():
                        self._evaluate(log)
                self.sync.settle()  # a signal during the last evaluation: no further stage is begun
            except Interrupted as stopped:
                self._save_checkpoint(log)
                self._all_written()
                log.line(f"{stopped} at step {now.step} of {self.total}", show=True)
                raise
        return now

    @contextlib.contextmanager
    def open_log(self) -> Iterator[TrainLog]:
        """The stage's log while it is open, from the step that the run has reached."""
        folder, step = self.job.folder, self.progress.step
        folder.mkdir(parents=True, exist_ok=True)
        log = TrainLog(
            self.job.stage,
            folder,
            self.job.curves,
            earlier=self.job.earlier_curves,
            step=step,
            total=self.total,
            per_epoch=self.job.steps_per_epoch,
            rows_of=self.job.rows_of,
            is_main=self.group.is_main,
        )
        try:
            among = "" if self.group.is_single else f", {self.group.size} processes"
            log.line(f"begin at step {step} of {self.total}, {self.job.steps_per_epoch} steps an epoch{among}")
            yield log
        finally:
            log.close()

    # --- steps

    def steps(self, log: TrainLog) -> Iterator[float]:
        """Carry out all steps that are left; after each, yields the seconds its batch was waited for."""
        bad = Unreadable(
            self.job.folder / "unreadable.txt", self.job.recipe.data.max_bad, self.job.unreadable, self.group
        )
        blind = 0  # steps in a row without an image that could be read
        with contextlib.closing(self.job.training_loader(self.progress.step, self.total)) as loader:
            waited = 0.0
            log.restart_clock()
            for batch in loader:
                wait, waited = loader.wait_seconds - waited, loader.wait_seconds
                self._step(batch, wait, log)
                for met in self.sync.arrived(all_steps=self._something_is_due()):
                    if met.unreadable:
                        self.saver.wait()  # the list is written after the checkpoint before it
                        bad.take(loader.bad, log)
                    blind = blind + 1 if met.unreadable and not met.readable else 0
                self._check_readable(bad, blind)
                yield wait
        if len(bad):
            rows = f"{len(bad)} of {len(self.job.labels)} rows"
            log.line(f"{rows} are unreadable ({bad.file})", show=True)

    def _something_is_due(self) -> bool:
        """Whether something is saved, evaluated or summed up after this step: then no step before it is left unread."""
        step = self.progress.step
        ends = step % self.job.steps_per_epoch == 0 or step == self.total
        return ends or step % self.checkpoint_every == 0 or self._evaluation_is_due()

    def _check_readable(self, bad: Unreadable, blind: int) -> None:
        """At the end of an epoch, or of all: raise InputError where nothing, or nothing of a class, could be read."""
        step, per_epoch = self.progress.step, self.job.steps_per_epoch
        if blind >= min(per_epoch, self.total):
            bad.refuse_all()
        if len(bad) and (step % per_epoch == 0 or step == self.total):
            decided = self.job.table.decided
            bad.check_classes(self.job.labels, self.job.table.class_names, None if decided is None else decided != NONE)

    def _step(self, batch: Batch, wait: float, log: TrainLog) -> None:
        """One step of training, counted in ``progress.step``."""
        step, recipe, stage = self.progress.step, self.job.recipe, self.job.stage
        rank = self.group.rank
        if self.pair.due(step):
            log.read_loss()
            self.passes.add(Passes(forward=self.pair.divide(self.state, self.stop, log, step)))
        seed_network(recipe.seed, stage.name, 1 + step, rank)  # for dropout
        mixup = None
        if stage.mixup:
            mixup = Mixup(stage.mixup, len(batch.rows), seed=recipe.seed, stage=stage.name, step=step, rank=rank)
        weight = np.where(batch.readable, self.job.loss_weight[batch.rows], np.float32(0))
        targets = self.job.targets
        soft = None if targets is None else (targets.index[batch.rows], targets.prob[batch.rows])
        total, rows = self.sync.exchange(batch.rows, weight, batch.readable)
        data = StepInput(
            batch.images,
            self.job.labels[batch.rows],
            weight,
            mixup,
            soft,
            memory=self.memory.of(batch.rows),
            noise=self.noise.of(batch.rows),
            gate=self.threshold(step),
            certain=None if self.job.certain is None else self.job.certain[batch.rows],
            pair=self.pair.of(step, batch.rows),
            total=total,
        )
        outcome = train_step(self.state, data, self.lr(step), step)
        self.attention.add(rows, outcome.rows.attention)
        self.memory.take(rows, outcome.rows.memory_classes, outcome.rows.memory_values)
        self.noise.take(rows, outcome.rows.noise_slope)
        self.passes.add(outcome.passes)
        self.progress.step = step + 1
        images = len(batch.rows) * self.group.size
        log.step(step, images, outcome, self.lr(step), wait, gate=data.gate, amp=self.job.amp)

    # --- evaluation

    def _evaluation_is_due(self) -> bool:
        step = self.progress.step
        return step > 0 and (step % self.eval_every == 0 or step == self.total)

    def _evaluate(self, log: TrainLog) -> None:
        """Evaluate; the weights go to ``best/`` if none were better, those of the last step to ``final/``."""
        log.read_loss()
        self.state.average_statistics()
        now, start = self.progress, time.perf_counter()
        passed: list[int] = []
        with evaluated(self.job, self.state, self.stop, passed.append) as metrics:
            if now.step == self.total:  # the statistics of the weights that the stage leaves; others are for validation
                self.passes.add(Passes(forward=sum(passed) * (2 if self.job.stage.pair else 1)))
            now.last = {**metrics, "step": now.step}
            better = not now.best or metrics["top1"] > now.best["top1"]
            if better:
                now.best = now.last
                self._save_for_use("best")
            log.evaluation(now.step, metrics, better, time.perf_counter() - start)
            if now.step == self.total:  # last, as it marks the stage as finished
                self._all_written()
                self.attention.write(self.job)
                reference = leave_references(self.job, self.state, self.stop, log, better)
                self._save_for_use("final", reference)
                self.saver.wait()
        self.group.barrier()  # for process 0, which writes
        log.restart_clock()

    def _save_for_use(self, name: str, reference: ClassCentres | None = None) -> None:
        extra = {} if reference is None else {in_classes.NAME: in_classes.arrays_of(reference)}
        state = self._run_state()
        if self.group.is_main:
            self.saver.wait()
            self.saver.save(name, self.state.weights(), self.progress.step, state=state, extra=extra)

    def _all_written(self) -> None:
        """Wait until what was to be saved is on the disk, for all processes."""
        self.saver.wait()
        self.group.barrier()

    # --- checkpoints

    def _run_state(self) -> dict[str, Any]:
        now = self.progress
        return {
            "stage": self.job.stage.name,
            "step": now.step,
            "total_steps": self.total,
            "epoch": now.step / self.job.steps_per_epoch,
            "best": now.best,
            "last": now.last,
            "base_hash": self.job.table.base_hash,
            **self.passes.state(),
        }

    def _save_checkpoint(self, log: TrainLog) -> None:
        """Have ``step-NNNNNNNN/`` written for this step, and all but the newest ``keep`` removed.

        Only the main process gathers; what the processes know of the rows is exchanged by all of them.
        """
        log.read_loss()  # never keep weights that a loss which is not finite has moved
        self.state.average_statistics()
        state, kept = self._run_state(), [each.state() for each in self.kept]
        if self.group.is_main:
            name = f"step-{self.progress.step:08d}"
            if self.saver.has(name):
                self.saver.prune()
            else:
                self._gather_and_save(name, state, kept)
        self.group.barrier()  # for process 0, which may have waited for the disk
        log.restart_clock()

    def _gather_and_save(self, name: str, state: dict[str, Any], kept: list[dict[str, dict[str, np.ndarray]]]) -> None:
        parts = self.state.state()
        for sets in kept:  # these arrays are the ones that later steps write to
            parts["extra"].update({of: {key: np.array(v) for key, v in arrays.items()} for of, arrays in sets.items()})
        state["scaler"] = parts.pop("scaler")
        self.saver.save(name, self.state.weights(), self.progress.step, state=state, prune=True, **parts)

    def _restore(self) -> None:
        """Resume from the newest checkpoint; without one the stage begins at its start."""
        newest = next(reversed(checkpoints(self.job.folder)), None)
        if newest is None:
            return
        saved = checkpoint.load_training(newest)
        now = {"base_hash": self.job.table.base_hash, "total_steps": self.total}
        for key, value in now.items():
            if saved.state[key] != value:
                raise InputError(f"{newest}: was written with {key} {saved.state[key]}, which is now {value}")
        weights = second.joined(saved.weights, saved.extra.get(second.NAME))
        checkpoint.load_into(self.state.network, weights, source=str(newest))
        self.state.load_state(saved.optimizer or {}, saved.extra, saved.state["scaler"])
        for kept in self.kept:
            kept.load(saved.extra)
        state = saved.state
        self.passes.load(state)
        self.progress = TrainingProgress(step=state["step"], best=state["best"], last=state["last"])


def seed_network(seed: int, stage: str, step: int, rank: int = 0) -> None:
    """Seed Paddle: step 0 is for the first weights, step 1 + k for step k of training (dropout) of process ``rank``."""
    entropy = [seed, stage_key(stage), step, *([rank] if rank else [])]
    paddle.seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
