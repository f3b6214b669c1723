"""A recipe, one whole experiment in one YAML file, as frozen dataclasses.

Every key is checked: an unknown one, a wrong type or an impossible value is an InputError that names the key
by its full path and what is accepted. ``-o key.sub=value`` overrides a key; a stage is addressed by its name
(``stages.class.duration=2 epochs``), its number, or with others by a pattern (``stages.*.batch_size=64`` is every
stage's). Precedence: -o of a stage's key, the last one that fits it > the stage in the file > -o stage_defaults >
stage_defaults in the file > the defaults below.

What a stage's ``reweight`` is read into is chosen by its ``method``. Which methods there are is an argument here;
``urnet.pipeline.recipes.load_recipe`` knows them all.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from urnet.config.combinations import check_recipe
from urnet.config.duration import Duration
from urnet.config.fields import REQUIRED, hints_of, key, key_of
from urnet.config.stage import Stage
from urnet.config.yaml_dataclass import Reader, override, read_yaml
from urnet.core.checks import InputError

DEFAULTS = "stage_defaults"
OWN_KEYS = ("name", "reweight")  # of a stage, that defaults cannot give


def _rising(pair: tuple[float, float]) -> bool:
    return 0 < pair[0] <= pair[1]


def _entries(value: Any) -> Any:
    """A list of classes as text: `[0, cat]`; one word (`0-49`, a file's name) as a list of one."""
    items = value if isinstance(value, list) else [value]
    return [str(item) if type(item) is int else item for item in items]


def _file_name(text: str) -> bool:
    return bool(text.strip()) and text not in (".", "..") and not set(text) & set("/\\\0\n")


@dataclass(frozen=True)
class Data:
    """Where images and lists are. ``root`` holds what paths in the training list are relative to."""

    root: str = key(REQUIRED, "the folder that paths in the training list are relative to", words="a folder")
    n_classes: int = key(  # None until urnet.pipeline.recipes has counted
        None,
        "number of classes; labels count from 0. null: counted from the sub-folders, names or labels",
        low=2,
        words="2 or more, or null",
    )
    format: Literal["webvision2", "webvision1", "list", "folder", "imagenet"] = key(
        "webvision2", "the layout of the data"
    )
    train_list: str | None = key(
        None, "formats list and imagenet: `path label` lines, or CSV ([Lists](data.md#lists))", words="a file"
    )
    val_root: str | None = key(None, "folder of the validation images; null: the format's own", words="a folder")
    val_list: str | None = key(None, "list of the validation images; null: the format's own", words="a file")
    class_names: str | None = key(None, "class names, one per line; null: the format's own names", words="a file")
    classes: tuple[str, ...] | None = key(
        None,
        "train on some of the classes, in this order: a list of names or numbers, `0-49`, or a file with one per line "
        "([A part of the classes](data.md#a-part-of-the-classes))",
        plain=_entries,
        accepts=bool,
        words="a list of names or numbers, a range, or a file",
        added=True,
    )
    val_split_default: float | None = key(
        None,
        "formats folder and list: the value of `val_split` if `val_split`, `val_root` and `val_list` are all missing",
        above=0,
        below=1,
        added=True,
        free=True,  # what it leads to is in val_split
    )
    val_split: float | None = key(
        None,
        "formats folder and list: hold this share of the training images back for validation, by a hash of their bytes "
        "([One tree for both](data.md#one-tree-for-both))",
        above=0,
        below=1,
        added=True,
    )
    decisions: str | None = key(
        None,
        "what a person decided about training images, the decisions.csv of tools/review.py: these labels are replaced "
        "and certain, and images that show none of the classes are not trained on ([Decisions](data.md#decisions))",
        words="a file",
        added=True,
        free=True,
    )
    limit: int | None = key(
        None,
        "for a trial run: only this many images of each of the classes 0 to 9, in training and in validation; "
        "null: all. `train.py --tiny` sets it",
        low=2,
        added=True,
    )
    table: str | None = key(None, "the table of rows and weights; null: OUTPUT/NAME/table", words="a folder", free=True)
    features: str | None = key(
        None,
        "for stages with `train: classifier`: the file that keeps the features of images, which may be that of "
        "`tools/suspects.py --features`; null: OUTPUT/NAME/kept.features, where everything else that is kept is",
        words="a file",
        added=True,
        free=True,
    )
    exif: Literal["honour", "ignore"] = key("honour", "whether an image is turned as its EXIF entry says")
    max_pixels: int = key(100_000_000, "an image whose header claims more pixels counts as unreadable", low=1)
    max_bad: int = key(
        0, "the run stops if more training images (or validation images) than this are unreadable", low=0, free=True
    )
    decoder: Literal["opencv", "dali"] = key(
        "opencv",
        "what decodes the JPEG files of training steps: `dali` is nvidia-dali, on a GPU if there is one "
        "([Decoding on the card](images.md#decoding-on-the-card)); OpenCV decodes all other files, and everything "
        "that is measured or evaluated. Never run on a GPU",
        added=True,
        free=True,
    )
    workers: int = key(
        0,
        "processes that decode; 0: a thread of the training process. With `decoder: dali`: threads that read files",
        low=0,
        free=True,
    )
    prefetch: int = key(4, "batches decoded ahead", low=1, free=True)


@dataclass(frozen=True)
class Transform:
    """Geometry and colour, for training and for evaluation; also what infer.py and eval.py follow."""

    size: int = key(224, "side of the square the network sees, in pixels", low=8)
    train: Literal["random_resized_crop", "pad_crop"] = key(
        "random_resized_crop", "random view in training; pad_crop suits small images"
    )
    scale: tuple[float, float] = key(
        (0.08, 1.0),
        "random_resized_crop: share of the image's area",
        accepts=lambda pair: _rising(pair) and pair[1] <= 1,
        words="0 < low <= high <= 1",
    )
    ratio: tuple[float, float] = key(
        (3 / 4, 4 / 3),
        "random_resized_crop: width / height",
        accepts=lambda pair: _rising(pair) and pair[1] <= 20,
        words="0 < low <= high <= 20",
    )
    pad: int = key(4, "pad_crop: pixels added on each side before the crop", low=0)
    flip: bool = key(True, "mirror half of the training images")
    jitter: float = key(0.0, "multiply brightness, contrast and saturation by 1 - jitter to 1 + jitter", low=0, below=1)
    trivial_augment: bool = key(
        False,
        "TrivialAugment (wide): one of 14 operations per training image, drawn evenly, at one of 31 strengths "
        "([Transforms](images.md#transforms))",
        added=True,
    )
    erasing: float = key(
        0.0,
        "random erasing: probability that a box of 2 to 33 % of a training image is filled with `mean`",
        low=0,
        high=1,
        added=True,
    )
    eval: Literal["straight", "short"] = key(
        "straight", "straight: resize to size x size; short: resize the short side to `resize_short`, crop the centre"
    )
    resize_short: int = key(256, "see `eval`", words="size or more")
    mean: tuple[float, float, float] = key(
        (0.485, 0.456, 0.406),
        "mean of red, green and blue to subtract, for values 0..1; divide means of values 0..255 by 255 first",
        accepts=lambda mean: min(mean) >= 0 and max(mean) <= 1,
        words="three numbers from 0 to 1",
    )
    std: tuple[float, float, float] = key(
        (0.229, 0.224, 0.225),
        "standard deviation to divide by, also for values 0..1; 1/255 keeps 0..255",
        accepts=lambda std: min(std) >= 0.002 and max(std) <= 1,
        words="three numbers from 0.002 to 1",
    )
    reduced_decode: Literal["auto", "off"] = key(
        "auto",
        "training decodes a JPEG at 1/2, 1/4 or 1/8 of its size if its random box has more pixels than the view needs "
        "([Images](images.md)); images with a side under 2.5 times `size`, and all images in evaluation, are decoded "
        "at their own size",
        added=True,
    )


@dataclass(frozen=True)
class Model:
    """A network of ``models.NETWORKS``."""

    name: str = key(
        REQUIRED,
        "one of [Networks](networks.md), which `python train.py --help` lists as well; auto: `ResNet50` if Paddle "
        "finds a GPU, otherwise `EfficientNetLite0`; a run that has begun keeps its network",
        words="a network of `models`, or auto",
    )
    recompute: bool = key(False, "recompute activations in the backward pass: less memory, more time")
    sync_batch_norm: bool = key(
        False,
        "with several processes on GPUs: batch norm takes its statistics over the rows of all processes (Paddle's "
        "SyncBatchNorm); one process has all rows anyway. Several CPU processes refuse it",
        added=True,
    )
    channels_last: bool = key(
        False,
        "replaced by `data_format`; `true`, which asked for Paddle's layout tuning, is refused, as that does nothing "
        "with bf16",
        added=True,
    )
    data_format: Literal["NCHW", "NHWC"] = key(
        "NCHW",
        "the order of axes in which the network computes its maps: batch, channels, height, width or batch, height, "
        "width, channels; weights and checkpoints are the same in both. `NHWC` is for a GPU with `amp` (16-bit "
        "convolutions; with `amp: off` Paddle transposes the maps around every one). "
        "[Scaling](scaling.md#layouts-and-number-formats) says what is known of its speed",
        added=True,
    )
    compile: bool = key(
        False,
        "compute a stage's steps, its evaluation and its measuring as one compiled Paddle program each "
        "(`paddle.jit.to_static`, on a GPU with CINN if Paddle has it) instead of operation by operation; the first "
        "steps take longer. Not with `recompute`, a part of a network or two networks, nor with `sync_batch_norm` on "
        "several processes. A CPU gains nothing; not measured on a GPU",
        added=True,
    )
    in_classes: bool = key(
        True,
        "at the end of a stage the network sees 20 training images per class and 1,000 validation images once more, "
        "so that predictions say whether an image fits any class ([In classes](cli.md#in-classes))",
        added=True,
        free=True,
    )


@dataclass(frozen=True)
class Recipe:
    """One experiment: data, transforms, network and stages."""

    name: str = key(
        REQUIRED, "name of the run, whose folder is OUTPUT/NAME", accepts=_file_name, words="a file name", free=True
    )
    data: Data = key(REQUIRED, "where images and lists are")
    model: Model = key(REQUIRED, "the network")
    stages: tuple[Stage, ...] = key(REQUIRED, "what is measured and trained, in order", words="one or more")
    transform: Transform = key(Transform(), "geometry and colour of the images")
    output: str = key("output", "where runs are written", words="a folder", free=True)
    seed: int = key(
        0,
        "decides the first weights, the order of rows, random views and mixup",
        accepts=lambda seed: 0 <= seed < 1 << 63,
        words="0 to 2^63 - 1",
    )
    device: Literal["auto", "cpu", "gpu"] = key(
        "auto", "`gpu` without a GPU is an error; `auto` uses a GPU if there is one", free=True
    )

    @functools.cached_property
    def text(self) -> str:
        """YAML, every default written out; made once: all checkpoints of a run keep it, and it takes a while."""
        return yaml.safe_dump(recipe_tree(self), sort_keys=False, allow_unicode=True)


def load_recipe(path: str | Path, overrides: Sequence[str] = (), methods: Mapping[str, type] | None = None) -> Recipe:
    """Read a YAML recipe, apply ``key.sub=value`` overrides, check everything, return a Recipe.

    ``methods``: name of a reweighting -> the dataclass of its settings. None: reweightings stay plain data and are
    not checked, as when a checkpoint's recipe is read for its transform.
    """
    recipe = read_recipe(path, overrides, methods)
    check_recipe(recipe, str(path))
    return recipe


def read_recipe(path: str | Path, overrides: Sequence[str] = (), methods: Mapping[str, type] | None = None) -> Recipe:
    """As ``load_recipe``, but ranges and combinations are not checked: more overrides may be to come."""
    source, tree = str(path), read_yaml(Path(path))
    of_defaults = [text for text in overrides if text.split("=")[0].split(".")[0] == DEFAULTS]
    for text in of_defaults:
        override(tree, text)
    reader = Reader(source, methods, Recipe)
    if DEFAULTS in tree:
        _expand(tree, reader)
    for text in overrides:
        if text not in of_defaults:
            override(tree, text)
    reader.refuse_unknown(tree, [*hints_of(Recipe), DEFAULTS])
    return reader.build(Recipe, tree, "")


def said_of(path: str | Path, overrides: Sequence[str], section: str) -> dict[str, Any]:
    """What the file and the overrides themselves say under a key of the recipe, such as ``transform``."""
    tree = {section: read_yaml(Path(path)).get(section) or {}}
    for text in overrides:
        if text.split("=")[0].split(".")[0] == section:
            override(tree, text)
    return dict(tree[section])


def _expand(tree: dict, reader: Reader) -> None:
    """Give every stage of the tree the keys of ``stage_defaults`` that it does not say itself, in place."""
    defaults = tree.pop(DEFAULTS)
    for name in OWN_KEYS:
        if isinstance(defaults, dict) and name in defaults:
            raise InputError(f"{reader.source}: {DEFAULTS}.{name}: each stage says its own")
    reader.check(Stage, defaults, DEFAULTS)
    stages = tree.get("stages")
    if isinstance(stages, list):
        tree["stages"] = [_merged(defaults, stage) if isinstance(stage, dict) else stage for stage in stages]


def _merged(defaults: dict, own: dict) -> dict:
    """Both mappings in one; where both have a key, mappings are merged and anything else is the stage's own."""
    merged = {**copy.deepcopy(defaults), **own}
    for name in defaults.keys() & own.keys():
        if isinstance(defaults[name], dict) and isinstance(own[name], dict):
            merged[name] = _merged(defaults[name], own[name])
    return merged


def active_stages(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages that are not switched off, in order."""
    return tuple(stage for stage in recipe.stages if stage.enabled)


def recipe_tree(value: Any, *, added_keys: bool = True, free_keys: bool = True) -> Any:
    """A Recipe (or part of one) as plain dicts, lists, strings and numbers; ``load_recipe`` reads it back.

    ``added_keys`` False: without the keys that came after recipes had been run and are at their default;
    ``free_keys`` False: without those that do not decide the outcome (``urnet.config.fields.key``).
    """
    if isinstance(value, Duration):
        return str(value)
    if dataclasses.is_dataclass(value):
        tree = {}
        for field in dataclasses.fields(value):
            item, said = getattr(value, field.name), key_of(field)
            if (added_keys or not said.added or item != field.default) and (free_keys or not said.free):
                tree[field.name] = recipe_tree(item, added_keys=added_keys, free_keys=free_keys)
        return tree
    if isinstance(value, tuple):
        return [recipe_tree(item, added_keys=added_keys, free_keys=free_keys) for item in value]
    return value


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML text, every default written out."""
    return recipe.text


def recipe_hash(part: Any) -> str:
    """SHA-256 (first 16 hexadecimal digits) of a recipe or of a part of one; added keys only where they are set."""
    text = json.dumps(recipe_tree(part, added_keys=False), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
