"""What is compared, each method as a recipe derived from one that holds the whole ladder.

The ladder is one run: each of its stages is a method (a rung). The references are one stage each, with the first
stage's network, transforms, optimiser and batch size. Restricted ladders read less than the ladder does
(``tools.ablation.evidence``). A baseline is a recipe of its own: its stages, on the ladder's network and transforms.
So is URNet for images alone. All but `untrained` and `ce` last as long as costs what the ladder costs
(``tools.ablation.cost``).
"""

from __future__ import annotations

import functools
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from tools.ablation.durations import lasting, shortened, total_duration
from tools.ablation.evidence import PLAIN, RESTRICTED, SOFT, TARGETS, restricted, targets_stages
from tools.ablation.parts import fitted, names_of, paced, parts_of, with_remedies
from tools.ablation.spaces import Settings, applied
from urnet.config.recipe import Recipe, active_stages
from urnet.config.stage import Ema, Schedule, Stage
from urnet.core.checks import InputError
from urnet.pipeline.recipes import load_recipe

ROOT = Path(__file__).resolve().parents[2]
RIGHT = "right"  # the oracle's column: 1 where the label is right, else 0
LADDER = "ladder"
NONE: Mapping[str, Settings] = MappingProxyType({})

# What `ce` has in common with the ladder's first stage.
SHARED = (
    *("name", "enabled", "duration", "batch_size", "accumulate", "finetune", "schedule", "ema", "amp"),
    *("measure", "eval_every", "checkpoint_every", "log_every", "keep", "train", "views"),
)
IMAGES = "urnet_images"
BASELINES = {file.stem: file for file in sorted((ROOT / "recipes/rivals32").glob("*.yaml"))}
OWN_RECIPES = {IMAGES: ROOT / "recipes/benchmark32_images.yaml", **BASELINES}  # kinds with a recipe of their own
REFERENCES = ("untrained", "ce", "ce_equal", "balanced_equal", "oracle")
SHORTER = ("untrained", "ce")  # than all others, by design
DERIVED = (LADDER, *RESTRICTED, *TARGETS)  # from the ladder's stages
KINDS = (*REFERENCES[:2], *DERIVED, *OWN_RECIPES, *REFERENCES[2:])  # of runs, in printed order


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


@functools.cache
def own_recipe(kind: str) -> Recipe:
    """The recipe of a kind of OWN_RECIPES."""
    return load_recipe(OWN_RECIPES[kind])


def stages_of(kind: str, base: Recipe, n_rows: int) -> tuple[Stage, ...]:
    """The stages of a ``kind`` of run; ``base`` holds the ladder, ``n_rows``: training rows.

    The durations of a kind that is neither a ladder nor shorter by design are all multiplied by one factor, so that it
    costs what the ladder costs, measuring included; where the ladder trains several parts of the network, in each part
    (``tools.ablation.parts``). A kind of OWN_RECIPES starts from the ladder's first weights, and the same part of the
    network learns.
    """
    stages = active_stages(base)
    if kind == LADDER:
        return stages
    if kind in RESTRICTED:
        return restricted(stages, RESTRICTED[kind])
    if kind in SHORTER:
        return (reference(kind, stages, n_rows),)
    parts, stretched = parts_of(stages), shortened
    first, later = parts[0], parts[1:]
    if kind in TARGETS:
        if later:
            raise InputError("it needs a ladder whose stages all train the same part of the network")
        plain, rest = reference("ce", stages, n_rows), total_duration(stages[1:] or stages, n_rows)
        own = [targets_stages(plain, stages, rest, TARGETS[kind])]
    elif kind in OWN_RECIPES:
        begun, *others = active_stages(own_recipe(kind))
        made = (_started(begun, True, stages[0]), *(_started(stage, False, stages[0]) for stage in others))
        made = made if _origin(stages[0]) == "scratch" else paced(made, stages[0])
        own = [made, *((with_remedies(_later("ce_equal", part, n_rows), made[-1]),) for part in later)]
    else:
        own, stretched = (
            [(reference(kind, first, n_rows),), *((_later(kind, part, n_rows),) for part in later)],
            lasting,
        )
    found = fitted(parts, own, n_rows, stretched)
    names = names_of([stage.name for stage in own[0]], stages)
    return tuple(replace(stage, name=name) for stage, name in zip(found, names, strict=True))


def _later(kind: str, part: Sequence[Stage], n_rows: int) -> Stage:
    """The stage of a reference in one of the ladder's later parts: it goes on from the one before."""
    optimizer = part[0].optimizer
    return replace(reference(kind, part, n_rows), start="previous", finetune=False, optimizer=optimizer)


