"""What the benchmark compares, each method as a recipe derived from one that holds the whole ladder.

The ladder is one run: each of its stages is a method (a rung). The others are one stage each, with the first
stage's network, transforms, optimiser and batch size. A rival is a recipe of its own: its stages, on the
ladder's network and transforms, stretched to the ladder's length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from urnet.config.duration import Duration
from urnet.config.recipe import Recipe, active_stages, dump_recipe
from urnet.config.stage import Ema, Loss, Schedule, Stage
from urnet.core.checks import InputError
from urnet.pipeline.methods import METHODS
from urnet.pipeline.recipes import load_recipe

LADDER = "ladder"
BEFORE, AFTER = ("untrained", "ce"), ("ce_equal", "oracle")  # the methods that are no rung, in printed order
RIVAL_RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "rivals32"
RIVALS = ("curriculumnet", "gated", "pci", "elr", "generalised", "symmetric")  # each a file there
RIGHT = "right"  # the oracle's column: 1 where the label is right, else 0


@dataclass(frozen=True)
class Run:
    """One run of train.py: ``methods`` maps each of its stages, in order, to the method it is."""

    kind: str  # ladder, a rival, or another method that is no rung
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


def rungs(recipe: Recipe) -> dict[str, str]:
    """Stage -> method: the first stage's own name, then `+` and the name. InputError for a name taken."""
    first, *others = [stage.name for stage in active_stages(recipe)]
    if first in (*BEFORE, *AFTER, *RIVALS):
        raise InputError(f"stages.{first}.name: is another method's name; accepted: any other name")
    return {first: first, **{name: f"+{name}" for name in others}}


def method_names(recipe: Recipe) -> tuple[str, ...]:
    """All methods, in the order in which they are shown."""
    rivals = (name for rival in RIVALS for name in rival_stages(rival, rival_recipe(rival)).values())
    return (*BEFORE, *rungs(recipe).values(), *rivals, *AFTER)


def rival_recipe(rival: str) -> Recipe:
    """A rival's own recipe."""
    return load_recipe(RIVAL_RECIPES / f"{rival}.yaml")


def rival_stages(rival: str, recipe: Recipe) -> dict[str, str]:
    """Stage -> method: the last one is the rival, those before it are RIVAL/STAGE."""
    *before, last = [stage.name for stage in active_stages(recipe)]
    return {**{name: f"{rival}/{name}" for name in before}, last: rival}


def make_run(base: Recipe, kind: str, seed: int, out: Path, n_rows: int) -> Run:
    """The run of a ``kind`` (``LADDER``, a rival or another method). ``n_rows``: training rows.

    ``untrained``: the first weights of ``ce``. ``ce``: the first stage on the labels as given, without
    weights, balance, smoothing and mixup. ``ce_equal``: the same for as long as the whole ladder, learning
    rate falling as a cosine over all of it, weights averaged. ``oracle``: as ``ce_equal``, on rightly
    labelled rows alone, classes drawn evenly. A rival: the stages of its recipe, all durations times one
    factor, so that together they show as many images as the ladder.
    """
    base = replace(
        base, name=f"{kind}-seed{seed}", output=str(out / "runs"), seed=seed, data=replace(base.data, table=None)
    )
    if kind == LADDER:
        return Run(kind, seed, replace(base, stages=active_stages(base)), rungs(base))
    stages = active_stages(base)
    if kind in RIVALS:
        rival = rival_recipe(kind)
        own = replace(base, stages=active_stages(rival))
        factor = _images(stages, n_rows) / _images(own.stages, n_rows)
        return Run(kind, seed, shortened(own, factor), rival_stages(kind, rival))
    stage = _plain(stages[0])
    if kind in AFTER:
        stage = _whole_budget(stage, stages, n_rows)
    if kind == "oracle":
        stage = replace(stage, sampling_weight=(RIGHT,), balance=1.0)
    return Run(kind, seed, replace(base, stages=(stage,)), {stage.name: kind})


def _plain(stage: Stage) -> Stage:
    return replace(
        stage,
        start="scratch",
        reweight=None,
        loss_weight=(),
        sampling_weight=(),
        balance=0.0,
        targets="given",
        bags=None,
        subsets=None,
        gate=None,
        loss=Loss(),
        elr=None,
        label_smoothing=0.0,
        mixup=0.0,
        optimizer=replace(stage.optimizer, classifier_lr=1.0),
    )


def _whole_budget(stage: Stage, stages: Sequence[Stage], n_rows: int) -> Stage:
    """The stage for as long as all ``stages`` together; the rate falls to the lowest that they reach."""
    s = stage.schedule
    lowest = min([other.schedule.final_lr for other in stages if other.schedule.name == "cosine"], default=0.0)
    schedule = Schedule(lr=s.lr, warmup=s.warmup, name="cosine", final_lr=min(lowest, s.lr))
    ema = next((other.ema for other in (stage, *reversed(stages)) if other.ema is not None), Ema())
    return replace(stage, duration=total_duration(stages, n_rows), schedule=schedule, ema=ema)


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


def recipe_text(run: Run, source: str, command: str) -> str:
    """The run's recipe as YAML, with a head that says what it is and how to run it by hand."""
    head = [f"benchmark: {', '.join(run.methods.values())}; seed {run.seed}", f"source:    {source}"]
    if run.kind == "oracle":
        head.append(f"needs:     column {RIGHT} in {run.folder / 'table'}; tools/benchmark.py writes it")
    head.append(f"command:   {command}")
    return "".join(f"# {line}\n" for line in head) + dump_recipe(run.recipe)


def checked(run: Run) -> Run:
    """The run with its recipe read back from the file, so that what runs is what is written there."""
    return replace(run, recipe=load_recipe(run.file))


def weight_column(run: Run, stage_name: str | None) -> str | None:
    """The column by which a rung judges rows; None for other methods and for a stage that judges none.

    A label stage's is ``topk_prob``, of which the given label's part counts (``scores.kept``).
    """
    stage = next((s for s in run.recipe.stages if s.name == stage_name), None)
    if run.kind != LADDER or stage is None:
        return None
    if stage.reweight is None:
        return None if stage.bags is None else "bag_attention"
    return METHODS[stage.reweight.method].score + stage.reweight.suffix
