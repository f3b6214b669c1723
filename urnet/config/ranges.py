"""The ranges of a recipe's values and the combinations that types cannot say."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from urnet.config.baseline_ranges import RANGES as RIVAL_RANGES
from urnet.config.baseline_ranges import Range, check_across, check_ranges, check_rivals
from urnet.config.reweight import column_file
from urnet.core.checks import InputError

OWN_FOLDERS = ("table", "curves", "measure", "replaced")  # of a run, beside those of its stages


def check_transform(t: Any, source: str) -> None:
    """Raise InputError for a Transform with a value outside its range."""
    need = _need(source)
    need(t.eval in ("straight", "short"), "transform.eval", t.eval, "straight, short")
    need(t.size >= 8, "transform.size", t.size, "8 or more")
    need(0 < t.scale[0] <= t.scale[1] <= 1, "transform.scale", t.scale, "0 < low <= high <= 1")
    need(0 < t.ratio[0] <= t.ratio[1], "transform.ratio", t.ratio, "0 < low <= high")
    need(t.pad >= 0, "transform.pad", t.pad, "0 or more")
    need(0 <= t.jitter < 1, "transform.jitter", t.jitter, "0 <= jitter < 1")
    need(t.eval == "straight" or t.resize_short >= t.size, "transform.resize_short", t.resize_short, f">= {t.size}")
    need(min(t.std) > 0, "transform.std", t.std, "numbers above 0")


def check_recipe(recipe: Any, source: str) -> None:
    """Raise InputError for a Recipe with a value outside its range or an impossible combination."""
    need = _need(source)
    d = recipe.data
    need(_is_file_name(recipe.name), "name", recipe.name, "a file name")
    need(0 <= recipe.seed < 1 << 63, "seed", recipe.seed, "0 to 2^63 - 1")
    need(d.n_classes >= 2, "data.n_classes", d.n_classes, "2 or more")
    for key in ("max_bad", "workers"):
        need(getattr(d, key) >= 0, f"data.{key}", getattr(d, key), "0 or more")
    need(d.max_pixels > 0, "data.max_pixels", d.max_pixels, "1 or more")
    need(d.prefetch >= 1, "data.prefetch", d.prefetch, "1 or more")
    listed = d.format in ("list", "imagenet")
    need(not listed or d.train_list is not None, "data.train_list", d.train_list, f"a file, as format is {d.format}")
    check_transform(recipe.transform, source)
    need(len(recipe.stages) > 0, "stages", [], "at least one stage")
    active = [stage for stage in recipe.stages if stage.enabled]
    need(len(active) > 0, "stages", "none enabled", "at least one enabled stage")
    _check_files(active, need)
    check_across(active, need)
    names = [stage.name for stage in recipe.stages]
    for i, stage in enumerate(recipe.stages):
        need(names.count(stage.name) == 1, f"stages.{i}.name", stage.name, "a name used once")
        good = _is_file_name(stage.name) and "." not in stage.name and stage.name not in OWN_FOLDERS
        need(good, f"stages.{i}.name", stage.name, "a folder name without a dot, but not " + ", ".join(OWN_FOLDERS))
        _check_stage(stage, f"stages.{stage.name}", need)


def _check_files(stages: list, need: Any) -> None:
    """Two stages that write the same file of the table would write over each other's columns."""
    owner: dict[str, str] = {}
    bags = [stage.name for stage in stages if stage.bags is not None]
    last = bags[-1] if bags else ""
    need(len(bags) <= 1, f"stages.{last}.bags", bags, "bags in one stage, as a table has one bag.arrow")
    for stage in stages:
        if stage.reweight is None:
            continue
        file = column_file(stage.reweight)
        own = f"target_weight{stage.reweight.suffix}"
        need(
            stage.reweight.method != "label" or own not in stage.sampling_weight,
            f"stages.{stage.name}.sampling_weight",
            own,
            "a loss_weight, as it is made of what is drawn",
        )
        need(
            file not in owner,
            f"stages.{stage.name}.reweight.suffix",
            stage.reweight.suffix,
            f"another word, as stage {owner.get(file)} writes {file}.arrow already",
        )
        owner[file] = stage.name


