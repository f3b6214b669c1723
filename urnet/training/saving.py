"""A stage's checkpoints: gathered by the main process, written during the training."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from urnet.checkpoints import checkpoint, second
from urnet.config.recipe import dump_recipe
from urnet.core.side_writer import SideWriter
from urnet.training.stage_job import StageJob

Arrays = dict[str, np.ndarray]


class StageSaver(SideWriter):
    """Writes what the main process hands it into the stage's folder while the training goes on.

    The arrays must be copies: the next step changes the originals. They are held until they are written, so the host
    needs, from one checkpoint until it is on the disk, the bytes of its files once more: 4 a weight for the network,
    as much for a moving average and for each vector of the optimiser (momentum: 1), with ELR, SOP or bags what these
    remember of the rows. Never twice that: call ``wait`` before gathering what is saved next. Pinned memory and the
    device's are not used.
    """

    def __init__(self, job: StageJob) -> None:
        super().__init__()
        self._job = job

    def save(self, name: str, weights: Arrays, step: int, *, prune: bool = False, **parts: Any) -> None:
        """Write the checkpoint ``name``, of the weights after ``step`` steps; ``parts``: ``checkpoint.save``'s.

        ``prune``: then remove all but the newest ``keep`` to resume from. FloatingPointError, and nothing written or
        removed, for weights not finite; that, too, comes with a later call (``SideWriter``).
        """
        parts["recipe_text"] = dump_recipe(self._job.recipe)
        parts["class_names"] = class_lines(self._job.table.class_names)
        self.write(functools.partial(self._save, name, weights, step, prune, parts))

    def has(self, name: str) -> bool:
        """Whether the checkpoint is there, after waiting for those that are being written."""
        self.wait()
        return (self._job.folder / name).exists()

    def prune(self) -> None:
        """Remove all but the newest ``keep`` checkpoints to resume from, now."""
        for old in checkpoints(self._job.folder)[: -self._job.stage.keep]:
            shutil.rmtree(old)

    def _save(self, name: str, weights: Arrays, step: int, prune: bool, parts: dict[str, Any]) -> None:
        self._check_finite(weights, step - 1)
        if self._job.stage.pair:
            weights, other = second.split(weights)
            parts["extra"] = {**parts.get("extra", {}), **other}
        checkpoint.save(self._job.folder / name, weights=weights, **parts)
        if prune:
            self.prune()

    def _check_finite(self, weights: Mapping[str, np.ndarray], step: int) -> None:
        broken = next((key for key, value in weights.items() if not np.isfinite(value).all()), None)
        if broken is not None:
            raise FloatingPointError(
                f"stage {self._job.stage.name}, epoch {step // self._job.steps_per_epoch}, step {step}: the weights "
                f"after it are not finite ({broken}); a lower learning rate, warm-up or "
                "optimizer.clip_norm may help"
            )


def checkpoints(folder: Path) -> list[Path]:
    """A stage's checkpoints for resuming, oldest first."""
    return sorted(folder.glob("step-*"))


def class_lines(names: list[str]) -> list[str] | None:
    """Class names for classes.txt; None where none is known."""
    return names if any(names) else None
