"""A recipe, one whole experiment in one YAML file, as frozen dataclasses.

Every key is checked: an unknown one, a wrong type or an impossible value is an InputError that names the key
by its full path and what is accepted. ``-o key.sub=value`` overrides a key; a stage is addressed by its name
(``stages.class.duration=2 epochs``) or its number. Precedence: -o > recipe file > the defaults below.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from urnet.config.baselines import Curriculum, Elr, Gate, Loss, Relabel, Subsets
from urnet.config.duration import Duration
from urnet.config.ranges import check_recipe
from urnet.config.reweight import Bags, ClassSize, Cluster, Instance, Label, Measure
from urnet.config.yaml_dataclass import build, override, read_yaml


def added(default: Any) -> Any:
    """A key that came after recipes had been run: at its default it leaves ``recipe_hash`` as it was."""
    return field(default=default, metadata={"added": True})


@dataclass(frozen=True)
class Data:
    """Where images and lists are. ``root`` holds what paths in the training list are relative to."""

    root: str
    n_classes: int
    format: Literal["webvision2", "webvision1", "list", "folder", "imagenet"] = "webvision2"
    train_list: str | None = None  # formats list and imagenet; `path label` lines
    val_root: str | None = None  # None: where the format keeps its validation images
    val_list: str | None = None
    class_names: str | None = None  # one line a class; None: the format's own (synsets.txt, folder names)
    table: str | None = None  # folder of the table; None: OUTPUT/NAME/table
    exif: Literal["honour", "ignore"] = "honour"  # turn images as their EXIF orientation says
    max_pixels: int = 100_000_000  # an image whose header claims more is unreadable
    max_bad: int = 0  # more unreadable training images than this stop the run
    workers: int = 0  # decoding processes; 0: a thread of the training process
    prefetch: int = 4  # batches decoded ahead


@dataclass(frozen=True)
class Transform:
    """Geometry and colour, for training and for evaluation; also what infer.py and eval.py follow."""

    size: int = 224
    train: Literal["random_resized_crop", "pad_crop"] = "random_resized_crop"
    scale: tuple[float, float] = (0.08, 1.0)  # share of the area, random_resized_crop
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    pad: int = 4  # pixels on each side, pad_crop
    flip: bool = True
    jitter: float = 0.0  # brightness, contrast and saturation factors from 1 - jitter to 1 + jitter
    eval: Literal["straight", "short"] = "straight"  # straight to size x size | short side, then centre crop
    resize_short: int = 256
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # RGB, of values in 0..1
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    reduced_decode: Literal["auto", "off"] = added("auto")  # large JPEGs for training at 1/2, 1/4 or 1/8


@dataclass(frozen=True)
class Model:
    """A network of ``models.NETWORKS``; ``recompute`` trades time for activation memory.

    ``sync_batch_norm``: of several processes on GPUs, batch norm takes its statistics over all their rows.
    ``channels_last``: on a GPU Paddle may compute convolutions as height, width, channel if faster.
    """

    name: str
    recompute: bool = False
    sync_batch_norm: bool = added(False)
    channels_last: bool = added(False)


@dataclass(frozen=True)
class Optimizer:
    """``momentum`` is SGD with momentum; weight decay is L2 on every parameter but batch norm and biases."""

    name: Literal["momentum", "adamw"] = "momentum"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    clip_norm: float | None = None  # global norm of the gradients
    classifier_lr: float = 1.0  # the classifier's learning rate, as a multiple of the others'


@dataclass(frozen=True)
class Schedule:
    """Learning rate over the stage; ``warmup`` rises linearly from 0 and counts towards the duration."""

    lr: float = 0.1
    name: Literal["constant", "step", "piecewise", "cosine"] = "cosine"
    warmup: Duration = Duration(0, "epochs")
    every: Duration = Duration(30, "epochs")  # step: multiply by gamma after every such stretch
    gamma: float = 0.1
    milestones: tuple[Duration, ...] = ()  # piecewise: multiply by gamma at each
    final_lr: float = 0.0  # cosine: reached at the end


@dataclass(frozen=True)
class Ema:
    """Exponential moving average of the weights; its batch-norm statistics are recomputed from batches."""

    decay: float = 0.999
    bn_batches: int = 20


@dataclass(frozen=True)
class Stage:
    """What is measured, which columns weigh what, and how the network is trained."""

    name: str
    duration: Duration
    batch_size: int = 256  # rows a weight update, over all processes and accumulated micro-batches
    accumulate: int = 1  # micro-batches a weight update
    start: str = "previous"  # previous | scratch | a checkpoint's path; the first stage's previous is scratch
    finetune: bool = added(False)  # the checkpoint's classifier may be of other classes; a new one is trained
    enabled: bool = True  # false: the stage is left out, as if it were not there
    measure: Measure = field(default_factory=Measure)
    reweight: ClassSize | Cluster | Instance | Label | Curriculum | Relabel | None = None  # columns it adds
    loss_weight: tuple[str, ...] = ()  # columns multiplied into the loss weight
    sampling_weight: tuple[str, ...] = ()  # columns multiplied into the sampling weight
    balance: float = 0.0  # 0: rows as they come, 1: every class drawn equally often
    targets: str = "given"  # given: the labels | a file of targets in the table: label, relabel
    bags: Bags | None = None  # batches of bags and their loss
    subsets: Subsets | None = added(None)  # batches composed of a curriculum's subsets
    gate: Gate | None = added(None)  # rows the network is not sure of pass no gradient
    loss: Loss = added(Loss())
    elr: Elr | None = added(None)  # early-learning regularisation
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    label_smoothing: float = 0.0
    mixup: float = 0.0  # alpha of the Beta distribution; 0: off
    ema: Ema | None = None
    amp: Literal["off", "fp16", "bf16", "auto"] = "off"  # auto: bf16 or fp16 where the device has it
    eval_every: Duration = Duration(1, "epochs")
    checkpoint_every: Duration = Duration(1, "epochs")
    log_every: int = 20  # steps
    keep: int = 2  # newest checkpoints kept for --resume


@dataclass(frozen=True)
class Recipe:
    """One experiment: data, transforms, network and stages."""

    name: str
    data: Data
    model: Model
    stages: tuple[Stage, ...]
    transform: Transform = field(default_factory=Transform)
    output: str = "output"  # the run's folder is OUTPUT/NAME
    seed: int = 0
    device: Literal["auto", "cpu", "gpu"] = "auto"


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe, apply ``key.sub=value`` overrides, check everything, return a Recipe."""
    recipe = read_recipe(path, overrides)
    check_recipe(recipe, str(path))
    return recipe


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """As ``load_recipe``, but ranges and combinations are not checked: more overrides may be to come."""
    tree = read_yaml(Path(path))
    for text in overrides:
        override(tree, text)
    return build(Recipe, tree, "", str(path))


