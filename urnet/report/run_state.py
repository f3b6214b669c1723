"""What a run's folder and a benchmark's result file say: stages, accuracies, seeds."""

from __future__ import annotations

import datetime
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from urnet.config.yaml_dataclass import read_yaml
from urnet.core.checks import InputError

STATE = "state.json"


@dataclass(frozen=True)
class StageState:
    """What a stage's ``state.json`` says; ``best`` and ``last`` are metrics (0..1) with their step."""

    name: str
    finished: bool
    step: int
    total_steps: int
    best: dict[str, Any]
    last: dict[str, Any]
    base_hash: str


@dataclass(frozen=True)
class RunState:
    """A run: ``recipe`` is the tree of its newest recipe.yaml ({} without one), stages in its order."""

    name: str
    folder: Path
    recipe: dict[str, Any]
    stages: tuple[StageState, ...]
    order: tuple[str, ...] = ()  # names of all stages, those that have not begun yet as well
    date: str = ""  # of the newest state.json, UTC
    unreadable: tuple[int, ...] = ()  # rows whose pictures a stage could not read

    def setting(self, *keys: str, default: Any = None) -> Any:
        """A value of the recipe, ``default`` where it has none."""
        node: Any = self.recipe
        for key in keys:
            node = node.get(key) if isinstance(node, dict) else None
        return default if node is None else node


@dataclass(frozen=True)
class Method:
    """A benchmark's method: for each metric its mean, sample standard deviation (nan for one) and count."""

    name: str
    seeds: int
    metrics: dict[str, tuple[float, float, int]] = field(default_factory=dict)


def read_run(folder: Path) -> RunState:
    """Read OUTPUT/NAME. Raises InputError where it is not a folder or one of its files is broken."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; the folder of a run, OUTPUT/NAME, is needed")
    files = sorted({*folder.glob("*/final/state.json"), *folder.glob("*/best/state.json")})
    names = sorted({file.parent.parent.name for file in files if not file.parent.parent.name.startswith(".")})
    newest = max(files, key=lambda file: file.stat().st_mtime_ns, default=None)
    recipe = _recipe(folder, None if newest is None else newest.parent)
    listed = recipe.get("stages")
    planned = [str(s.get("name")) for s in listed if isinstance(s, dict)] if isinstance(listed, list) else []
    names.sort(key=lambda name: planned.index(name) if name in planned else len(planned))
    date = ""
    if newest is not None:
        moment = datetime.datetime.fromtimestamp(newest.stat().st_mtime, datetime.timezone.utc)
        date = moment.strftime("%Y-%m-%d")
    order = (*planned, *(name for name in names if name not in planned))
    stages = tuple(_stage(folder / name) for name in names)
    return RunState(folder.absolute().name, folder, recipe, stages, order, date, _unreadable(folder, order))


def _unreadable(folder: Path, stages: Sequence[str]) -> tuple[int, ...]:
    """The rows that the newest stage to train met and could not read: its lines begin with the row's number."""
    newest = next((folder / name for name in reversed(stages) if (folder / name / "log.txt").is_file()), folder)
    file = newest / "unreadable.txt"
    if not file.is_file():
        return ()
    numbers = (line.split("\t")[0] for line in file.read_text(encoding="utf-8", errors="replace").split("\n"))
    return tuple(int(number) for number in numbers if number.isascii() and number.isdigit())


def _recipe(folder: Path, newest: Path | None) -> dict[str, Any]:
    """The recipe beside the newest state, else that of a stage that was begun.

    Read as a plain tree: a report is also asked for runs of a recipe that the current keys would refuse.
    """
    places = [] if newest is None else [newest / "recipe.yaml", newest.parent / "recipe.yaml"]
    places += sorted(folder.glob("*/recipe.yaml"))
    found = next((place for place in places if place.is_file()), None)
    return {} if found is None else read_yaml(found)


def _stage(folder: Path) -> StageState:
    finished = (folder / "final" / STATE).is_file()
    state = _read_json(folder / ("final" if finished else "best") / STATE)
    if not isinstance(state, dict):
        raise InputError(f"{folder}: {STATE} holds {type(state).__name__}; a JSON object is needed")
    best, last = ({k: v for k, v in _mapping(state.get(key)).items() if _is_number(v)} for key in ("best", "last"))
    step, total = (int(state[key]) if _is_number(state.get(key)) else 0 for key in ("step", "total_steps"))
    return StageState(folder.name, finished, step, total, best, last, str(state.get("base_hash", "")))


def read_benchmark(path: Path) -> list[Method]:
    """Methods in the order of the file, from a JSON list of {"method", "seed", metric: number, …}.

    Metrics are the keys that begin with top1 or top5: shares 0..1, or per cent where any is above 1. null is
    left out. Raises InputError, naming the entry, for anything else.
    """
    entries = _read_json(path)
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: a JSON list of results is needed, at least one")
    found: dict[str, dict[str, list[float]]] = {}
    seeds: dict[str, int] = {}
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("method"), str):
            raise InputError(f'{path}: entry {place} has no "method"; {{"method": …, "top1_last": …}} is needed')
        name = entry["method"]
        seeds[name] = seeds.get(name, 0) + 1
        for key, value in _metrics(entry, f"{path}: entry {place}").items():
            found.setdefault(name, {}).setdefault(key, []).append(value)
    largest = max((v for m in found.values() for values in m.values() for v in values), default=1.0)
    scale = 0.01 if largest > 1 else 1.0
    return [
        Method(name, n, {key: _spread([scale * v for v in values]) for key, values in found.get(name, {}).items()})
        for name, n in seeds.items()
    ]


def _metrics(entry: dict[str, Any], where: str) -> dict[str, float]:
    metrics = {}
    for key, value in entry.items():
        if not key.startswith(("top1", "top5")) or value is None:
            continue
        if not _is_number(value) or not 0 <= value <= 100:
            raise InputError(f"{where}: {key} is {value!r}; a number 0..1 or 0..100 is accepted")
        metrics[key] = float(value)
    return metrics


def _spread(values: list[float]) -> tuple[float, float, int]:
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return statistics.fmean(values), deviation, len(values)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path}: is not valid JSON ({error})") from None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
