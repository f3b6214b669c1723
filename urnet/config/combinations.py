"""Checks on combinations of a recipe's keys; the range of a single key is at its field."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from urnet.config.fields import Need, check_values
from urnet.config.remedies import Subsets
from urnet.config.stage import FOLDERS, Schedule, Stage

HELD_BACK = ("folder", "list")  # formats of which a part can be held back for validation
LOSS_KEYS = {"generalised": ("q",), "symmetric": ("alpha", "beta", "log_zero")}  # that a loss reads


def check_transform(t: Any, source: str) -> None:
    """Raise InputError for a Transform with a value outside its range."""
    need = Need(source, "transform")
    _check_colours(t, need)
    check_values(t, need)
    need(t.eval == "straight" or t.resize_short >= t.size, "resize_short", t.resize_short, f">= {t.size}")


def _check_colours(t: Any, need: Need) -> None:
    """Raise InputError, with what is right, where mean or std are of values 0..255: such a network learns nothing."""
    mean, std = t.mean, t.std
    if max(mean) > 2 or max(std) > 2:
        of_255 = max(std) > 2 or min(std) == 1
        right = [[round(v / 255, 4) for v in mean] if max(mean) > 2 else list(mean)]
        right += [[round(v / 255, 4) for v in std] if of_255 else list(std)]
        name = "mean" if max(mean) > 2 else "std"
        words = f"numbers of values 0..1, here mean: {right[0]}, std: {right[1]} (those of 0..255 divided by 255)"
        need(False, name, getattr(t, name), words)


def settle_split(data: Any) -> Any:
    """A Data whose ``val_split`` is ``val_split_default`` where nothing says where its validation images are."""
    given = (data.val_split, data.val_root, data.val_list)
    if data.val_split_default is None or data.format not in HELD_BACK or any(value is not None for value in given):
        return data
    return dataclasses.replace(data, val_split=data.val_split_default)


def check_split(data: Any, need: Need) -> None:
    """Raise InputError for a Data that says twice where its validation images are, or whose format has its own."""
    if data.val_split is not None:
        words = f"null, as format {data.format} has its own validation images"
        need(data.format in HELD_BACK, "val_split", data.val_split, words)
        for name in ("val_root", "val_list"):
            given = getattr(data, name)
            words = f"null, as {name} is {given!r}; or data.{name} null (-o data.{name}=null)"
            need(given is None, "val_split", data.val_split, words)


def check_recipe(recipe: Any, source: str) -> None:
    """Raise InputError for a Recipe with a value outside its range or an impossible combination.

    What its reweightings accept in addition to their ranges is left to ``urnet.pipeline.recipes``.
    """
    need = Need(source)
    listed = recipe.data.format in ("list", "imagenet")
    words = f"a file, as format is {recipe.data.format}"
    need(not listed or recipe.data.train_list is not None, "data.train_list", recipe.data.train_list, words)
    check_split(recipe.data, need.under("data"))
    need(len(recipe.stages) > 0, "stages", [], "at least one stage")
    names = [stage.name for stage in recipe.stages]
    for i, name in enumerate(names):
        need(names.count(name) == 1, f"stages.{i}.name", name, "a name used once")
        good = bool(name.strip()) and not set(name) & set("./\\\0\n") and name not in FOLDERS
        need(good, f"stages.{i}.name", name, "a folder name without a dot, and not " + ", ".join(FOLDERS))
    check_transform(recipe.transform, source)
    check_values(recipe, need)
    active = [stage for stage in recipe.stages if stage.enabled]
    need(len(active) > 0, "stages", "none enabled", "at least one enabled stage")
    bags = [stage.name for stage in active if stage.bags is not None]
    for name in bags[1:]:
        need(False, f"stages.{name}.bags", bags, "bags in one stage, as a table has one bag.arrow")
    for stage in recipe.stages:
        _check_stage(stage, need.under(f"stages.{stage.name}"))
    words = "null, as every stage trains the whole network and none keeps features"
    used = recipe.data.features is None or any(stage.train != "all" for stage in active)
    need(used, "data.features", recipe.data.features, words)
    _check_seen(recipe.transform, active, need.under("transform"))
    if recipe.data.decoder == "dali":
        _check_dali(recipe.transform, active, need)
    for stage in active[1:]:
        words = f"scratch (or imagenet), as the two networks of {stage.pair} start from different weights"
        need(not stage.pair or stage.start != "previous", f"stages.{stage.name}.start", stage.start, words)
    for stage in active:
        _check_frozen(stage, stage is active[0], need.under(f"stages.{stage.name}"))


def _check_seen(t: Any, stages: Sequence[Stage], need: Need) -> None:
    """Augmentations that no stage shows: kept views are the evaluation's and its mirror image before random ones."""
    fixed = 2 if t.flip else 1
    if all(stage.train != "all" and stage.views <= fixed for stage in stages):
        why = f"no stage trains the whole network or has `views` above {fixed}, which are random"
        _need_default(t, ("trivial_augment", "erasing"), why, need)


