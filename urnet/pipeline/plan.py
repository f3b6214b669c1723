"""What a call of train.py will do with each stage, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from urnet.config.recipe import Recipe, active_stages
from urnet.config.stage import Stage
from urnet.core.checks import InputError, check_choice
from urnet.core.counted import plural
from urnet.pipeline import run_folder
from urnet.pipeline.fingerprints import VALIDATION, Fingerprints
from urnet.pipeline.registry import measures

Action = Literal["keep", "resume", "run", "again"]


@dataclass(frozen=True)
class Step:
    """One stage: ``keep`` its result, ``resume`` its training, ``run`` it, or run it ``again``."""

    stage: Stage
    action: Action
    why: str


def chosen_stages(recipe: Recipe, only: str | None, until: str | None) -> list[Stage]:
    """The stages that are switched on, cut to ``only`` one or to those up to ``until``."""
    stages = list(active_stages(recipe))
    names = [stage.name for stage in stages]
    for flag, name in (("--stage", only), ("--until", until)):
        if name is not None:
            check_choice(flag, name, names)
    if only is not None:
        return [stage for stage in stages if stage.name == only]
    return stages[: None if until is None else names.index(until) + 1]


def plan_steps(
    chosen: Sequence[Stage], inputs: Fingerprints, *, replace: bool = False, mine: bool = False
) -> list[Step]:
    """What is to be done with each of the chosen stages. InputError for a folder that is not a stage's.

    ``mine``: this process holds the run's lock (``run_folder.condition``).
    """
    for stage in chosen:
        run_folder.condition(inputs.home / stage.name, mine=mine)
    return [_step(stage, inputs, replace) for stage in chosen]


def _step(stage: Stage, inputs: Fingerprints, replace: bool) -> Step:
    folder = inputs.home / stage.name
    found = run_folder.condition(folder)
    if found == "nothing":
        return Step(stage, "run", "not trained yet")
    if replace:
        return Step(stage, "again", "--replace")
    changed = run_folder.changes(folder, inputs.of[stage.name], inputs.validation)
    if changed:
        more = f" and {plural(len(changed) - 3, 'more key')}" if len(changed) > 3 else ""
        return Step(stage, "again", "; ".join(changed[:3]) + more)
    if found != "finished":
        return Step(stage, "resume", "unfinished")
    if stage.bags is not None and not inputs.has_column("bag_attention"):
        return Step(stage, "again", "its bag.arrow is missing")
    return Step(stage, "keep", "finished already")


def check_steps(steps: Sequence[Step], inputs: Fingerprints, *, resume: bool) -> None:
    """Refuse what cannot begin: an unfinished stage without --resume, or one whose start is not there."""
    for step in steps:
        if step.action == "resume" and not resume:
            raise InputError(
                f"{inputs.home / step.stage.name}: holds an unfinished training; pass --resume to continue it, or "
                "--replace to start again"
            )
    planned, stages = {step.stage.name for step in steps}, {s.name: s for s in active_stages(inputs.recipe)}
    for step in steps:
        for name in sorted(inputs.needs[step.stage.name] - planned):
            _check_finished(stages[name], step.stage, inputs)


def unrecorded(steps: Sequence[Step], inputs: Fingerprints) -> list[str]:
    """The stages that are kept though nobody knows what they were validated on: it was not recorded then."""
    kept = [step.stage.name for step in steps if step.action == "keep"]
    return [name for name in kept if VALIDATION not in run_folder.read_inputs(inputs.home / name)]


def sources(stage: Stage) -> tuple[str, ...]:
    """Where a stage's networks come from: the one it starts from, and the one it measures with."""
    return (stage.start, stage.measure.network) if measures(stage) else (stage.start,)


def _check_finished(needed: Stage, stage: Stage, inputs: Fingerprints) -> None:
    folder = inputs.home / needed.name
    if run_folder.condition(folder) != "finished":
        raise InputError(f"--stage {stage.name}: stage {needed.name}, which it builds on, is not finished")
    changed = run_folder.changes(folder, inputs.of[needed.name], inputs.validation)
    if not changed and not inputs.columns_fit(needed):
        changed = ["its columns are not in the table"]
    if changed:
        raise InputError(
            f"--stage {stage.name}: stage {needed.name}, which it builds on, was trained with other settings: "
            f"{changed[0]}; run it again first (--stage {needed.name})"
        )
