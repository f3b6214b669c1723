"""What is compared, each method as a recipe derived from one that holds the whole ladder.

The ladder is one run: each of its stages is a method (a rung). The references are one stage each, with the first
stage's network, transforms, optimiser and batch size. A baseline is a recipe of its own: its stages, on the
ladder's network and transforms, stretched to the ladder's length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
Derive = Callable[[Recipe, int], Recipe]  # the recipe of the ladder and its training rows, to a method's recipe


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

    def state_file(self, stage: str) -> Path:
        """What a finished stage leaves last of all."""
        return self.folder / stage / "final" / "state.json"

    def up_to(self, stage: str) -> tuple[str, ...]:
        """The stages up to this one, itself included."""
        names = tuple(self.methods)
        return names[: names.index(stage) + 1]


# --- the recipes


def ladder(base: Recipe, n_rows: int) -> Recipe:
    """The recipe as it is."""
    return replace(base, stages=active_stages(base))


def plain(base: Recipe, n_rows: int) -> Recipe:
    """The first stage on the labels as given, without weights, balance, smoothing and mixup: all at their defaults."""
    first = active_stages(base)[0]
    optimizer = replace(first.optimizer, classifier_lr=1.0)
    stage = Stage(**{key: getattr(first, key) for key in SHARED}, start="scratch", optimizer=optimizer)
    return replace(base, stages=(stage,))


def equal(base: Recipe, n_rows: int) -> Recipe:
    """As ``plain``, for as long as the whole ladder.

    The rate falls as a cosine over all of it, to the lowest that the ladder reaches; weights are averaged.
    """
    (stage,), stages = plain(base, n_rows).stages, active_stages(base)
    s = stage.schedule
    lowest = min([other.schedule.final_lr for other in stages if other.schedule.name == "cosine"], default=0.0)
    schedule = Schedule(lr=s.lr, warmup=s.warmup, name="cosine", final_lr=min(lowest, s.lr))
    ema = next((other.ema for other in (stage, *reversed(stages)) if other.ema is not None), Ema())
    stage = replace(stage, duration=total_duration(stages, n_rows), schedule=schedule, ema=ema)
    return replace(base, stages=(stage,))


def oracle(base: Recipe, n_rows: int) -> Recipe:
    """As ``equal``, on rightly labelled rows alone, classes drawn evenly."""
    (stage,) = equal(base, n_rows).stages
    return replace(base, stages=(replace(stage, sampling_weight=(RIGHT,), balance=1.0),))


def baseline_recipe(name: str) -> Recipe:
    """A baseline's own recipe."""
    return load_recipe(ROOT / "recipes" / "rivals32" / f"{name}.yaml")


def baseline(name: str) -> Derive:
    """The stages of its recipe, all durations times one factor, so that they show as many images as the ladder."""

    def derive(base: Recipe, n_rows: int) -> Recipe:
        own = replace(base, stages=active_stages(baseline_recipe(name)))
        return shortened(own, _images(active_stages(base), n_rows) / _images(own.stages, n_rows))

    return derive


BASELINES: dict[str, Derive] = {
    name: baseline(name) for name in ("curriculumnet", "gated", "pci", "elr", "generalised", "symmetric")
}
KINDS: dict[str, Derive] = {  # of runs, in printed order
    "untrained": plain,  # its first weights
    "ce": plain,
    LADDER: ladder,
    **BASELINES,
    "ce_equal": equal,
    "oracle": oracle,
}
REFERENCES = tuple(kind for kind in KINDS if kind != LADDER and kind not in BASELINES)


def methods_of(kind: str, base: Recipe) -> dict[str, str]:
    """Stage -> method of a kind of run, in order.

    The ladder's: the first stage's own name, then `+` and the name. A baseline's: the last stage is the baseline,
    those before it are NAME/STAGE. Raises InputError for a name taken.
    """
    own = baseline_recipe(kind) if kind in BASELINES else base
    first, *others = names = [stage.name for stage in active_stages(own)]
    if kind in BASELINES:
        return {**{name: f"{kind}/{name}" for name in names[:-1]}, names[-1]: kind}
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
    recipe = KINDS[kind](base, n_rows)
    data = replace(base.data, table=None)
    recipe = replace(recipe, name=f"{kind}-seed{seed}", output=str(out / "runs"), seed=seed, data=data)
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


def shortened(recipe: Recipe, factor: float) -> Recipe:
    """The recipe with every stage's duration, warm-up, learning-rate stretches and gate times ``factor``.

    Steps stay whole and do not become 0. How often is evaluated and saved stays.
    """

    def short(d: Duration) -> Duration:
        amount = d.amount * factor
        whole = d.unit == "steps" and d.amount > 0
        return Duration(max(round(amount), 1) if whole else _tidy(amount), d.unit)

    def stage(s: Stage) -> Stage:
        milestones = tuple(short(d) for d in s.schedule.milestones)
        every, warmup = short(s.schedule.every), short(s.schedule.warmup)
        schedule = replace(s.schedule, warmup=warmup, every=every, milestones=milestones)
        gate = s.gate
        if gate is not None and gate.until is not None:
            gate = replace(gate, until=short(gate.until))
        return replace(s, duration=short(s.duration), schedule=schedule, gate=gate)

    return replace(recipe, stages=tuple(stage(s) for s in recipe.stages))


def _tidy(amount: float) -> float:
    """Without the last digits' noise, so that the recipe reads well."""
    return round(amount, 9)
