"""Any recipe cut down to a first try of about a minute: ``train.py --tiny``. The keys that do it, in words of -o."""

from __future__ import annotations

import json
from typing import Any

from urnet.config.recipe import Recipe
from urnet.config.stage import Stage

SIZE, STEPS, ROWS = 64, 4, 8  # pixels; steps per stage; images per class, of ten classes


def tiny_overrides(recipe: Recipe, *, least_size: int = 1, n_processes: int = 1) -> list[str]:
    """``key=value`` overrides under which every stage of ``recipe`` runs, a few steps on a few images of ten classes.

    ``least_size``: pixels that its network needs. What decides how it trains (losses, reweightings, rates) stays.
    """
    t = recipe.transform
    size = min(t.size, max(SIZE, least_size))
    keys: dict[str, Any] = {"data.limit": max(ROWS, 2 * n_processes), "data.workers": 0, "transform.size": size}
    if t.eval == "short":
        keys["transform.resize_short"] = max(size, round(t.resize_short * size / t.size))
    if t.train == "pad_crop":
        keys["transform.pad"] = min(t.pad, size // 8)
    each = {stage.name: _stage_keys(stage, n_processes) for stage in recipe.stages}
    for key, value in list(next(iter(each.values()), {}).items()):  # what all stages are given
        if all(own.get(key) == value for own in each.values()):
            keys[f"stages.*.{key}"] = value
            for own in each.values():
                del own[key]
    for name, own in each.items():
        keys.update({f"stages.{name}.{key}": value for key, value in own.items()})
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in keys.items()]


def own_place(recipe: Recipe) -> list[str]:
    """Overrides that keep a first try apart from the recipe's own run, its folder and its table."""
    return [f"name={json.dumps(recipe.name + '-tiny')}", "data.table=null"]


def _stage_keys(stage: Stage, n_processes: int) -> dict[str, Any]:
    rows = n_processes * (stage.bags.size if stage.bags else 1)
    if stage.subsets is not None:  # each process's part has a row of every subset
        rows = n_processes * -(-sum(stage.subsets.parts) // min(stage.subsets.parts))
    keys: dict[str, Any] = {
        "duration": f"{STEPS} steps",
        "batch_size": -(-ROWS // rows) * rows,
        "accumulate": 1,
        "eval_every": f"{STEPS} steps",
        "checkpoint_every": f"{STEPS} steps",
        "log_every": 1,
        "schedule.warmup": "0 steps",
        "measure.batch_size": ROWS,
    }
    if stage.ema is not None:
        keys["ema.bn_batches"] = 1
    if stage.gate is not None and stage.gate.until is not None:
        keys["gate.until"] = None
    if stage.dividemix is not None:
        keys["dividemix.warmup"] = f"{STEPS // 2} steps"
    if stage.schedule.name == "step":
        keys["schedule.every"] = "2 steps"
    return keys
