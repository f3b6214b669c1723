"""Settings of methods: the ranges in which they are searched, the trials drawn in them, and how they change a recipe.

A setting is named ``STAGE.KEY``, STAGE being a stage's name, or * for all that have the key. It multiplies what the
recipe has (``times``), so that it holds at any length of training, or replaces it (``value``).
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from urnet.config.duration import Duration
from urnet.config.stage import Stage
from urnet.core.checks import InputError, check_choice

FILE = Path(__file__).with_name("spaces.yaml")
ALL = "all"  # the ranges that every method has
Setting = Mapping[str, Any]  # {"times": 0.5} or {"value": 3}
Settings = Mapping[str, Setting]  # by STAGE.KEY; {}: as the recipe says


@dataclass(frozen=True)
class Dimension:
    """One setting's values: ``times`` or ``range`` (lowest and highest, logarithmic with ``log``), or ``choices``."""

    key: str
    times: tuple[float, float] | None = None
    range: tuple[float, float] | None = None
    choices: tuple[Any, ...] | None = None
    log: bool = False

    def at(self, place: float) -> Setting:
        """The setting at a ``place``, 0 <= place < 1; numbers to three digits."""
        if self.choices is not None:
            return {"value": self.choices[int(place * len(self.choices))]}
        low, high = self.times or self.range or (0.0, 0.0)
        value = low * (high / low) ** place if self.log else low + (high - low) * place
        return {"value" if self.times is None else "times": float(f"{value:.3g}")}


def space_of(method: str, file: Path = FILE) -> tuple[Dimension, ...]:
    """The ranges of a method's settings. Raises InputError for a file that says something else."""
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
        return tuple(_dimension(entry) for name in (ALL, method) for entry in tree.get(name, ()))
    except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(f"{file}: is not a file of ranges: {error}") from None


def _dimension(entry: Mapping[str, Any]) -> Dimension:
    values: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in entry.items()}
    made = Dimension(**values)
    if sum(values is not None for values in (made.times, made.range, made.choices)) != 1:
        raise ValueError(f"{made.key} has not one of times, range, choices")
    return made


def present(space: Sequence[Dimension], stages: Sequence[Stage], method: str) -> tuple[Dimension, ...]:
    """The settings that a method's ``stages`` have; the others are noted on stderr."""
    absent = [one.key for one in space if not _places(stages, one.key)]
    if absent:
        said = f"{method}: {', '.join(absent)} is not searched, as none of its stages has it"
        print(f"note: {said}", file=sys.stderr, flush=True)
    return tuple(one for one in space if one.key not in absent)


def draw(space: Sequence[Dimension], n: int, seed: int) -> list[Settings]:
    """``n`` trials: the recipe's own settings, then points of a scrambled Sobol sequence.

    More trials of the same seed begin with those of fewer.
    """
    if n < 2 or not space:
        return [{}] * min(n, 1)
    from scipy.stats import qmc

    points = qmc.Sobol(len(space), scramble=True, seed=seed).random_base2(math.ceil(math.log2(n)))[: n - 1]
    return [{}, *({d.key: d.at(place) for d, place in zip(space, row, strict=True)} for row in np.asarray(points))]


def applied(stages: Sequence[Stage], settings: Settings) -> tuple[Stage, ...]:
    """The stages with these settings. Raises InputError for a key that none of the stages has."""
    changed = list(stages)
    for key, setting in settings.items():
        _, _, path = key.partition(".")
        places = _places(stages, key)
        if not places:
            raise InputError(f"settings: {key}: none of the stages {', '.join(s.name for s in stages)} has it")
        change = functools.partial(_changed, setting=setting, key=key)
        for i in places:
            changed[i] = _at(changed[i], path.split("."), change)
    return tuple(changed)


def _places(stages: Sequence[Stage], key: str) -> list[int]:
    """The stages that have a setting."""
    name, _, path = key.partition(".")
    return [i for i, stage in enumerate(stages) if name in ("*", stage.name) and _has(stage, path.split("."))]


def _has(part: Any, path: Sequence[str]) -> bool:
    if not path:
        return part is not None
    own = is_dataclass(part) and path[0] in {field.name for field in fields(part)}
    return own and _has(getattr(part, path[0]), path[1:])


def _at(part: Any, path: Sequence[str], change: Callable[[Any], Any]) -> Any:
    first, rest = path[0], path[1:]
    own = getattr(part, first)
    return replace(part, **{first: _at(own, rest, change) if rest else change(own)})


def _changed(own: Any, setting: Setting, key: str) -> Any:
    if "value" in setting:
        return setting["value"]
    if isinstance(own, Duration):
        return replace(own, amount=own.amount * setting["times"])
    if isinstance(own, bool) or not isinstance(own, (int, float)):
        raise InputError(f"settings: {key}: {own!r} cannot be multiplied")
    return own * setting["times"]


def text_of(settings: Settings) -> str:
    """In words, for a table."""
    if not settings:
        return "as its recipe"
    said = (f"{key} x {s['times']:g}" if "times" in s else f"{key} = {s['value']}" for key, s in settings.items())
    return ", ".join(said)


def check_settings(tree: Any, kinds: Sequence[str], where: str) -> dict[str, Settings]:
    """Settings by kind of run, as a search left them. Raises InputError that names ``where`` for anything else."""
    methods = tree.get("methods") if isinstance(tree, dict) else None
    if not isinstance(methods, dict):
        raise InputError(f"{where}: has no methods; the search.json of python -m tools.ablation search is accepted")
    for kind, found in methods.items():
        check_choice(where, kind, kinds)
        settings = found.get("settings") if isinstance(found, dict) else None
        if not isinstance(settings, dict) or not all(map(_is_setting, settings.values())):
            raise InputError(f"{where}: methods.{kind}.settings: found {settings!r}; STAGE.KEY with times or value")
    return {kind: found["settings"] for kind, found in methods.items()}


def _is_setting(found: Any) -> bool:
    if not isinstance(found, dict) or len(found) != 1:
        return False
    (name, value), *_ = found.items()
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return name == "value" or (name == "times" and number)