def _is_file_name(text: str) -> bool:
    return bool(text.strip()) and text not in (".", "..") and not set(text) & set("/\\\0\n")


def _check_stage(s: Any, at: str, need: Any) -> None:
    need(s.duration.amount > 0, f"{at}.duration", str(s.duration), "more than 0")
    need(s.batch_size >= 1, f"{at}.batch_size", s.batch_size, "1 or more")
    need(
        s.accumulate >= 1 and s.batch_size % s.accumulate == 0,
        f"{at}.accumulate",
        s.accumulate,
        f"a divisor of batch_size {s.batch_size}",
    )
    need(
        not s.finetune or s.start not in ("previous", "scratch"),
        f"{at}.finetune",
        True,
        f"false, as start is {s.start}, or a checkpoint's path there (train.py --init FILE)",
    )
    need(0 <= s.balance <= 1, f"{at}.balance", s.balance, "0 to 1")
    need(0 <= s.label_smoothing < 1, f"{at}.label_smoothing", s.label_smoothing, "0 <= label_smoothing < 1")
    need(0 <= s.mixup < math.inf, f"{at}.mixup", s.mixup, "0 or more")
    for key in ("log_every", "keep"):
        need(getattr(s, key) >= 1, f"{at}.{key}", getattr(s, key), "1 or more")
    for key in ("eval_every", "checkpoint_every"):
        need(getattr(s, key).amount > 0, f"{at}.{key}", str(getattr(s, key)), "more than 0")
    need(0 < s.schedule.lr < math.inf, f"{at}.schedule.lr", s.schedule.lr, "more than 0")
    need(0 < s.schedule.gamma <= 1, f"{at}.schedule.gamma", s.schedule.gamma, "0 < gamma <= 1")
    final = s.schedule.final_lr
    need(0 <= final <= s.schedule.lr, f"{at}.schedule.final_lr", final, f"0 to lr {s.schedule.lr}")
    need(s.schedule.every.amount > 0, f"{at}.schedule.every", str(s.schedule.every), "more than 0")
    milestones = [str(milestone) for milestone in s.schedule.milestones]
    need(
        bool(milestones) == (s.schedule.name == "piecewise"),
        f"{at}.schedule.milestones",
        milestones,
        "one or more with name piecewise, none with another",
    )
    o = s.optimizer
    need(not (o.nesterov and o.name == "adamw"), f"{at}.optimizer.nesterov", True, "false, as name is adamw")
    need(0 <= o.momentum < 1, f"{at}.optimizer.momentum", o.momentum, "0 <= momentum < 1")
    need(0 <= o.weight_decay < math.inf, f"{at}.optimizer.weight_decay", o.weight_decay, "0 or more")
    need(o.clip_norm is None or o.clip_norm > 0, f"{at}.optimizer.clip_norm", o.clip_norm, "more than 0, or null")
    if s.ema is not None:
        need(0 < s.ema.decay < 1, f"{at}.ema.decay", s.ema.decay, "0 < decay < 1")
        need(s.ema.bn_batches >= 1, f"{at}.ema.bn_batches", s.ema.bn_batches, "1 or more")
    need(
        o.classifier_lr >= 0 and o.classifier_lr < math.inf,
        f"{at}.optimizer.classifier_lr",
        o.classifier_lr,
        "0 or more",
    )
    if s.reweight is not None:
        _check_reweight(s.reweight, f"{at}.reweight", need)
    for key in ("batch_size", "top_k"):
        need(getattr(s.measure, key) >= 1, f"{at}.measure.{key}", getattr(s.measure, key), "1 or more")
    need(
        bool(re.fullmatch(r"given|(re)?label(_[a-z0-9_]+)?", s.targets)),
        f"{at}.targets",
        s.targets,
        "given, label or relabel, with the suffix of the reweighting where it has one",
    )
    check_rivals(s, at, need)
    if s.bags is not None:
        _check_bags(s, at, need)


