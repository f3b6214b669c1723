"""What frozen parts of the weights that all runs start from make of the images: computed once, shared by all runs.

python -m tools.ablation.kept --home OUT/kept --run OUT/recipes/ladder-seed0.yaml finetune --run …

OUT/kept/kept.features holds it; a run finds it by a link in its folder. It is there before any run begins, so that
several at once only read it, and counts as no run's cost.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import models
from tools.ablation.children import Children, Failed
from tools.ablation.methods import Run
from urnet.config.recipe import Recipe, active_stages
from urnet.config.stage import Stage
from urnet.core import cli
from urnet.pipeline.fingerprints import measures_kept
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.registry import measures

PLACE, FOLDER = "kept", "kept.features"  # below OUT; of a run (``urnet.pipeline.kept_activations``)
LOG = "kept.log"


def home_of(run: Run) -> Path:
    """OUT/kept."""
    return Path(run.recipe.output).parent / PLACE


def link_shared(run: Run) -> None:
    """Let a run that keeps activations find those that are shared; a folder of its own that is there stays."""
    place = run.folder / FOLDER
    if any(stage.train != "all" for stage in run.recipe.stages) and not place.exists():
        place.unlink(missing_ok=True)  # a link that leads nowhere
        (home_of(run) / FOLDER).mkdir(parents=True, exist_ok=True)
        place.symlink_to(Path("../..") / PLACE / FOLDER)


def keep_shared(runs: Sequence[tuple[Run, str]], children: Children) -> None:
    """Compute what these runs, each up to a stage, will share and nobody has computed yet.

    Raises Failed, with the last thing that the child said.
    """
    asking = [(run, until) for run, until in runs if any(run.stage(name).train != "all" for name in run.up_to(until))]
    if not asking:
        return
    home = home_of(asking[0][0])
    words = [word for run, until in asking for word in ("--run", str(run.file), until)]
    code, *_ = children.run([sys.executable, "-m", "tools.ablation.kept", "--home", str(home), *words], home / LOG)
    if code:
        said = (home / LOG).read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-1].strip()
        raise Failed(f"kept activations: {said} (all in {home / LOG})", code)


def main(argv: Sequence[str]) -> None:
    """Compute what is missing for all runs."""
    parser = cli.Parser(description=__doc__)
    add = parser.add_argument
    add("--home", required=True, type=Path, metavar="DIR", help="where it is kept")
    add("--run", required=True, nargs=2, action="append", metavar=("RECIPE", "STAGE"), help="a run, up to a stage")
    args = parser.parse_args(argv)
    done: set[tuple[str, ...]] = set()
    for file, until in args.run:
        keep(load_recipe(file), until, args.home, done)


def keep(recipe: Recipe, until: str, home: Path, done: set[tuple[str, ...]]) -> None:
    """Compute what the stages of ``recipe`` up to ``until`` train on and measure from, but what stages change.

    ``done``: what was looked at before, of this and other recipes; added to.
    """
    from urnet.runtime.threads import import_paddle

    import_paddle()
    from urnet.data.lists.build_table import open_or_build, read_validation
    from urnet.pipeline.fingerprints import Fingerprints
    from urnet.pipeline.kept_activations import OUTPUTS, KeptActivations
    from urnet.pipeline.stage_network import frozen_source, start_network
    from urnet.runtime.precision import choose_device
    from urnet.runtime.process_group import SINGLE_PROCESS

    choose_device(recipe.device)
    recipe = replace(recipe, stages=tuple(map(_without_columns, active_stages(recipe))))
    build = partial(models.build, recipe.model.name, recipe.data.n_classes)
    table = open_or_build(recipe.data, home / "table")
    validation = read_validation(recipe.data, table)
    inputs = Fingerprints(recipe, home, table, validation)
    kept = KeptActivations(inputs, table, validation, build, SINGLE_PROCESS)
    for stage, output, source, views in _asked(recipe, until, OUTPUTS):
        weights = frozen_source(recipe, stage, source, home, output)
        key = (output, weights, str(recipe.seed if views > 2 else ""), str(views))
        if key in done or home in Path(weights).parents:
            continue
        done.add(key)
        network = start_network(recipe, replace(stage, finetune=True), weights, home, build, trains=True)
        if source == stage.start:
            kept.images(stage, network)
        else:
            kept.measurement(stage, network)


def _without_columns(stage: Stage) -> Stage:
    """The stage without what it reads from the table, which is not there yet and changes nothing that is kept."""
    return replace(stage, sampling_weight=(), loss_weight=(), targets="given", subsets=None)


def _asked(recipe: Recipe, until: str, outputs: dict[str, str]) -> Iterator[tuple[Stage, str, str, int]]:
    """(stage, output, source, views) of all that is kept for the stages up to ``until``."""
    before: Stage | None = None
    for stage in recipe.stages:
        if measures(stage) and measures_kept(stage, before):
            yield stage, "features", stage.measure.network, 1
        if stage.train != "all":
            yield stage, outputs[stage.train], stage.start, stage.views
        before = stage
        if stage.name == until:
            return


if __name__ == "__main__":
    sys.exit(cli.run(main))
