"""A stage whose network computes as one program, compiled at its first batch of each shape (``model.compile``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle

from urnet.config.recipe import Recipe
from urnet.config.stage import Stage
from urnet.core.checks import InputError
from urnet.runtime.host_to_device import on_gpu
from urnet.runtime.precision import flag_is_set

ONEDNN = ("FLAGS_use_onednn", "FLAGS_use_mkldnn")


def compile_forward(model: Any) -> None:
    """Let ``model(images)`` be one program for training and one for evaluation; every shape of a batch has its own.

    Losses and gradients are those of the same operations. On a GPU CINN generates their kernels where Paddle was built
    with it. What the network's code reads while it is traced, a batch norm's momentum for one, is fixed from then on:
    ``check_compile`` refuses what would change it.
    """
    cinn = on_gpu() and paddle.is_compiled_with_cinn()
    paddle.jit.to_static(model, full_graph=True, backend="CINN" if cinn else None)


def check_compile(recipe: Recipe, stages: Sequence[Stage], n_processes: int) -> None:
    """Raise InputError for a recipe with ``model.compile`` that cannot be one program."""
    if not recipe.model.compile:
        return
    onednn = next((name for name in ONEDNN if flag_is_set(name)), None)
    reasons = {
        "model.recompute": (recipe.model.recompute, "a unit that is computed again is no part of a program"),
        "several processes": (n_processes > 1, "their exchange of gradients behind a program has not been tried"),
        str(onednn): (onednn is not None, "Paddle's training programs crash with it"),
    }
    for stage in stages:
        at, elr = f"stages.{stage.name}", stage.elr
        reasons |= {
            f"{at}.train: {stage.train}": (stage.train != "all", "only whole networks are compiled"),
            f"{at}.{stage.pair}": (bool(stage.pair), "two networks take turns in a step"),
            f"{at}.elr.teacher: average": (
                elr is not None and elr.teacher == "average",
                "a program's batch norms cannot stop counting while the average is asked",
            ),
        }
    for where, (there, why) in reasons.items():
        if there:
            raise InputError(f"model.compile: found true together with {where}: {why}; accepted: one of the two")
