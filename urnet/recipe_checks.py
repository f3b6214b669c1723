"""Level 0: the ranges of a recipe's values and the combinations that types cannot say."""

from __future__ import annotations

import math
from typing import Any

from urnet.checks import InputError

OWN_FOLDERS = ("table", "curves")  # of a run, beside those of its stages


def check_recipe(recipe: Any, source: str) -> None:
    """Raise InputError for a Recipe with a value outside its range or an impossible combination."""

    def need(good: bool, key: str, found: Any, accepted: str) -> None:
        if not good:
            raise InputError(f"{source}: {key}: found {found!r}; accepted: {accepted}")

    d, t = recipe.data, recipe.transform
    need(_is_file_name(recipe.name), "name", recipe.name, "a file name")
    need(0 <= recipe.seed < 1 << 63, "seed", recipe.seed, "0 to 2^63 - 1")
    need(d.n_classes >= 2, "data.n_classes", d.n_classes, "2 or more")
    for key in ("max_bad", "workers"):
        need(getattr(d, key) >= 0, f"data.{key}", getattr(d, key), "0 or more")
    need(d.max_pixels > 0, "data.max_pixels", d.max_pixels, "1 or more")
    need(d.prefetch >= 1, "data.prefetch", d.prefetch, "1 or more")
    listed = d.format in ("list", "imagenet")
    need(
        not listed or d.train_list is not None,
        "data.train_list",
        d.train_list,
        f"a file, as format is {d.format}",
    )
    need(t.size >= 8, "transform.size", t.size, "8 or more")
    need(0 < t.scale[0] <= t.scale[1] <= 1, "transform.scale", t.scale, "0 < low <= high <= 1")
    need(0 < t.ratio[0] <= t.ratio[1], "transform.ratio", t.ratio, "0 < low <= high")
    need(t.pad >= 0, "transform.pad", t.pad, "0 or more")
    need(0 <= t.jitter < 1, "transform.jitter", t.jitter, "0 <= jitter < 1")
    need(
        t.eval == "straight" or t.resize_short >= t.size,
        "transform.resize_short",
        t.resize_short,
        f">= {t.size}",
    )
    need(min(t.std) > 0, "transform.std", t.std, "numbers above 0")
    need(len(recipe.stages) > 0, "stages", [], "at least one stage")
    names = [stage.name for stage in recipe.stages]
    for i, stage in enumerate(recipe.stages):
        need(names.count(stage.name) == 1, f"stages.{i}.name", stage.name, "a name used once")
        good = _is_file_name(stage.name) and "." not in stage.name and stage.name not in OWN_FOLDERS
        need(good, f"stages.{i}.name", stage.name, "a folder name without a dot, but not table or curves")
        _check_stage(stage, f"stages.{stage.name}", need)


def _is_file_name(text: str) -> bool:
    return bool(text.strip()) and text not in (".", "..") and not set(text) & set("/\\\0\n")


def _check_stage(s: Any, at: str, need: Any) -> None:
    need(s.duration.amount > 0, f"{at}.duration", str(s.duration), "more than 0")
    need(s.batch_size >= 1, f"{at}.batch_size", s.batch_size, "1 or more")
    need(s.accumulate >= 1 and s.batch_size % s.accumulate == 0, f"{at}.accumulate", s.accumulate,
         f"a divisor of batch_size {s.batch_size}")  # fmt: skip
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
    need(
        o.clip_norm is None or o.clip_norm > 0,
        f"{at}.optimizer.clip_norm",
        o.clip_norm,
        "more than 0, or null",
    )
    if s.ema is not None:
        need(0 < s.ema.decay < 1, f"{at}.ema.decay", s.ema.decay, "0 < decay < 1")
        need(s.ema.bn_batches >= 1, f"{at}.ema.bn_batches", s.ema.bn_batches, "1 or more")
    if s.reweight is not None:
        r = s.reweight
        need(0 <= r.power < math.inf, f"{at}.reweight.power", r.power, "0 or more")
        need(r.cap >= 1, f"{at}.reweight.cap", r.cap, "1 or more")
        need(r.beta is None or 0 <= r.beta < 1, f"{at}.reweight.beta", r.beta, "0 <= beta < 1, or null")
