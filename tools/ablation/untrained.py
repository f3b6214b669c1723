"""The accuracy of a recipe's first weights, before any training, left as a finished stage's result.

python -m tools.ablation.untrained -c OUT/recipes/untrained-seed0.yaml
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import models
from urnet.config.recipe import Recipe, active_stages, dump_recipe
from urnet.core import cli
from urnet.pipeline.recipes import load_recipe


def main(argv: Sequence[str]) -> None:
    """Measure, write OUTPUT/NAME/STAGE/final, print one line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("-c", "--config", required=True, metavar="RECIPE", help="the recipe")
    with cli.results_only() as stream:
        metrics = measure(load_recipe(parser.parse_args(argv).config))
        print(f"untrained top1:{metrics['top1']:.4f} top5:{metrics['top5']:.4f}", file=stream)


def measure(recipe: Recipe) -> dict[str, Any]:
    """The metrics of the first stage's first weights on the validation images, saved as its result.

    Without moving average, as there is nothing to average, and of the whole network, of which nothing is kept for it.
    """
    from urnet.runtime.threads import import_paddle

    import_paddle()
    from urnet.checkpoints import checkpoint
    from urnet.core.signals import GracefulStop
    from urnet.data.lists.build_table import open_or_build, read_validation
    from urnet.pipeline.stage_network import start_network
    from urnet.runtime.precision import choose_device
    from urnet.training.passes import KEY, Passes
    from urnet.training.stage_job import StageJob, make_sampler
    from urnet.training.step import TrainState
    from urnet.training.validation import evaluated

    choose_device(recipe.device)
    stage = replace(active_stages(recipe)[0], ema=None, train="all", views=1)
    home = Path(recipe.output) / recipe.name
    table = open_or_build(recipe.data, home / "table")
    labels = table.column("label")
    build = partial(models.build, recipe.model.name, recipe.data.n_classes)
    job = StageJob(
        recipe=recipe,
        stage=stage,
        network=start_network(recipe, stage, stage.start, home, build, trains=True),
        amp=None,
        table=table,
        labels=labels,
        loss_weight=np.ones(len(labels), np.float32),
        sampler=make_sampler(recipe, stage, labels),
        validation=read_validation(recipe.data, table),
        folder=home / stage.name,
        curves=home / "curves",
    )
    train_state = TrainState(job.network, stage, recipe.transform)
    with GracefulStop() as stop, evaluated(job, train_state, stop) as found:
        metrics = {**found, "step": 0}
    state = {"stage": stage.name, "step": 0, "total_steps": 0, "epoch": 0.0, "best": metrics, "last": metrics}
    state[KEY] = asdict(Passes())
    checkpoint.save(job.folder / "final", weights=train_state.weights(), state=state, recipe_text=dump_recipe(recipe))
    return metrics


if __name__ == "__main__":
    sys.exit(cli.run(main))
