"""Level 3: what a training run tells: log.txt, curves, progress bar, unreadable rows, losses gone wrong."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from urnet.checks import InputError
from urnet.curves import Curves
from urnet.files import whole_file
from urnet.progress import Progress
from urnet.recipe import Stage


class Meter:
    """Sums over the steps since the last ``take``: losses, images, seconds of training and of waiting, shares
    of rows that a gate let through."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.losses, self.loss, self.images, self.seconds, self.wait = 0, 0.0, 0, 0.0, 0.0
        self.opened = 0.0

    def take(self) -> dict[str, float]:
        """Means of the loss and of what a gate let through, images a second, the share of the time spent
        waiting for data; then ``reset``."""
        seconds = max(self.seconds, 1e-9)
        taken = {
            "loss": self.loss / max(self.losses, 1),
            "images_per_s": self.images / seconds,
            "data_wait": self.wait / seconds,
            "let_through": self.opened / max(self.losses, 1),
        }
        self.reset()
        return taken


class TrainLog:
    """Tells of one stage's training, in log.txt and curves under ``folder`` and ``curves`` and on stderr.

    The time of a step counts from the end of the one before; ``restart_clock`` leaves out what lay between.
    A loss is read one step late, so that a GPU is never waited for.
    """

    def __init__(
        self, stage: Stage, folder: Path, curves: Path, *, step: int, total: int, per_epoch: int
    ) -> None:
        self.stage, self.total, self.per_epoch, self.every = stage.name, total, per_epoch, stage.log_every
        self._file = (folder / "log.txt").open("a", encoding="utf-8")
        self._curves = Curves(folder / "curves.csv", curves, step)
        self._bar = Progress(f"stage {stage.name}", (total - step) * stage.batch_size)
        self._recent, self._epoch = Meter(), Meter()
        self._unread: Optional[tuple[int, np.ndarray, Any, Any]] = None
        self._gate: Optional[float] = None
        self._clock = time.perf_counter()

    def line(self, text: str, *, show: bool = False) -> None:
        """One line of log.txt; with ``show`` on stderr as well."""
        self._file.write(text + "\n")
        self._file.flush()
        if show:
            self._bar.say(text)

    def restart_clock(self) -> None:
        """What happened since the last step (an evaluation, a checkpoint) is no training time."""
        self._clock = time.perf_counter()

    def step(
        self, step: int, rows: np.ndarray, loss: Any, lr: float, wait: float, *,
        gate: Optional[float] = None, opened: Any = None,
    ) -> None:  # fmt: skip
        """Take note of update ``step`` (from 0): rows, loss (on the device), rate, seconds of waiting, the
        gate's threshold and which rows it let through (1 or 0, on the device), None without a gate."""
        self.read_loss()
        self._unread, self._gate = (step, rows, loss, opened), gate
        now = time.perf_counter()
        for meter in (self._recent, self._epoch):
            meter.images += len(rows)
            meter.seconds += now - self._clock
            meter.wait += wait
        self._clock = now
        self._bar.update(len(rows))
        done = step + 1
        if done % self.every == 0 or done == self.total:
            self._report(done, lr)
        if done % self.per_epoch == 0:
            self._report_epoch(done // self.per_epoch)

    def read_loss(self) -> None:
        """Read the last step's loss; FloatingPointError where it is not finite."""
        if self._unread is None:
            return
        step, rows, loss, opened = self._unread
        self._unread, value = None, float(loss)
        if not math.isfinite(value):
            where = f"stage {self.stage}, epoch {step // self.per_epoch}, step {step}: the loss is {value}"
            self.line(f"{where}; rows {' '.join(map(str, rows))}")
            few = " ".join(map(str, rows[:8])) + (" …" if len(rows) > 8 else "")
            raise FloatingPointError(
                f"{where}; rows of the batch: {few} (all {len(rows)} in {self._file.name}); "
                "a lower learning rate, warm-up or optimizer.clip_norm may help"
            )
        for meter in (self._recent, self._epoch):
            meter.loss += value
            meter.losses += 1
            meter.opened += 0.0 if opened is None else float(opened.mean())

    def _report(self, done: int, lr: float) -> None:
        self.read_loss()
        seen = self._recent.take()
        line = (
            f"step {done}/{self.total}  epoch {done / self.per_epoch:.2f}  loss {seen['loss']:.4f}  "
            f"lr {lr:.6g}  images/s {seen['images_per_s']:.1f}  wait {seen['data_wait']:.1%}"
        )
        opened = seen.pop("let_through")
        points = {f"train/{name}" if name == "loss" else name: value for name, value in seen.items()}
        if self._gate is not None:
            line += f"  gate {self._gate:.3f}  let through {opened:.1%}"
            points.update(gate=self._gate, let_through=opened)
        self.line(line)
        self._curves.add(done, {**points, "lr": lr})
        self._bar.update(
            0, loss=f"{seen['loss']:.3f}", lr=f"{lr:.4g}", wait=f"{seen['data_wait']:.1%}"
        )  # fmt: skip

    def _report_epoch(self, epoch: int) -> None:
        self.read_loss()
        seen = self._epoch.take()
        self.line(
            f"epoch {epoch} done: loss {seen['loss']:.4f}, {seen['images_per_s']:.1f} images/s, "
            f"{seen['data_wait']:.1%} of the time waiting for data"
        )

    def evaluation(self, done: int, metrics: Mapping[str, float], best: bool, seconds: float) -> None:
        """The validation's result after ``done`` steps."""
        self._curves.add(done, {"val/top1": metrics["top1"], "val/top5": metrics["top5"]})
        self.line(
            f"evaluation at step {done}: top1 {metrics['top1']:.4f}  top5 {metrics['top5']:.4f}  "
            f"({seconds:.1f} s){'  best so far' if best else ''}",
            show=True,
        )

    def close(self) -> None:
        """End bar, log and curves."""
        self._bar.close()
        self._curves.close()
        self._file.close()


class Unreadable:
    """The training rows whose images could not be read, kept in a file; too many stop the run.

    A resumed run begins with the rows of the file that ``unreadable(row)`` still says are so: they count,
    images that were mended in between do not. Raises InputError for more than ``max_bad``.
    """

    def __init__(self, file: Path, max_bad: int, unreadable: Callable[[int], bool]) -> None:
        self.file, self.max_bad = file, max_bad
        self._lines: dict[int, str] = {}
        if file.is_file():
            lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line]
            known = {int(line.split("\t")[0]): line for line in lines}
            self._lines = {row: line for row, line in known.items() if unreadable(row)}
            self._check()

    def take(self, bad: Mapping[int, tuple[str, str]], log: TrainLog) -> None:
        """Note rows met for the first time. Raises InputError when there are more than ``max_bad``."""
        new = [row for row in bad if row not in self._lines]
        for row in new:
            path, why = map(one_line, bad[row])
            log.line(f"unreadable, weight 0: {path}: {why} (row {row})", show=True)
            self._lines[row] = f"{row}\t{path}\t{why}"
        if new:
            with whole_file(self.file, replace=True) as part:
                text = "".join(f"{line}\n" for _, line in sorted(self._lines.items()))
                part.write_text(text, encoding="utf-8")
            self._check()

    def _check(self) -> None:
        if len(self._lines) > self.max_bad:
            row, path, why = list(self._lines.values())[-1].split("\t")
            raise InputError(
                f"{path}: unreadable training image ({why}; row {row}); {len(self._lines)} are unreadable,"
                f" data.max_bad accepts {self.max_bad}; all are in {self.file}"
            )


def one_line(text: str) -> str:
    """Control characters and line separators, which file names may hold, as Python escapes."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], text)