def _check_dali(t: Any, stages: Sequence[Stage], need: Need) -> None:
    """Raise InputError for views that nvidia-dali is not asked for: crop, flip and jitter are all it is told."""
    words = "opencv, as no stage trains the whole network, and OpenCV decodes what is kept"
    need(any(stage.train == "all" for stage in stages), "data.decoder", "dali", words)
    beside = "with data.decoder dali (or data.decoder=opencv)"
    need(t.train == "random_resized_crop", "transform.train", t.train, f"random_resized_crop {beside}")
    need(not t.trivial_augment, "transform.trivial_augment", True, f"false {beside}")
    need(t.erasing == 0, "transform.erasing", t.erasing, f"0 {beside}")
    for stage in stages:
        words = f"null {beside}, as it compares two kinds of views"
        need(stage.dividemix is None, f"stages.{stage.name}.dividemix", "a mapping", words)


def _check_stage(s: Stage, need: Need) -> None:
    words = f"a divisor of batch_size {s.batch_size}"
    need(s.batch_size % s.accumulate == 0, "accumulate", s.accumulate, words)
    words = f"false, as start is {s.start}; or give the path of a checkpoint as start (train.py --init FILE)"
    need(not s.finetune or s.start not in ("previous", "scratch"), "finetune", True, words)
    nesterov = s.optimizer.nesterov and s.optimizer.name == "adamw"
    need(not nesterov, "optimizer.nesterov", True, "false, as name is adamw")
    _check_schedule(s.schedule, need.under("schedule"))
    taken = s.schedule.lr * s.optimizer.weight_decay
    words = f"less than 1 / schedule.lr, {1 / s.schedule.lr:g}, as a step takes lr * weight_decay of each weight away"
    need(taken < 1, "optimizer.weight_decay", s.optimizer.weight_decay, words)
    micro = s.batch_size // s.accumulate  # rows of a micro-batch
    if s.subsets is not None:
        _check_subsets(s.subsets, micro, need.under("subsets"))
        _need_off(s, "subsets", ("bags", "sampling_weight", "balance"), need)
    if s.gate is not None:
        if s.gate.schedule != "step":
            _need_default(s.gate, ("levels",), f"schedule is {s.gate.schedule}", need.under("gate"))
        _need_off(s, "gate", ("mixup", "bags", "elr"), need)
        words = f"false, as targets is {s.targets}: a row is not trained towards its label"
        need(not s.gate.agree or s.targets == "given", "gate.agree", True, words)
    if s.elr is not None:
        _need_off(s, "elr", ("bags",), need)
        average = s.elr.teacher == "average"
        need(average or s.mixup == 0, "mixup", s.mixup, "0 with elr, or elr.teacher: average (and ema)")
        need(not average or s.ema is not None, "elr.teacher", "average", "network, or average together with ema")
    if s.sop is not None:
        _need_off(s, "sop", ("mixup", "label_smoothing", "bags", "gate", "elr"), need)
        need(s.targets == "given", "targets", s.targets, "given, as sop models the noise of the given labels")
        need(s.loss.name == "cross_entropy", "loss.name", s.loss.name, "cross_entropy with sop")
    _check_loss(s, need)
    if s.pair:
        _check_pair(s, need)
    if s.bags is not None:
        b = s.bags
        need(micro % b.size == 0, "bags.size", b.size, f"a divisor of batch_size / accumulate, {micro}")
        need(b.bag_term + b.instance_term > 0, "bags.bag_term", b.bag_term, "a term above 0")
        need(s.mixup == 0, "mixup", s.mixup, "0, as bags are not mixed")
        need(s.targets == "given", "targets", s.targets, "given, as bags are of one label")


