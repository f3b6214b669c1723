"""The ranges of the rivals' settings and what they do not go together with."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

Range = tuple[float, bool, float, str]  # low, whether low itself is accepted, high, words
UNBOUNDED = ("adopt", "cap", "rho")  # keys that accept infinity
RANGES: dict[str, dict[str, Range]] = {
    "reweight": {
        "quantile": (0, False, 1, "more than 0, up to 1"),
        "n_subsets": (2, True, 127, "2 to 127"),
        "pca": (0, True, math.inf, "0 or more"),
        "jobs": (1, True, math.inf, "1 or more"),
        "power": (0, True, math.inf, "0 or more"),
        "floor": (0, False, 1, "more than 0, up to 1"),
        "drop": (0, True, 0.999, "0 to 0.999"),
        "adopt": (0, False, math.inf, "more than 0; .inf: no label changes"),
    },
    "gate": {"threshold": (0, False, 1, "more than 0, up to 1"), "levels": (1, True, math.inf, "1 or more")},
    "loss": {
        "q": (0.001, True, 1, "0.001 to 1"),
        "alpha": (0, True, 1000, "0 to 1000"),
        "beta": (0, True, 1000, "0 to 1000"),
        "log_zero": (-50, True, -0.001, "-50 to -0.001"),
    },
    "elr": {
        "weight": (0, False, 1000, "more than 0, up to 1000"),
        "momentum": (0, True, 0.9999, "0 to 0.9999"),
        "top_k": (1, True, 32767, "1 to 32767"),
    },
}


LOSS_KEYS = {"generalised": ("q",), "symmetric": ("alpha", "beta", "log_zero")}  # that a loss reads


def check_ranges(settings: Any, ranges: Mapping[str, Range], at: str, need: Any) -> None:
    """Every value of a dataclass that ``ranges`` names."""
    for key in (item.name for item in dataclasses.fields(settings)):
        if key in ranges:
            value, (low, inclusive, high, words) = getattr(settings, key), ranges[key]
            inside = (low <= value if inclusive else low < value) and value <= high
            need(inside and (value < math.inf or key in UNBOUNDED), f"{at}.{key}", value, words)


def check_rivals(s: Any, at: str, need: Any) -> None:
    """A stage's subsets, gate, loss and regularisation, alone and beside its other settings."""
    for key in ("gate", "loss", "elr"):
        if getattr(s, key) is not None:
            check_ranges(getattr(s, key), RANGES[key], f"{at}.{key}", need)
    if s.subsets is not None:
        _check_subsets(s, at, need)
    if s.gate is not None:
        until = s.gate.until
        need(until is None or until.amount > 0, f"{at}.gate.until", str(until), "more than 0, or null")
        if s.gate.schedule != "step":
            _check_unused(s.gate, ("levels",), f"schedule is {s.gate.schedule}", f"{at}.gate", need)
        _check_alone(s, "gate", ("mixup", "bags", "elr"), at, need)
        need(
            not s.gate.agree or s.targets == "given",
            f"{at}.gate.agree",
            True,
            f"false, as targets is {s.targets}: a row is not trained towards its label",
        )
    if s.elr is not None:
        _check_alone(s, "elr", ("mixup", "bags"), at, need)
    unused = [key for name, keys in LOSS_KEYS.items() if name != s.loss.name for key in keys]
    _check_unused(s.loss, unused, f"name is {s.loss.name}", f"{at}.loss", need)
    if s.loss.name != "cross_entropy":
        _check_alone(s, f"loss {s.loss.name}", ("bags",), at, need)
        need(
            s.loss.name != "symmetric" or s.loss.alpha + s.loss.beta > 0,
            f"{at}.loss.alpha",
            s.loss.alpha,
            "a term above 0",
        )


def _check_subsets(s: Any, at: str, need: Any) -> None:
    parts, weights = s.subsets.parts, s.subsets.loss_weight
    need(
        bool(re.fullmatch(r"subset(_[a-z0-9_]+)?", s.subsets.column)),
        f"{at}.subsets.column",
        s.subsets.column,
        "subset, with the suffix of a curriculum where it has one",
    )
    need(
        0 < len(parts) <= 127 and all(part >= 1 for part in parts),
        f"{at}.subsets.parts",
        list(parts),
        "a number of 1 or more for each subset",
    )
    need(
        len(weights) == len(parts) and all(0 < w < math.inf for w in weights),
        f"{at}.subsets.loss_weight",
        list(weights),
        f"a number above 0 for each of the {len(parts)} parts",
    )
    micro = s.batch_size // s.accumulate  # batch-norm statistics come from micro-batches
    need(
        micro * min(parts) >= sum(parts),
        f"{at}.subsets.parts",
        list(parts),
        f"parts of which the least has a row among batch_size / accumulate, {micro}",
    )
    _check_alone(s, "subsets", ("bags", "sampling_weight", "balance"), at, need)


def check_across(stages: Sequence[Any], need: Any) -> None:
    """What stages say of each other.

    Batches have parts of no more subsets than the curriculum makes that writes them; rows that were given
    another label are not drawn as such and trained on the old one.
    """
    made: dict[str, int] = {}
    moved: dict[str, str] = {}
    for s in stages:
        if s.reweight is not None and s.reweight.method == "relabel" and s.reweight.adopt < math.inf:
            moved["image_weight" + s.reweight.suffix] = "relabel" + s.reweight.suffix
        for name in (*s.sampling_weight, *s.loss_weight):
            need(
                name not in moved or s.targets == moved[name],
                f"stages.{s.name}.targets",
                s.targets,
                f"{moved.get(name)}, as {name} weighs rows by the labels that it gave them",
            )
        if s.reweight is not None and s.reweight.method == "curriculum":
            made["subset" + s.reweight.suffix] = s.reweight.n_subsets
        if s.subsets is not None and s.subsets.column in made:
            n = made[s.subsets.column]
            need(
                len(s.subsets.parts) <= n,
                f"stages.{s.name}.subsets.parts",
                list(s.subsets.parts),
                f"up to {n} parts, as the curriculum has n_subsets {n}",
            )


def _check_unused(settings: Any, keys: Sequence[str], why: str, at: str, need: Any) -> None:
    """Keys that are not read are at their default: nobody shall believe that they do something."""
    for key in keys:
        default = settings.__dataclass_fields__[key].default
        need(
            getattr(settings, key) == default,
            f"{at}.{key}",
            getattr(settings, key),
            f"{default} (its default), as {why}",
        )


def _check_alone(s: Any, what: str, others: tuple[str, ...], at: str, need: Any) -> None:
    """The stage's ``others`` are at what means "off"."""
    off: dict[str, Any] = {"mixup": 0, "balance": 0, "sampling_weight": ()}
    words = {"mixup": "0", "balance": "0", "sampling_weight": "[]"}
    for key in others:
        value = getattr(s, key)
        found = list(value) if isinstance(value, tuple) else value
        found = "a mapping" if dataclasses.is_dataclass(value) else found
        need(value == off.get(key), f"{at}.{key}", found, f"{words.get(key, 'null')} beside {what}")
