"""What cannot be one program (``model.compile``, ``urnet.nn.compiled``)."""

from __future__ import annotations

from collections.abc import Sequence

from urnet.config.recipe import Recipe
from urnet.config.stage import Stage
from urnet.core.checks import InputError
from urnet.runtime.precision import flag_is_set

ONEDNN = ("FLAGS_use_onednn", "FLAGS_use_mkldnn")


def check_compile(recipe: Recipe, stages: Sequence[Stage], n_processes: int) -> None:
    """Raise InputError for a recipe with ``model.compile`` that cannot be one program."""
    if not recipe.model.compile:
        return
    onednn = next((name for name in ONEDNN if flag_is_set(name)), None)
    reasons = {
        "model.recompute": (recipe.model.recompute, "a unit that is recomputed cannot be part of a program"),
        "model.sync_batch_norm": (
            recipe.model.sync_batch_norm and n_processes > 1,
            "a program's batch norms cannot reach the other processes",
        ),
        str(onednn): (onednn is not None, "Paddle's training programs crash with it"),
    }
    for stage in stages:
        at, elr = f"stages.{stage.name}", stage.elr
        reasons |= {
            f"{at}.train: {stage.train}": (stage.train != "all", "only whole networks are compiled"),
            f"{at}.{stage.pair}": (bool(stage.pair), "two networks take turns within a step"),
            f"{at}.elr.teacher: average": (
                elr is not None and elr.teacher == "average",
                "a program's batch norms cannot be frozen while the average is evaluated",
            ),
        }
    for where, (there, why) in reasons.items():
        if there:
            raise InputError(f"model.compile: found true together with {where}: {why}; give one of the two")
