"""What a training run reports: log.txt, curves, progress bar, unreadable rows, losses that are not finite."""

from __future__ import annotations

import contextlib
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
from urnet.core.atomic_files import AppendedFile, atomic_file
from urnet.core.checks import InputError
from urnet.core.progress import Progress
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup
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
    ``rows_of(step)``: the rows of a step.
    Of several processes only the main one (``is_main``) writes and shows anything.
    """

    def __init__(
        self,
        stage: Stage,
        folder: Path,
        curves: Path,
        *,
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
            self._curves = Curves(folder / "curves.csv", curves, step, lambda text: self.line(text, show=True))
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
        """What happened since the last step (an evaluation, a checkpoint) is no training time."""
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


class Unreadable:
    """The training rows whose images could not be read, kept in a file; too many stop the run.

    A resumed run begins with the rows of the file that are still ``unreadable(row)``: they count,
    images that were mended in between do not. Each process learns what all have met, and the
    main one writes the file. Raises InputError for more than ``max_bad``.
    """

    def __init__(
        self, file: Path, max_bad: int, unreadable: Callable[[int], bool], group: ProcessGroup = SINGLE_PROCESS
    ) -> None:
        self.file, self.max_bad, self._group = file, max_bad, group
        self._lines: dict[int, str] = {}
        if file.is_file():
            lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line]
            known = {int(line.split("\t")[0]): line for line in lines}
            self._lines = {row: line for row, line in known.items() if unreadable(row)}
            self._check()

    def __len__(self) -> int:
        return len(self._lines)

    def take(self, bad: Mapping[int, tuple[str, str]], log: TrainLog) -> None:
        """Note rows met for the first time. Raises InputError when there are more than ``max_bad``."""
        mine = {row: why for row, why in bad.items() if row not in self._lines}
        new = {row: why for found in self._group.all_gather(mine) for row, why in found.items()}
        for row in new:
            path, why = map(one_line, new[row])
            log.line(f"unreadable, weight 0: {path}: {why} (row {row})", show=True)
            self._lines[row] = f"{row}\t{path}\t{why}"
        if new and self._group.is_main:
            with atomic_file(self.file, replace=True) as part:
                text = "".join(f"{line}\n" for _, line in sorted(self._lines.items()))
                part.write_text(text, encoding="utf-8")
        self._check()

    def refuse_all(self) -> None:
        """Raise InputError: no image was read."""
        row, path, why = self._lines[min(self._lines)].split("\t")
        raise InputError(
            f"none of the {len(self._lines)} training images met could be read (all are in {self.file}); the first: "
            f"{path}: {why} (row {row})"
        )

    def check_classes(self, labels: np.ndarray, names: Sequence[str], trains: np.ndarray | None = None) -> None:
        """Raise InputError for a class of ``labels`` (N,) whose rows are all unreadable: nothing of it is learned.

        ``trains`` bool (N,): the rows that can be drawn; None: all.
        """
        rows = np.array(sorted(self._lines), np.int64)
        unread = np.bincount(labels[rows], minlength=len(names))
        there = np.bincount(labels if trains is None else labels[trains], minlength=len(names))
        whole = np.flatnonzero((unread > 0) & (unread == there))
        if len(whole):
            first = int(whole[0])
            row, path, why = self._lines[int(rows[labels[rows] == first][0])].split("\t")
            name = f" ({names[first]})" if names[first] else ""
            more = f" (and those of {len(whole) - 1} other classes)" if len(whole) > 1 else ""
            raise InputError(
                f"all {unread[first]} training images of class {first}{name}{more} "
                f"are unreadable: mend them, or leave the class out (those that are not read are in {self.file}); the "
                f"first: {path}: {why} (row {row})"
            )

    def _check(self) -> None:
        if len(self._lines) > self.max_bad:
            row, path, why = list(self._lines.values())[-1].split("\t")
            raise InputError(
                f"{path}: unreadable training image ({why}; row {row}); {len(self._lines)} are unreadable so far,"
                f" data.max_bad accepts {self.max_bad} (-o data.max_bad=N accepts N); all are in {self.file}; "
                "tools/check.py finds the others beforehand"
            )


def one_line(text: str) -> str:
    """Control characters and line separators, which file names may hold, as Python escapes."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], text)