# What two networks do without: DivideMix mixes by itself, and both look at the loss of each row as its label is given.
NOT_BESIDE_TWO = ("bags", "subsets", "gate", "elr", "mixup", "label_smoothing", "loss_weight")


def _check_pair(s: Stage, need: Need) -> None:
    need(not (s.co_teaching and s.dividemix), "dividemix", "a mapping", "null with co_teaching")
    _need_off(s, s.pair, NOT_BESIDE_TWO, need)
    need(s.loss.name == "cross_entropy", "loss.name", s.loss.name, f"cross_entropy with {s.pair}")
    need(s.targets == "given", "targets", s.targets, f"given, as {s.pair} works on the given labels")
    need(s.train == "all", "train", s.train, f"all, as {s.pair} trains two whole networks")
    words = f"scratch, imagenet or, with finetune, weights of other classes: the two networks of {s.pair} must differ"
    need(s.start in ("previous", "scratch") or s.finetune, "start", s.start, words)


def _check_frozen(s: Stage, first: bool, need: Need) -> None:
    """A part that does not learn has weights from elsewhere."""
    if s.train == "all":
        _need_default(s, ("views",), "train is all: each step makes its own views", need)
        return
    random = s.start == "scratch" or (first and s.start == "previous")
    words = f"weights whose features mean something, as train is {s.train}: imagenet, or a checkpoint's path"
    found = f"{s.start} (random weights)" if s.start == "previous" else s.start
    need(not random, "start", found, words)


def _check_schedule(s: Schedule, need: Need) -> None:
    need(0 <= s.final_lr <= s.lr, "final_lr", s.final_lr, f"0 to lr {s.lr}")
    milestones = [str(milestone) for milestone in s.milestones]
    words = "one or more with name piecewise, none with another"
    need(bool(milestones) == (s.name == "piecewise"), "milestones", milestones, words)


def _check_subsets(s: Subsets, micro: int, need: Need) -> None:
    words = f"a number above 0 for each of the {len(s.parts)} parts"
    need(len(s.loss_weight) == len(s.parts), "loss_weight", s.loss_weight, words)
    # Batch-norm statistics come from micro-batches, so each has rows of every subset.
    words = f"parts of which the least has a row among batch_size / accumulate, {micro}"
    need(micro * min(s.parts) >= sum(s.parts), "parts", s.parts, words)


def _check_loss(s: Stage, need: Need) -> None:
    unused = [key for name, keys in LOSS_KEYS.items() if name != s.loss.name for key in keys]
    _need_default(s.loss, unused, f"name is {s.loss.name}", need.under("loss"))
    if s.loss.name != "cross_entropy":
        _need_off(s, f"loss {s.loss.name}", ("bags",), need)
    if s.loss.name == "symmetric":
        need(s.loss.alpha + s.loss.beta > 0, "loss.alpha", s.loss.alpha, "a term above 0")


def _need_default(settings: Any, keys: Sequence[str], why: str, need: Need) -> None:
    """Keys that are not read are at their default, so that nobody thinks that they do something."""
    for key in keys:
        value, default = getattr(settings, key), settings.__dataclass_fields__[key].default
        need(value == default, key, value, f"{default} (its default), as {why}")


def _need_off(s: Stage, what: str, others: Sequence[str], need: Need) -> None:
    """The stage's ``others`` are at what means "off", their default."""
    words = {"mixup": "0", "label_smoothing": "0", "balance": "0", "sampling_weight": "[]", "loss_weight": "[]"}
    for key in others:
        value, off = getattr(s, key), Stage.__dataclass_fields__[key].default
        need(value == off, key, value, f"{words.get(key, 'null')} with {what}")
