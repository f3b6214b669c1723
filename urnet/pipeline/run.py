"""A recipe's stages, one after the other: table, reweighting, weights, training."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from urnet.checkpoints import checkpoint
from urnet.config.recipe import Recipe, active_stages, recipe_hash
from urnet.config.stage import Stage
from urnet.core.checks import InputError
from urnet.core.cli import is_main
from urnet.data.lists.build_table import note_shared_rows, read_validation
from urnet.data.lists.image_list import ImageList, Names
from urnet.data.lists.missing import check_some_there
from urnet.data.lists.training_rows import training_rows
from urnet.data.table.table import Table
from urnet.nn.batch_norms import synchronise
from urnet.nn.network import Network
from urnet.pipeline import row_weights, run_folder
from urnet.pipeline.columns import ColumnWriter, passes_before
from urnet.pipeline.fingerprints import Fingerprints
from urnet.pipeline.kept_activations import KeptActivations, check_parts
from urnet.pipeline.plan import Step, check_steps, chosen_stages, plan_steps, unrecorded
from urnet.pipeline.preflight import check_shared, check_stages
from urnet.pipeline.run_table import planned_table, remove, run_table
from urnet.pipeline.stage_network import BuildNetwork, check_weights, start_network, start_pair
from urnet.runtime.precision import choose_amp, choose_device, tune_gpu
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from urnet.training.compiled import check_compile
from urnet.training.stage_job import StageJob
from urnet.training.trainer import Trainer


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
    stages, or where the lists have changed, the run's own table too. Raises InputError for an unfinished stage
    where neither is given; what is refused before the first stage begins leaves nothing behind.
    ``build_network()`` returns a new network with random weights. All processes of ``group`` call this with the same
    arguments and get the same; the main one writes, and all must see the same run's folder.
    """
    home, chosen = run_folder.home_of(recipe), chosen_stages(recipe, only, until)
    device, amps = _devices(recipe, chosen, group.size)
    if device == "gpu":
        tune_gpu(half=any(amps.values()), channels_last=recipe.model.data_format == "NHWC")
    with contextlib.ExitStack() as held:
        with group.main_first():
            if group.is_main:
                held.enter_context(run_folder.locked_run(recipe))
            validation = _validation(recipe)
        check_shared(home, group)
        with group.main_first(), run_table(recipe, chosen, replace, group.is_main) as table:
            validation = validation or read_validation(recipe.data, table)
            inputs = Fingerprints(recipe, home, table, validation)
            steps = _steps(chosen, inputs, build_network, resume, replace, group.size, mine=group.is_main)
            _check_images(steps, inputs, validation)
        if group.is_main:
            note_shared_rows(recipe.data, table, validation)
            _say_unrecorded(steps, inputs)
        kept = KeptActivations(inputs, table, validation, build_network, group)
        run = _Run(inputs, table, validation, build_network, replace, group, kept)
        return [run.carry_out(step, amps[step.stage.name]) for step in steps]


def plan_recipe(
    recipe: Recipe,
    build_network: BuildNetwork | None = None,
    *,
    only: str | None = None,
    until: str | None = None,
    resume: bool = False,
    replace: bool = False,
    n_processes: int = 1,
) -> list[Step]:
    """What ``run_recipe`` of ``n_processes`` would do, and why; nothing is left behind. Raises InputError as it would.

    Lists are read and counted as they would be, weights are loaded into a network (without ``build_network`` those
    are left to the run); no image is read.
    """
    chosen = chosen_stages(recipe, only, until)
    with planned_run(recipe, build_network, chosen, resume=resume, replace=replace, n_processes=n_processes) as planned:
        return planned.steps


@dataclass(frozen=True)
class PlannedRun:
    """What a run would do, and on what: ``inputs.table`` is gone after the block if no run has built it."""

    steps: list[Step]
    inputs: Fingerprints
    table: Table
    validation: ImageList


@contextlib.contextmanager
def planned_run(
    recipe: Recipe,
    build_network: BuildNetwork | None,
    chosen: Sequence[Stage],
    *,
    resume: bool = False,
    replace: bool = False,
    n_processes: int = 1,
    paths: bool = False,
) -> Iterator[PlannedRun]:
    """As ``plan_recipe``, with what was read. ``paths``: a table that is built for it knows its images' paths."""
    home = run_folder.home_of(recipe)
    _devices(recipe, chosen, n_processes)
    with run_folder.locked_run(recipe, keep=False):
        pass  # it could begin
    validation = _validation(recipe)
    with planned_table(recipe, chosen, replace, paths=paths) as table:
        validation = validation or read_validation(recipe.data, table)
        inputs = Fingerprints(recipe, home, table, validation)
        steps = _steps(chosen, inputs, build_network, resume, replace, n_processes, fetch=False)
        _check_images(steps, inputs, validation)
        note_shared_rows(recipe.data, table, validation)
        _say_unrecorded(steps, inputs)
        yield PlannedRun(steps, inputs, table, validation)


def _validation(recipe: Recipe) -> ImageList | None:
    """The validation images, before anything is written; None where the table decides which they are."""
    return read_validation(recipe.data) if recipe.data.val_split is None else None


