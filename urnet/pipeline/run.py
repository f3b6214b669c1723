"""A recipe's stages, one after the other: table, reweighting, weights, training."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddle import nn

from urnet.checkpoints import checkpoint
from urnet.checkpoints.load import classifiers_text
from urnet.config.recipe import Recipe, active_stages, recipe_hash
from urnet.config.stage import Stage
from urnet.core.checks import InputError
from urnet.core.cli import is_main
from urnet.data.lists.build_table import open_or_build, read_validation
from urnet.data.lists.image_list import ImageList
from urnet.data.table.table import Table
from urnet.nn.network import Network
from urnet.pipeline import row_weights, run_folder
from urnet.pipeline.columns import ColumnWriter
from urnet.pipeline.fingerprints import Fingerprints
from urnet.pipeline.plan import Step, check_steps, chosen_stages, plan_steps
from urnet.pipeline.preflight import check_shared, check_stages
from urnet.runtime.precision import choose_amp, choose_device, tune_gpu
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from urnet.training.stage_job import StageJob
from urnet.training.trainer import Trainer, seed_network

BuildNetwork = Callable[[], Network]


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
    only: str | None = None,
    until: str | None = None,
    resume: bool = False,
    replace: bool = False,
    group: ProcessGroup = SINGLE_PROCESS,
) -> list[StageResult]:
    """Train the stages of a recipe (all, ``only`` one, or those up to ``until``) under OUTPUT/NAME.

    Returns their results. A stage that is finished and whose inputs are what they were is not trained again:
    a line says so. One whose inputs have changed (settings, data, the outcome of a stage it builds on) is run
    again: a line says why, and what was there is moved to OUTPUT/NAME/replaced. An unfinished one is resumed
    with ``resume``. ``replace`` removes what the chosen stages left behind and trains them anew; for all
    stages the run's own table too. Raises InputError for an unfinished stage where neither is given.
    ``build_network()`` returns a new network with random weights. All processes of ``group`` call this with the same
    arguments and get the same; the main one writes, and all must see the same run's folder.
    """
    home, chosen = _home(recipe), chosen_stages(recipe, only, until)
    device, amps = _devices(recipe, chosen)
    _check_gpu_keys(recipe, device, group)
    anew = replace and len(chosen) == len(active_stages(recipe)) and recipe.data.table is None
    with contextlib.ExitStack() as held:
        with group.main_first():
            if group.is_main:
                for folder in [home] if recipe.data.table is None else [home, Path(recipe.data.table)]:
                    held.enter_context(run_folder.locked(folder))
            validation = read_validation(recipe.data)
        check_shared(home, group)
        with group.main_first(), _table(recipe, anew, group.is_main) as table:
            inputs = Fingerprints(recipe, home, table)
            steps = plan_steps(chosen, inputs, replace=replace, mine=group.is_main)
            check_steps(steps, inputs, resume=resume)
            check_stages(chosen, inputs, group)
        run = _Run(inputs, table, validation, build_network, replace, group)
        return [run.carry_out(step, amps[step.stage.name]) for step in steps]


def _home(recipe: Recipe) -> Path:
    return Path(recipe.output) / recipe.name


def _table_folder(recipe: Recipe) -> Path:
    return Path(recipe.data.table or _home(recipe) / "table")


def _devices(recipe: Recipe, chosen: Sequence[Stage]) -> tuple[str, dict[str, str | None]]:
    """The device of the run, and the number format of each of its stages."""
    device = choose_device(recipe.device)
    amps = {s.name: choose_amp(s.amp, device, f"stages.{s.name}.amp") for s in chosen}
    if is_main() and any(s.amp == "auto" and amps[s.name] is None for s in chosen):
        print(f"note: amp: auto is off, the {device} has no mixed precision here", file=sys.stderr)
    return device, amps


def _check_gpu_keys(recipe: Recipe, device: str, group: ProcessGroup) -> None:
    """Set a GPU up; on the CPU raise InputError for keys that need one."""
    model = recipe.model
    if device == "gpu":
        tune_gpu(model.channels_last)
    elif model.channels_last or (model.sync_batch_norm and not group.is_single):
        key = "channels_last" if model.channels_last else "sync_batch_norm"
        raise InputError(f"model.{key}: found true; Paddle has it on GPUs only, not on the CPU")


@contextlib.contextmanager
def _table(recipe: Recipe, anew: bool, mine: bool) -> Iterator[Table]:
    """The run's table, built where there is none; ``anew``: built again, the old one comes back on an error.

    A table that several runs share is held by one of them at a time; ``mine``: by this process.
    """
    folder, aside = _table_folder(recipe), _home(recipe) / ".table.old"
    if not mine:
        yield open_or_build(recipe.data, folder)
        return
    if aside.exists():  # a run was killed in the block below
        _remove([folder])
        aside.rename(folder)
    if anew and folder.exists():
        folder.rename(aside)
    try:
        yield open_or_build(recipe.data, folder)
    except BaseException:
        if aside.exists():
            _remove([folder])
            aside.rename(folder)
        raise
    _remove([aside])


def plan_recipe(
    recipe: Recipe, *, only: str | None = None, until: str | None = None, resume: bool = False, replace: bool = False
) -> list[Step]:
    """What ``run_recipe`` would do, and why; nothing is written. Raises InputError as it would.

    Where the run's table is not there yet, what depends on its rows (a duration too short for a step) is left
    to the run itself.
    """
    chosen = chosen_stages(recipe, only, until)
    _devices(recipe, chosen)
    folder = _table_folder(recipe)
    read_validation(recipe.data)
    table = open_or_build(recipe.data, folder) if (folder / "base.arrow").exists() else None
    inputs = Fingerprints(recipe, _home(recipe), table)
    steps = plan_steps(chosen, inputs, replace=replace)
    check_steps(steps, inputs, resume=resume)
    check_stages(chosen, inputs)
    return steps


def _remove(places: Sequence[Path]) -> None:
    for place in places:
        if place.exists():
            shutil.rmtree(place)


@dataclass(frozen=True)
class _Run:
    """What all stages of a run share."""

    inputs: Fingerprints
    table: Table
    validation: ImageList
    build_network: BuildNetwork
    replace: bool
    group: ProcessGroup

    @property
    def recipe(self) -> Recipe:
        return self.inputs.recipe

    @property
    def home(self) -> Path:
        return self.inputs.home

    def carry_out(self, step: Step, amp: str | None) -> StageResult:
        """Do what the plan says of one stage."""
        stage, folder = step.stage, self.home / step.stage.name
        if step.action == "keep":
            if self.group.is_main:
                print(f"stage {stage.name}: finished already, kept ({folder})", file=sys.stderr)
            self._write_columns(stage, amp)  # the table may have been built again since
            state = checkpoint.describe(folder / "final").state or {}
            return StageResult(stage.name, folder, state["best"], state["last"])
        with self.group.main_first():
            if step.action == "again" and self.group.is_main:
                self._clear(step, folder)
        self._write_columns(stage, amp)
        say = self.group.is_main and step.action != "resume"  # a resumed stage said it when it began
        trainer = Trainer(self._job(stage, amp, folder, say))
        with self.group.main_first():
            if step.action != "resume" and self.group.is_main:
                # only now: what was refused so far leaves no unfinished training behind
                run_folder.begin(folder, self.recipe, self.inputs.of[stage.name])
        standing = trainer.train(resume=step.action == "resume")
        if stage.bags is not None and not self.group.is_main:
            self.table.refresh()  # the main process has written the attention
        return StageResult(stage.name, folder, standing.best, standing.last)

    def _clear(self, step: Step, folder: Path) -> None:
        if self.replace:
            _remove([folder])
        else:
            place = run_folder.set_aside(folder)
            print(f"stage {step.stage.name}: runs again, as {step.why}; what it had is in {place}", file=sys.stderr)
        _remove([self.home / "curves" / step.stage.name])

    def _write_columns(self, stage: Stage, amp: str | None) -> None:
        if stage.reweight is None:
            return
        writer = ColumnWriter(stage, self.inputs, self.group)
        writer.write(lambda: self._network(stage, stage.measure.network), amp)

    def _job(self, stage: Stage, amp: str | None, folder: Path, say: bool) -> StageJob:
        network = self._network(stage, stage.start, trains=True, say=say)
        if self.recipe.model.sync_batch_norm and not self.group.is_single:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return StageJob(
            recipe=self.recipe,
            stage=stage,
            network=network,
            amp=amp,
            table=self.table,
            labels=self.table.column("label"),
            validation=self.validation,
            folder=folder,
            loss_weight=row_weights.loss_weight(stage, self.table),
            sampler=row_weights.sampler_of(self.recipe, stage, self.table),
            curves=self.home / "curves" / stage.name,
            targets=row_weights.soft_targets(stage, self.table),
            made_by=recipe_hash(self.inputs.of[stage.name]),
            group=self.group,
        )

    def _network(self, stage: Stage, source: str, **how: bool) -> Network:
        return start_network(self.recipe, stage, source, self.home, self.build_network, **how)


def start_network(
    recipe: Recipe,
    stage: Stage,
    source: str,
    home: Path,
    build_network: BuildNetwork,
    *,
    trains: bool = False,
    say: bool = False,
) -> Network:
    """A network with the weights a stage starts from (``trains``), or measures with.

    With ``stage.finetune`` the one that trains may have another classifier than the weights: it then keeps
    its first random one; with ``say`` a line on stderr tells. ``previous`` means the last weights of the
    stage before, not its best ones: those were chosen on the validation images, which must not steer
    training.
    """
    seed_network(recipe.seed, stage.name, 0)
    network = build_network()
    names = [s.name for s in active_stages(recipe)]
    if source == "previous":
        before = names.index(stage.name) - 1
        source = str(home / names[before] / "final") if before >= 0 else "scratch"
    if source != "scratch":
        weights = checkpoint.read_weights(source, network)
        finetune = trains and stage.finetune
        hint = f"; a new one is trained with --finetune (stages.{stage.name}.finetune)" if trains else ""
        kept = checkpoint.load_into(network, weights, strict=not finetune, source=source, hint=hint)
        if finetune and say:
            print(f"stage {stage.name}: from {source}: {classifiers_text(kept, weights, network)}", file=sys.stderr)
    return network
