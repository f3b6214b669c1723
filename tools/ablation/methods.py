"""What is compared, each method as a recipe derived from one that holds the whole ladder.

The ladder is one run: each of its stages is a method (a rung). The references are one stage each, with the first
stage's network, transforms, optimiser and batch size. A baseline is a recipe of its own: its stages, on the
ladder's network and transforms, stretched to the ladder's length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from urnet.config.duration import Duration
from urnet.config.recipe import Recipe, active_stages
from urnet.config.stage import Ema, Schedule, Stage
from urnet.core.checks import InputError
from urnet.pipeline.recipes import load_recipe

ROOT = Path(__file__).resolve().parents[2]
RIGHT = "right"  # the oracle's column: 1 where the label is right, else 0
LADDER = "ladder"

# What `ce` has in common with the ladder's first stage.
SHARED = (
    *("name", "enabled", "duration", "batch_size", "accumulate", "finetune", "schedule", "ema", "amp"),
    *("measure", "eval_every", "checkpoint_every", "log_every", "keep"),
)
BASELINES = ("curriculumnet", "gated", "pci", "elr", "generalised", "symmetric")
REFERENCES = ("untrained", "ce", "ce_equal", "oracle")
KINDS = (*REFERENCES[:2], LADDER, *BASELINES, *REFERENCES[2:])  # of runs, in printed order


@dataclass(frozen=True)
class Run:
    """One run of train.py: ``methods`` maps each of its stages, in order, to the method it is."""

    kind: str  # a key of KINDS
    seed: int
    recipe: Recipe
    methods: dict[str, str]

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def folder(self) -> Path:
        """OUT/runs/NAME, as train.py writes it."""
        return Path(self.recipe.output) / self.recipe.name

    @property
    def file(self) -> Path:
        """OUT/recipes/NAME.yaml."""
        return Path(self.recipe.output).parent / "recipes" / f"{self.name}.yaml"

    def stage(self, name: str) -> Stage:
        """The stage of this name."""
        return next(stage for stage in self.recipe.stages if stage.name == name)

    def state_file(self, stage: str) -> Path:
        """What a finished stage leaves last of all."""
        return self.folder / stage / "final" / "state.json"

    def up_to(self, stage: str) -> tuple[str, ...]:
        """The stages up to this one, itself included."""
        names = tuple(self.methods)
        return names[: names.index(stage) + 1]


# --- the recipes


def baseline_recipe(name: str) -> Recipe:
    """A baseline's own recipe."""
    return load_recipe(ROOT / "recipes" / "rivals32" / f"{name}.yaml")


def stages_of(kind: str, base: Recipe, n_rows: int) -> tuple[Stage, ...]:
    """The stages of a ``kind`` of run; ``base`` holds the ladder, ``n_rows``: training rows.

    A baseline's durations are all multiplied by one factor, so that it shows as many images as the ladder.
    """
    stages = active_stages(base)
    if kind == LADDER:
        return stages
    if kind in BASELINES:
        own = active_stages(baseline_recipe(kind))
        return tuple(shortened(stage, _images(stages, n_rows) / _images(own, n_rows)) for stage in own)
    return (reference(kind, stages, n_rows),)


def reference(kind: str, stages: Sequence[Stage], n_rows: int) -> Stage:
    """The stage of a reference: the first one on the labels as given, without weights, balance, smoothing, mixup.

    `ce_equal` lasts as long as the whole ladder: its rate falls as a cosine over all of it, to the lowest that the
    ladder reaches, and weights are averaged. The oracle's is the same on rightly labelled rows, classes drawn evenly.
    """
    first = stages[0]
    optimizer = replace(first.optimizer, classifier_lr=1.0)
    plain = Stage(**{key: getattr(first, key) for key in SHARED}, start="scratch", optimizer=optimizer)
    if kind in ("untrained", "ce"):
        return plain
    rate, warmup = first.schedule.lr, first.schedule.warmup
    lowest = min([s.schedule.final_lr for s in stages if s.schedule.name == "cosine"], default=0.0)
    equal = replace(
        plain,
        duration=total_duration(stages, n_rows),
        schedule=Schedule(lr=rate, warmup=warmup, name="cosine", final_lr=min(lowest, rate)),
        ema=next((s.ema for s in (first, *reversed(stages)) if s.ema is not None), Ema()),
    )
    return replace(equal, sampling_weight=(RIGHT,), balance=1.0) if kind == "oracle" else equal


def methods_of(kind: str, base: Recipe) -> dict[str, str]:
    """Stage -> method of a kind of run, in order.

    The ladder's: the first stage's own name, then `+` and the name. A baseline's: the last stage is the baseline,
    those before it are NAME/STAGE. Raises InputError for a name taken.
    """
    own = baseline_recipe(kind) if kind in BASELINES else base
    first, *others = names = [stage.name for stage in active_stages(own)]
    if kind in BASELINES:
        return {**{name: f"{kind}/{name}" for name in names}, names[-1]: kind}
    if kind != LADDER:
        return {first: kind}
    if first in KINDS and first != LADDER:
        raise InputError(f"stages.{first}.name: is another method's name; accepted: any other name")
    return {first: first, **{name: f"+{name}" for name in others}}


def method_names(base: Recipe) -> tuple[str, ...]:
    """All methods, in the order in which they are shown."""
    return tuple(method for kind in KINDS for method in methods_of(kind, base).values())


def make_run(base: Recipe, kind: str, seed: int, out: Path, n_rows: int) -> Run:
    """The run of a ``kind`` (of KINDS). ``base`` holds the ladder; ``n_rows``: training rows."""
    recipe = replace(
        base,
        name=f"{kind}-seed{seed}",
        output=str(out / "runs"),
        seed=seed,
        data=replace(base.data, table=None),
        stages=stages_of(kind, base, n_rows),
    )
    return Run(kind, seed, recipe, methods_of(kind, base))


# --- durations


def total_duration(stages: Sequence[Stage], n_rows: int) -> Duration:
    """All durations together: in their unit where it is one and the same, else in images."""
    durations = [stage.duration for stage in stages]
    units, batches = {d.unit for d in durations}, {stage.batch_size for stage in stages}
    if len(units) == 1 and (units != {"steps"} or len(batches) == 1):
        return Duration(_tidy(math.fsum(d.amount for d in durations)), units.pop())
    return Duration(_tidy(_images(stages, n_rows)), "images")


def _images(stages: Sequence[Stage], n_rows: int) -> float:
    """Images that all ``stages`` together show."""
    a_unit = {"epochs": n_rows, "images": 1}
    return math.fsum(s.duration.amount * a_unit.get(s.duration.unit, s.batch_size) for s in stages)


def shortened(stage: Stage, factor: float) -> Stage:
    """The stage with its duration, warm-up, learning-rate stretches and gate times ``factor``.

    Steps stay whole and do not become 0. How often is evaluated and saved stays.
    """

    def short(d: Duration) -> Duration:
        amount = d.amount * factor
        whole = d.unit == "steps" and d.amount > 0
        return Duration(max(round(amount), 1) if whole else _tidy(amount), d.unit)

    schedule = replace(
        stage.schedule,
        warmup=short(stage.schedule.warmup),
        every=short(stage.schedule.every),
        milestones=tuple(map(short, stage.schedule.milestones)),
    )
    gate = stage.gate
    if gate is not None and gate.until is not None:
        gate = replace(gate, until=short(gate.until))
    return replace(stage, duration=short(stage.duration), schedule=schedule, gate=gate)


def _tidy(amount: float) -> float:
    """Without the last digits' noise, so that the recipe reads well."""
    return round(amount, 9)