def _devices(recipe: Recipe, chosen: Sequence[Stage], n_processes: int) -> tuple[str, dict[str, str | None]]:
    """The device of the run, and the number format of each of its stages. InputError for keys it does not have."""
    device, model = choose_device(recipe.device), recipe.model
    amps = {s.name: choose_amp(s.amp, device, f"stages.{s.name}.amp") for s in chosen}
    if device == "gpu" and is_main() and any(s.amp == "auto" and amps[s.name] is None for s in chosen):
        print("note: amp: auto is off, as this GPU has no mixed precision", file=sys.stderr)
    check_compile(recipe, chosen, n_processes)
    if model.channels_last:
        raise InputError(
            "model.channels_last: found true; it asked for Paddle's layout tuning, which does nothing with bf16; "
            "accepted: false, and model.data_format: NHWC for channels last"
        )
    if device != "gpu" and model.sync_batch_norm and n_processes > 1:
        raise InputError("model.sync_batch_norm: found true; Paddle has it on GPUs only, not on the CPU")
    if device == "gpu" and is_main() and model.data_format == "NHWC" and None in amps.values():
        names = ", ".join(name for name, amp in amps.items() if amp is None)
        print(
            f"note: model.data_format: NHWC: stage {names} computes in float32, where Paddle transposes the maps "
            "around every convolution, which NCHW avoids",
            file=sys.stderr,
        )
    return device, amps


def _steps(
    chosen: Sequence[Stage],
    inputs: Fingerprints,
    build_network: BuildNetwork | None,
    resume: bool,
    replace: bool,
    n_processes: int,
    *,
    mine: bool = False,
    fetch: bool = True,
) -> list[Step]:
    """What is to be done. Raises InputError for what could not be done when its turn comes."""
    steps = plan_steps(chosen, inputs, replace=replace, mine=mine)
    check_steps(steps, inputs, resume=resume)
    check_stages(chosen, inputs, n_processes)
    if build_network is not None:
        check_parts(chosen, build_network, inputs.recipe.model.name)
        check_weights(steps, inputs, build_network, fetch=fetch)
    return steps


def _check_images(steps: Sequence[Step], inputs: Fingerprints, validation: ImageList) -> None:
    """Raise InputError where a stage is to train and a list is of another folder than the one that is given."""
    data, table = inputs.recipe.data, inputs.table
    if all(step.action == "keep" for step in steps):
        return
    if table is not None and data.format != "folder" and data.val_split is None:  # else they were found, or read
        paths, _ = next(training_rows(data, quiet=True))  # of a plan the table has none
        check_some_there(str(data.train_list or data.root), table.root, Names(paths))
    if validation.lines is not None:
        check_some_there(str(validation.source), validation.root, Names(validation.paths.arrow))


def _say_unrecorded(steps: Sequence[Step], inputs: Fingerprints) -> None:
    names = unrecorded(steps, inputs)
    if names:
        print(
            f"note: stage {', '.join(names)}: the validation images were not recorded when it was trained, so it is "
            "not known whether they have changed since",
            file=sys.stderr,
        )


@dataclass(frozen=True)
class _Run:
    """What all stages of a run share."""

    inputs: Fingerprints
    table: Table
    validation: ImageList
    build_network: BuildNetwork
    replace: bool
    group: ProcessGroup
    kept: KeptActivations

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
                run_folder.begin(folder, self.recipe, self.inputs.recorded(stage.name))
        standing = trainer.train(resume=step.action == "resume")
        if stage.bags is not None and not self.group.is_main:
            self.table.refresh()  # the main process has written the attention
        return StageResult(stage.name, folder, standing.best, standing.last)

    def _clear(self, step: Step, folder: Path) -> None:
        if self.replace:
            remove([folder])
        else:
            place = run_folder.set_aside(folder)
            print(
                f"stage {step.stage.name}: runs again, as {step.why}; its earlier result is in {place}", file=sys.stderr
            )

    def _write_columns(self, stage: Stage, amp: str | None) -> None:
        if stage.reweight is None:
            return
        from_kept = stage.name in self.inputs.measures_kept
        kept = functools.partial(self.kept.measurement, stage) if from_kept else None
        writer = ColumnWriter(stage, self.inputs, self.group, kept)
        writer.write(lambda: self._network(stage, stage.measure.network), amp)

    def _job(self, stage: Stage, amp: str | None, folder: Path, say: bool) -> StageJob:
        if stage.pair:
            network = start_pair(self.recipe, stage, self.home, self.build_network, say=say)
        else:
            network = self._network(stage, stage.start, trains=True, say=say)
        part = stage.train != "all"
        if self.recipe.model.sync_batch_norm and not self.group.is_single and not part:
            synchronise(network)
        kept = self.kept.images(stage, network) if part else None
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
            curves=self.home / "curves",
            earlier_curves=self._earlier_curves(stage),
            targets=row_weights.soft_targets(stage, self.table),
            certain=row_weights.certain_rows(self.table),
            made_by=recipe_hash(self.inputs.of[stage.name]),
            group=self.group,
            passes_before=passes_before(stage, self.table, 0 if kept is None else kept.made),
            kept=kept,
        )

    def _earlier_curves(self, stage: Stage) -> tuple[Path, ...]:
        """Where the stages before it have their curves."""
        names = [one.name for one in active_stages(self.recipe)]
        return tuple(self.home / name / "curves.csv" for name in names[: names.index(stage.name)])

    def _network(self, stage: Stage, source: str, **how: bool) -> Network:
        return start_network(self.recipe, stage, source, self.home, self.build_network, **how)
