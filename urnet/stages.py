"""Level 4: a recipe's stages, one after the other: table, reweighting, weights, training.

Only this room joins reweightings, table and trainer.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from urnet import checkpoint, row_weights, run_folder
from urnet.checks import InputError, check_choice
from urnet.image_list import ImageList
from urnet.listing import open_or_build, read_validation
from urnet.precision import choose_amp, choose_device
from urnet.recipe import Recipe, Stage, recipe_hash, recipe_tree
from urnet.reweight.class_size import class_size
from urnet.sampler import EpochOrder
from urnet.schedule import plan
from urnet.table import Table
from urnet.task import Task
from urnet.trainer import Trainer, seed_network

BuildNetwork = Callable[[], Any]


@dataclass(frozen=True)
class StageResult:
    """A trained stage: its folder and the metrics and step of its best and its last evaluation."""

    stage: str
    folder: Path
    best: dict[str, Any]
    last: dict[str, Any]


def run_recipe(
    recipe: Recipe,
    build_network: BuildNetwork,
    *,
    only: Optional[str] = None,
    resume: bool = False,
    replace: bool = False,
) -> list[StageResult]:
    """Train all stages of a recipe, or ``only`` one, under OUTPUT/NAME; returns their results.

    A stage that is finished is not trained again: a line says so, and its result is read. An unfinished one
    goes on with ``resume``; ``replace`` first removes what the stages at hand left behind, and for all stages
    the run's own table, which is built again. Raises InputError where an unfinished stage meets neither, or
    where what is there was trained with another recipe or table.
    ``build_network()`` returns a new network with random weights.
    """
    if only is not None:
        check_choice("--stage", only, [stage.name for stage in recipe.stages])
    home = Path(recipe.output) / recipe.name
    device = choose_device(recipe.device)
    amps = [choose_amp(s.amp, device, f"stages.{s.name}.amp") for s in recipe.stages]
    with run_folder.locked(home):
        chosen = [stage for stage in recipe.stages if only in (None, stage.name)]
        _check_folders(recipe, chosen, home, resume=resume, replace=replace)
        validation = read_validation(recipe.data)
        if replace and len(chosen) == len(recipe.stages) and recipe.data.table is None:
            _remove([home / "table"])
        table = open_or_build(recipe.data, recipe.data.table or home / "table")
        _check_stages(recipe, chosen, table, home)
        if replace:  # only now: a recipe with a slip must not cost an earlier result
            _remove([place for s in chosen for place in (home / s.name, home / "curves" / s.name)])
        return [
            _run_stage(recipe, stage, amp, table, validation, home, build_network, replace)
            for stage, amp in zip(recipe.stages, amps)
            if stage in chosen
        ]


def _check_folders(
    recipe: Recipe, chosen: Sequence[Stage], home: Path, *, resume: bool, replace: bool
) -> None:
    """Everything that can be refused is refused before anything is read or removed."""
    for stage in chosen:
        folder, found = home / stage.name, run_folder.condition(home / stage.name)
        if found != "nothing" and not replace:
            run_folder.check_fits(folder, recipe, stage.name)
        if found == "unfinished" and not (replace or resume):
            raise InputError(
                f"{folder}: holds an unfinished training; pass --resume to go on with it, "
                "or --replace to begin anew"
            )
    for before, stage in zip(recipe.stages, recipe.stages[1:]):
        if stage in chosen and before not in chosen and stage.start == "previous":
            if run_folder.condition(home / before.name) != "finished":
                raise InputError(f"--stage {stage.name}: stage {before.name}, before it, is not finished")
            run_folder.check_fits(home / before.name, recipe, before.name)


def _check_stages(recipe: Recipe, chosen: Sequence[Stage], table: Table, home: Path) -> None:
    """What a stage would be refused for is refused before an earlier one trains, perhaps for days."""
    columns, labels = list(table.columns), table.column("label")
    made_by = {_made_by(stage) for stage in recipe.stages if stage.reweight is not None}
    if len(made_by) > 1:
        raise InputError(
            "stages: reweight, balance and sampling_weight must be the same in all stages that reweight, as "
            "the table holds one class_weight"
        )
    for stage in recipe.stages:
        if stage.reweight is not None and "class_weight" not in columns:
            columns.append("class_weight")
        if stage not in chosen:
            continue
        order = EpochOrder(labels, seed=recipe.seed, stage=stage.name, n_classes=recipe.data.n_classes)
        plan(stage, order.steps_per_epoch(stage.batch_size))
        for key in ("loss_weight", "sampling_weight"):
            row_weights.check_columns(stage, key, columns)
        own = home.absolute() in Path(stage.start).absolute().parents  # may be written by this very run
        if stage.start not in ("previous", "scratch") and not own:
            checkpoint.describe(stage.start)


def _remove(places: Sequence[Path]) -> None:
    for place in places:
        if place.exists():
            shutil.rmtree(place)


def _run_stage(
    recipe: Recipe, stage: Stage, amp: Optional[str], table: Table, validation: ImageList, home: Path,
    build_network: BuildNetwork, replace: bool,
) -> StageResult:  # fmt: skip
    folder = home / stage.name
    found = run_folder.condition(folder)
    if found == "finished":
        print(f"stage {stage.name}: finished already, kept ({folder})", file=sys.stderr)
        return _finished(stage, folder, table)
    labels = table.column("label")
    order = EpochOrder(
        labels, sampling_weight=row_weights.sampling_weight(stage, table), balance=stage.balance,
        seed=recipe.seed, stage=stage.name, n_classes=recipe.data.n_classes,
    )  # fmt: skip
    own_table = recipe.data.table is None
    _reweight(stage, table, labels, order, replace=replace or (own_table and found == "nothing"))
    task = Task(
        recipe=recipe, stage=stage, network=_start(recipe, stage, home, build_network), amp=amp, table=table,
        labels=labels, loss_weight=row_weights.product(stage, "loss_weight", table), order=order,
        validation=validation, folder=folder, curves=home / "curves" / stage.name,
    )  # fmt: skip
    trainer = Trainer(task)
    if found == "nothing":  # only now: what was refused so far leaves no unfinished training behind
        run_folder.begin(folder, recipe)
    standing = trainer.train(resume=found == "unfinished")
    return StageResult(stage.name, folder, standing.best, standing.last)


def _finished(stage: Stage, folder: Path, table: Table) -> StageResult:
    state = checkpoint.describe(folder / "final").state or {}
    if state["base_hash"] != table.base_hash:
        raise InputError(
            f"{folder}: was trained on table {state['base_hash'][:16]}, the table is now "
            f"{table.base_hash[:16]}; choose another name or output, or pass --replace to train it anew"
        )
    return StageResult(stage.name, folder, state["best"], state["last"])


def _reweight(stage: Stage, table: Table, labels: np.ndarray, order: EpochOrder, *, replace: bool) -> None:
    """Compute the stage's columns and write them, unless they stand there from the same settings.

    With ``replace`` columns that this very stage wrote from other settings are written over.
    """
    if stage.reweight is None:
        return
    made_by = _made_by(stage)
    if "class_weight" in table.columns:
        found = table.describe("class")
        if found["recipe_hash"] == made_by:
            return
        if not (replace and found["stage"] == stage.name):
            raise InputError(
                f"{table.folder}/class.arrow: was written by stage {found['stage']} with other settings than "
                f"stages.{stage.name}.reweight and its sampling; use another data.table"
            )
    settings = _settings(stage)
    columns = class_size(labels, order.n_classes, sampled_share=order.sampled_share(), **settings)
    table.write(
        "class", columns, stage=stage.name, recipe_hash=made_by, checkpoint="", replace=replace
    )  # fmt: skip


def _settings(stage: Stage) -> dict[str, Any]:
    """The arguments of the stage's reweighting."""
    return {key: value for key, value in recipe_tree(stage.reweight).items() if key != "method"}


def _made_by(stage: Stage) -> str:
    """A hash of all that the columns of the stage's reweighting depend on, but for the rows."""
    sampling = [stage.balance, list(stage.sampling_weight)]
    return recipe_hash({"class_size": _settings(stage), "sampling": sampling})


def _start(recipe: Recipe, stage: Stage, home: Path, build_network: BuildNetwork) -> Any:
    """A network with the weights the stage starts from.

    ``previous`` means the last weights of the stage before, not its best ones: those were chosen on the
    validation images, which must not steer training.
    """
    seed_network(recipe.seed, stage.name, 0)
    network = build_network()
    names = [s.name for s in recipe.stages]
    source = stage.start
    if source == "previous":
        before = names.index(stage.name) - 1
        source = str(home / names[before] / "final") if before >= 0 else "scratch"
    if source != "scratch":
        weights = checkpoint.read_weights(source, network)
        checkpoint.load_into(network, weights, source=source)
    return network
