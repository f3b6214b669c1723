"""What a training run reports: log.txt, curves, progress bar, unreadable rows, losses that are not finite."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from urnet.config.stage import Stage
from urnet.core.atomic_files import AppendedFile
from urnet.core.progress import Progress
from urnet.training.curves import Curves
from urnet.training.step import StepOutcome


class Pace:
    """Images, seconds of training and of waiting for data of the steps launched since the last ``take``."""

    def __init__(self) -> None:
        self.images, self.seconds, self.wait = 0, 0.0, 0.0

    def take(self) -> dict[str, float]:
        """Images a second and the share of the time spent waiting; then begin anew."""
        seconds = max(self.seconds, 1e-9)
        taken = {"images_per_s": self.images / seconds, "data_wait": self.wait / seconds}
        self.images, self.seconds, self.wait = 0, 0.0, 0.0
        return taken


class Sums:
    """Losses of the steps read since the last ``take``, and the shares of rows that a gate let through."""

    def __init__(self) -> None:
        self.steps, self.loss, self.opened = 0, 0.0, 0.0

    def take(self) -> dict[str, float]:
        """Their means; then begin anew."""
        taken = {"loss": self.loss / max(self.steps, 1), "let_through": self.opened / max(self.steps, 1)}
        self.steps, self.loss, self.opened = 0, 0.0, 0.0
        return taken


@dataclass(frozen=True)
class Launched:
    """A step that has been launched and is yet to be read, and what a line about it says besides."""

    step: int
    outcome: StepOutcome
    lr: float
    gate: float | None
    scaled: bool
    recent: dict[str, float] | None  # the pace since the last line, of a step that gets one
    epoch: dict[str, float] | None  # that of an epoch which ends with this step


class TrainLog:
    """Reports one stage's training, in log.txt and curves under ``folder`` and ``curves`` and on stderr.

    The time of a step counts from the end of the one before; ``restart_clock`` leaves out what lay between.
    A step is read, and its line written, when the next one has been launched, so that a GPU always has one to work on.
    ``rows_of(step)``: the rows of a step; ``earlier``: the curves.csv of the stages before, for the run's axis.
    Of several processes only the main one (``is_main``) writes and shows anything.
    """

    def __init__(
        self,
        stage: Stage,
        folder: Path,
        curves: Path,
        *,
        earlier: Sequence[Path] = (),
        step: int,
        total: int,
        per_epoch: int,
        rows_of: Callable[[int], np.ndarray],
        is_main: bool = True,
    ) -> None:
        self.stage, self.total, self.per_epoch, self.every = stage.name, total, per_epoch, stage.log_every
        self._name, self._rows_of = folder / "log.txt", rows_of
        self._file = AppendedFile(self._name if is_main else Path(os.devnull))
        self._bar = Progress(f"stage {stage.name}", (total - step) * stage.batch_size, show=is_main)
        self._curves: Curves | None = None
        if is_main:
            say = functools.partial(self.line, show=True)
            self._curves = Curves(folder / "curves.csv", curves, step, say, earlier)
        self._paces, self._sums = (Pace(), Pace()), (Sums(), Sums())  # since the last line, and of the epoch
        self._unread: deque[Launched] = deque()
        self._skipped = 0
        self._clock = time.perf_counter()

    def line(self, text: str, *, show: bool = False) -> None:
        """One line of log.txt; with ``show`` on stderr as well."""
        self._file.write(text + "\n")
        if show:
            self._bar.say(text)

    def restart_clock(self) -> None:
        """What happened since the last step (an evaluation, a checkpoint) is not training time."""
        self._clock = time.perf_counter()

    def step(
        self,
        step: int,
        images: int,
        outcome: StepOutcome,
        lr: float,
        wait: float,
        *,
        gate: float | None = None,
        amp: str | None = None,
    ) -> None:
        """Take note of ``step`` (from 0): how many images, what it came to, rate, seconds of waiting, the gate's
        threshold. With ``amp`` "float16" the loss scaling skips a step whose gradients are not finite."""
        now = time.perf_counter()
        for pace in self._paces:
            pace.images += images
            pace.seconds += now - self._clock
            pace.wait += wait
        self._clock, done = now, step + 1
        recent = self._paces[0].take() if done % self.every == 0 or done == self.total else None
        epoch = self._paces[1].take() if done % self.per_epoch == 0 else None
        self._unread.append(Launched(step, outcome, lr, gate, amp == "float16", recent, epoch))
        self._bar.update(images)
        while len(self._unread) > 1:
            self._read(self._unread.popleft())

    def read_loss(self) -> None:
        """Read all steps that have been launched; FloatingPointError where a loss, or a gradient, is not finite."""
        while self._unread:
            self._read(self._unread.popleft())

    def _read(self, one: Launched) -> None:
        value, not_finite = one.outcome.loss, one.outcome.not_finite
        if not math.isfinite(value):
            self._give_up(one.step, f"the loss is {value}")
        if not_finite and not one.scaled:
            self._give_up(one.step, f"a gradient is not finite (the loss is {value:.4g})")
        self._skipped += not_finite
        for sums in self._sums:
            sums.loss += value
            sums.steps += 1
            sums.opened += one.outcome.open_share
        if one.recent is not None:
            self._report(one, one.recent)
        if one.epoch is not None:
            self._report_epoch((one.step + 1) // self.per_epoch, one.epoch)

    def _give_up(self, step: int, what: str) -> None:
        where, rows = (f"stage {self.stage}, epoch {step // self.per_epoch}, step {step}: {what}", self._rows_of(step))
        self.line(f"{where}; rows {' '.join(map(str, rows))}")
        few = " ".join(map(str, rows[:8])) + (" …" if len(rows) > 8 else "")
        raise FloatingPointError(
            f"{where}; rows of the batch: {few} (all {len(rows)} in {self._name}); "
            "a lower learning rate, warm-up or optimizer.clip_norm may help"
        )

    def _report(self, one: Launched, pace: Mapping[str, float]) -> None:
        seen, done = self._sums[0].take(), one.step + 1
        line = (
            f"step {done}/{self.total}  epoch {done / self.per_epoch:.2f}  loss {seen['loss']:.4f}  "
            f"lr {one.lr:.6g}  images/s {pace['images_per_s']:.1f}  wait {pace['data_wait']:.1%}"
        )
        points = {"train/loss": seen["loss"], **pace}
        if one.gate is not None:
            line += f"  gate {one.gate:.3f}  let through {seen['let_through']:.1%}"
            points.update(gate=one.gate, let_through=seen["let_through"])
        if one.scaled:
            line += f"  skipped {self._skipped}"
            points["skipped"] = float(self._skipped)
        self.line(line)
        self._add(done, {**points, "lr": one.lr})
        self._bar.update(0, loss=f"{seen['loss']:.3f}", lr=f"{one.lr:.4g}", wait=f"{pace['data_wait']:.1%}")

    def _report_epoch(self, epoch: int, pace: Mapping[str, float]) -> None:
        self.line(
            f"epoch {epoch} done: loss {self._sums[1].take()['loss']:.4f}, {pace['images_per_s']:.1f} images/s, "
            f"{pace['data_wait']:.1%} of the time waiting for data"
        )

    def evaluation(self, done: int, metrics: Mapping[str, float], best: bool, seconds: float) -> None:
        """The validation's result after ``done`` steps."""
        self._add(done, {"val/top1": metrics["top1"], "val/top5": metrics["top5"]})
        said = (
            f"evaluation at step {done}: top1 {metrics['top1']:.4f}  top5 {metrics['top5']:.4f}  "
            f"({seconds:.1f} s){'  best so far' if best else ''}"
            + (f"  {metrics['unreadable']} images unreadable" if metrics.get("unreadable") else "")
        )
        self.line(said)
        self._bar.say(f"stage {self.stage}: {said}")

    def close(self) -> None:
        """End bar, log and curves. Steps that are there are read first; for others nobody waits any more.

        Steps are unread only where an error has ended the training: theirs does not take its place.
        """
        with contextlib.suppress(FloatingPointError, OSError):
            while self._unread and self._unread[0].outcome.figures.ready():
                self._read(self._unread.popleft())
        self._bar.close()
        if self._curves is not None:
            self._curves.close()
        self._file.close()

    def _add(self, done: int, points: Mapping[str, float]) -> None:
        if self._curves is not None:
            self._curves.add(done, points)


def one_line(text: str) -> str:
    """Control characters and line separators, which file names may hold, as Python escapes."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], text)