def active_stages(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages that are not switched off, in order."""
    return tuple(stage for stage in recipe.stages if stage.enabled)


def recipe_tree(value: Any, *, added_keys: bool = True) -> Any:
    """A Recipe (or part of one) as plain dicts, lists, strings and numbers; ``load_recipe`` reads it back.

    ``added_keys`` False: without the keys that were added since (``added``) and are at their default.
    """
    if isinstance(value, Duration):
        return str(value)
    if dataclasses.is_dataclass(value):
        kept = (f for f in dataclasses.fields(value) if added_keys or not _is_new(f, getattr(value, f.name)))
        return {f.name: recipe_tree(getattr(value, f.name), added_keys=added_keys) for f in kept}
    return [recipe_tree(item, added_keys=added_keys) for item in value] if isinstance(value, tuple) else value


def _is_new(key: dataclasses.Field, value: Any) -> bool:
    return bool(key.metadata.get("added")) and value == key.default


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML text, every default written out."""
    return yaml.safe_dump(recipe_tree(recipe), sort_keys=False, allow_unicode=True)


def recipe_hash(part: Any) -> str:
    """SHA-256 (first 16 hexadecimal digits) of a recipe or of a part of one, added keys as in ``added``."""
    text = json.dumps(recipe_tree(part, added_keys=False), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