def _started(stage: Stage, is_first: bool, ladder: Stage) -> Stage:
    """The stage with the first weights of the ``ladder``'s first one, where it has random ones, and its frozen part."""
    stage = replace(stage, train=ladder.train, views=ladder.views)
    if _origin(ladder) != "scratch" and (stage.start == "scratch" or (is_first and stage.start == "previous")):
        return replace(stage, start=ladder.start, finetune=ladder.finetune)
    return stage


def _origin(first: Stage) -> str:
    """Where the first stage's weights are from: scratch, imagenet or a path."""
    return "scratch" if first.start == "previous" else first.start


def reference(kind: str, stages: Sequence[Stage], n_rows: int) -> Stage:
    """The stage of a reference: the first one on the labels as given, without weights, balance, smoothing, mixup.

    `ce_equal` lasts as long as the whole ladder (and, by ``stages_of``, what the ladder's measuring costs): its rate
    falls as a cosine over all of it, to the lowest that the ladder reaches, and weights are averaged. `balanced_equal`
    is the same with classes drawn evenly, the oracle that on rightly labelled rows.
    """
    first = stages[0]
    optimizer, start = first.optimizer, _origin(first)
    if start == "scratch":  # a faster classifier is a remedy there, and the usual thing where only it is new
        optimizer = replace(optimizer, classifier_lr=1.0)
    plain = Stage(**{key: getattr(first, key) for key in SHARED}, start=start, optimizer=optimizer)
    if kind in SHORTER:
        return plain
    rate, warmup = first.schedule.lr, first.schedule.warmup
    lowest = min([s.schedule.final_lr for s in stages if s.schedule.name == "cosine"], default=0.0)
    equal = replace(
        plain,
        duration=total_duration(stages, n_rows),
        schedule=Schedule(lr=rate, warmup=warmup, name="cosine", final_lr=min(lowest, rate)),
        ema=next((s.ema for s in (first, *reversed(stages)) if s.ema is not None), Ema()),
    )
    if kind == "ce_equal":
        return equal
    return replace(equal, balance=1.0, sampling_weight=(RIGHT,) if kind == "oracle" else ())


def methods_of(kind: str, base: Recipe) -> dict[str, str]:
    """Stage -> method of a kind of run, in order.

    The ladder's: the first stage's own name, then `+` and the name. Of any other with several stages the last one is
    the method, those before it are KIND/STAGE. Raises InputError for a name taken.
    """
    first, *others = names = _stage_names(kind, base)
    if kind != LADDER:
        return {**{name: f"{kind}/{name}" for name in names}, names[-1]: kind}
    if first in KINDS and first != LADDER:
        raise InputError(f"stages.{first}.name: is another method's name; accepted: any other name")
    return {first: first, **{name: f"+{name}" for name in others}}


def _stage_names(kind: str, base: Recipe) -> list[str]:
    if kind in TARGETS:
        return [PLAIN, SOFT]
    stages = active_stages(base)
    names = [stage.name for stage in (active_stages(own_recipe(kind)) if kind in OWN_RECIPES else stages)]
    if kind in DERIVED:
        return names
    own = names if kind in OWN_RECIPES else names[:1]
    return own if kind in SHORTER else names_of(own, stages)


def method_names(base: Recipe, without: Container[str] = ()) -> tuple[str, ...]:
    """All methods but those of the kinds ``without``, in the order in which they are shown."""
    return tuple(name for kind in KINDS if kind not in without for name in methods_of(kind, base).values())


def settings_of(kind: str, settings: Mapping[str, Settings]) -> Settings:
    """A kind's settings among those by kind; a restricted ladder has the ladder's. {}: as the recipe says."""
    return settings.get(_set_by(kind), {})


def is_set(kind: str, settings: Mapping[str, Settings]) -> bool:
    """Whether the settings by kind say something of this one, be it that its recipe's own are the best."""
    return _set_by(kind) in settings


def _set_by(kind: str) -> str:
    return LADDER if kind in RESTRICTED else kind


def compared(base: Recipe, without: Container[str] = ()) -> dict[str, str]:
    """Method -> kind of run, of those that must cost the same: the last one of every kind that is not SHORTER."""
    kinds = (kind for kind in KINDS if kind not in without and kind not in SHORTER)
    return {list(methods_of(kind, base).values())[-1]: kind for kind in kinds}


def make_run(
    base: Recipe, kind: str, seed: int, out: Path, n_rows: int, settings: Mapping[str, Settings] = NONE
) -> Run:
    """The run of a ``kind`` (of KINDS). ``base`` holds the ladder; ``n_rows``: training rows; ``settings``: by kind."""
    recipe = replace(
        base,
        name=f"{kind}-seed{seed}",
        output=str(out / "runs"),
        seed=seed,
        data=replace(base.data, table=None),
        stages=applied(stages_of(kind, base, n_rows), settings_of(kind, settings)),
    )
    return Run(kind, seed, recipe, methods_of(kind, base))
