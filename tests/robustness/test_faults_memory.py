"""A long run needs no more memory, open files, threads or objects at its end than at its beginning."""

import gc
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import train
from tests.helpers.forked import fork
from tests.helpers.tiny_training import write_images, write_recipe
from urnet.core import cli
from urnet.training.trainer import Trainer

EARLY = 2  # epochs


def _train(recipe: str, workers: int, file: str) -> None:
    """Train, and note after each checkpoint, one per epoch: bytes in memory, handles, threads, objects."""
    seen, save = [], Trainer._save_checkpoint

    def watched(self: Trainer, log: Any) -> None:
        save(self, log)
        self.saver.wait()
        gc.collect()
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        counts = [len(os.listdir(f"/proc/self/{name}")) for name in ("fd", "task")]  # noqa: PTH208
        seen.append((resident, *counts, len(gc.get_objects())))  # a list would be an object more

    Trainer._save_checkpoint = watched  # type: ignore[method-assign]
    code = cli.run(train.main, ["-c", recipe, "-o", f"data.workers={workers}"])
    Path(file).write_text(json.dumps([code, seen]))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell by files")
@pytest.mark.parametrize(
    ("late", "workers"), [(6, 0), *(pytest.param(20, workers, marks=pytest.mark.slow) for workers in (0, 2))]
)
def test_epochs_leave_memory_handles_threads_and_objects_as_they_were(tmp_path, late, workers):
    """With a moving average, an evaluation and a checkpoint every epoch."""
    write_images(tmp_path)
    each = dict.fromkeys(("eval_every", "checkpoint_every"), "1 epochs")
    recipe = write_recipe(tmp_path, duration=f"{late + 1} epochs", log_every=1, **each)
    arguments = str(recipe), workers, str(tmp_path / "seen.json")
    fork(_train, *arguments).join(600)
    code, seen = json.loads((tmp_path / "seen.json").read_text())
    assert (code, len(seen)) == (0, late + 1)
    early = np.array(seen[EARLY - 1])
    resident, *counts, objects = np.array(seen[late - 1]) - early
    assert resident < 0.05 * early[0], seen
    assert counts == [0, 0], seen
    assert objects < late - EARLY, seen  # less than one per epoch