RANGES: dict[str, Range] = {
    "power": (0, True, math.inf, "0 or more"),
    "cap": (1, True, math.inf, "1 or more"),
    "folds": (2, True, 100, "2 to 100"),
    "pca": (1, True, math.inf, "1 or more"),
    "rows_per_cluster": (0, False, math.inf, "more than 0"),
    "min_clusters": (1, True, (1 << 15) - 1, "1 to 32767"),
    "max_clusters": (1, True, (1 << 15) - 1, "1 to 32767"),
    "shrink": (0, True, math.inf, "0 or more"),
    "jobs": (1, True, math.inf, "1 or more"),
    "rounds": (0, True, 100, "0 to 100"),
    "shrinkage": (0, True, 1, "0 to 1"),
    "text": (0, True, math.inf, "0 or more"),
    "rank_bins": (0, True, 100, "0 to 100"),
    "least_cosine": (0, True, 0.999, "0 to 0.999"),
    "confidence_term": (0, True, math.inf, "0 or more"),
    "text_term": (0, True, math.inf, "0 or more"),
    "rank_term": (0, True, math.inf, "0 or more"),
    "model_term": (0, True, math.inf, "0 or more"),
    "reliable_rank": (0, False, 1, "more than 0, up to 1"),
    "floor": (0, False, 1, "more than 0, up to 1"),
    "rho": (0, True, math.inf, "0 or more"),
    "noise": (0, True, math.inf, "0 or more"),
    "similarity": (0, True, 1, "0 to 1"),
    "sharpness": (0, False, math.inf, "more than 0"),
    "certainty": (0, True, math.inf, "0 or more"),
    "top_k": (1, True, 32767, "1 to 32767"),
}


def _check_reweight(r: Any, at: str, need: Any) -> None:
    need(
        r.suffix == "" or bool(re.fullmatch(r"_[a-z0-9_]+", r.suffix)),
        f"{at}.suffix",
        r.suffix,
        "an underscore and a word, such as _second",
    )
    if r.method in ("curriculum", "relabel"):
        check_ranges(r, RIVAL_RANGES["reweight"], at, need)
        return
    check_ranges(r, RANGES, at, need)
    if r.method == "class_size":
        need(r.beta is None or 0 <= r.beta < 1, f"{at}.beta", r.beta, "0 <= beta < 1, or null")
    if r.method == "cluster":
        need(
            r.min_clusters <= r.max_clusters,
            f"{at}.min_clusters",
            r.min_clusters,
            f"up to max_clusters {r.max_clusters}",
        )
    if r.method != "class_size":
        check_ranges(r.evidence, RANGES, f"{at}.evidence", need)
        words = r.evidence.word_vectors
        need(
            words is None or r.evidence.text > 0,
            f"{at}.evidence.word_vectors",
            words,
            "null, as text is 0 and no text is read",
        )
    if r.method == "instance":
        total = r.confidence_term + r.text_term + r.rank_term + r.model_term
        need(r.relevance != "ranks" or total > 0, f"{at}.confidence_term", r.confidence_term, "a term above 0")


def _check_bags(s: Any, at: str, need: Any) -> None:
    b, micro = s.bags, s.batch_size // s.accumulate
    need(b.size >= 2, f"{at}.bags.size", b.size, "2 or more")
    need(micro % b.size == 0, f"{at}.bags.size", b.size, f"a divisor of batch_size / accumulate, {micro}")
    need(0 < b.temperature < math.inf, f"{at}.bags.temperature", b.temperature, "more than 0")
    for key in ("bag_term", "instance_term"):
        need(0 <= getattr(b, key) < math.inf, f"{at}.bags.{key}", getattr(b, key), "0 or more")
    need(b.bag_term + b.instance_term > 0, f"{at}.bags.bag_term", b.bag_term, "a term above 0")
    need(s.mixup == 0, f"{at}.mixup", s.mixup, "0, as bags are not mixed")
    need(s.targets == "given", f"{at}.targets", s.targets, "given, as bags are of one label")


def _need(source: str) -> Callable[[bool, str, Any, str], None]:
    def need(good: bool, key: str, found: Any, accepted: str) -> None:
        if not good:
            raise InputError(f"{source}: {key}: found {found!r}; accepted: {accepted}")

    return need
