"""One run, stage by stage, each in a child process of its own; what is finished is kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tools.ablation.children import Command, Failed, Job
from tools.ablation.methods import RIGHT, ROOT, Run
from tools.ablation.truth import Lists, Truth
from urnet.config.recipe import dump_recipe, recipe_hash
from urnet.core.atomic_files import atomic_file
from urnet.core.checks import InputError
from urnet.core.cli import INTERRUPTED, TERMINATED
from urnet.data.lists.build_table import open_or_build
from urnet.pipeline.recipes import load_recipe

STOPPED = (INTERRUPTED, TERMINATED)  # exit codes of a training that saved when it was asked to end
RECORD, LOG = "benchmark.json", "benchmark.log"  # in a run's folder


@dataclass(frozen=True)
class Cost:
    """What a finished stage took; None where the process that knew was killed."""

    seconds: float | None
    peak_mb: float | None


class Record:
    """OUT/runs/NAME/benchmark.json: for every stage what it was made of, its cost, whether it is done."""

    def __init__(self, run: Run, lists: Lists, truth: Truth | None) -> None:
        self.run, self._lists = run, lists
        self.truth = truth if run.kind == "oracle" else None  # the run trains on it
        self._file = run.folder / RECORD
        self._tree = self._read()

    def _read(self) -> dict[str, Any]:
        if not self._file.is_file():
            return {}
        try:
            tree = json.loads(self._file.read_text(encoding="utf-8"))
            return {"lists": str(tree["lists"]), "stages": dict(tree["stages"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self._file}: cannot be read ({error}); remove the folder to run anew") from None

    def made_of(self, stage: str) -> str:
        """A hash of what decides a stage's result: recipe up to it, lists, for the oracle the truth."""
        recipe = self.run.recipe
        kept = tuple(s for s in recipe.stages if s.name in self.run.up_to(stage))
        own = recipe_hash(replace(recipe, stages=kept, name="", output=""))
        parts = [own, self._lists.digest, self.truth.digest if self.truth else ""]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]

    def of(self, stage: str) -> dict[str, Any]:
        """What is noted of the stage as it would be made now; {} for nothing."""
        found = self._tree.get("stages", {}).get(stage, {})
        return found if found.get("made_of") == self.made_of(stage) else {}

    def cost(self, stage: str) -> Cost | None:
        """What a finished stage took; None where it is not finished as it would be made now."""
        found = self.of(stage)
        if not found.get("done") or not self.run.state_file(stage).is_file():
            return None
        return Cost(found["seconds"], found["peak_mb"])

    def note(self, stage: str, cost: Cost, *, done: bool) -> None:
        """Write down what a stage took so far."""
        self._tree["stages"][stage] = {
            "made_of": self.made_of(stage),
            "seconds": cost.seconds,
            "peak_mb": cost.peak_mb,
            "done": done,
        }
        self._write()

    def begin(self) -> None:
        """Make the run's folder ready: one that other lists filled is removed, which is said on stderr."""
        folder = self.run.folder
        if not self._tree and folder.exists() and any(item.name[0] != "." for item in folder.iterdir()):
            raise InputError(f"{folder}: is no run of this benchmark ({RECORD} is missing); choose another --out")
        if self._tree and self._tree["lists"] != self._lists.digest:
            say(f"{self.run.name}: the lists have changed since it ran; runs again")
            shutil.rmtree(folder)
            self._tree = {}
        for stage in self.run.methods:
            if self._tree.get("stages", {}).get(stage, {}).get("done") and self.cost(stage) is None:
                say(f"{self.run.name}, stage {stage}: its recipe has changed since it ran; runs again")
        self._tree = {"lists": self._lists.digest, "stages": self._tree.get("stages", {})}
        self._write()

    def _write(self) -> None:
        with atomic_file(self._file, replace=True) as part:
            part.write_text(json.dumps(self._tree, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def command_of(run: Run, stage: str | None = None) -> list[str]:
    """The command that carries out a run, up to a stage if one is named."""
    if run.kind == "untrained":
        return [sys.executable, "-m", "tools.ablation.untrained", "-c", str(run.file)]
    until = [] if stage is None else ["--until", stage]
    return [sys.executable, str(ROOT / "train.py"), "-c", str(run.file), *until, "--resume"]


def write_recipe(run: Run, source: str) -> Run:
    """Write OUT/recipes/NAME.yaml, its head says what it is and how to run it by hand.

    Returns the run with its recipe read back, so that what runs is what is written there.
    """
    head = [f"benchmark: {', '.join(run.methods.values())}; seed {run.seed}", f"source:    {source}"]
    if run.kind == "oracle":
        head.append(f"needs:     column {RIGHT} in {run.folder / 'table'}; tools/benchmark.py writes it")
    head.append(f"command:   {shlex.join(command_of(run))}")
    text = "".join(f"# {line}\n" for line in head) + dump_recipe(run.recipe)
    with atomic_file(run.file, replace=True) as part:
        part.write_text(text, encoding="utf-8")
    return replace(run, recipe=load_recipe(run.file))


def perform(record: Record, until: str, finished: Callable[[Run, str, Cost], None]) -> Job:
    """What is left of a run up to stage ``until``; ``finished`` is told of every stage done now.

    Raises Failed, with the last thing the child said.
    """
    run = record.run
    left = [stage for stage in run.up_to(until) if record.cost(stage) is None]
    if left:
        record.begin()
        if record.truth is not None:
            _write_right(run, record.truth)
    for stage in left:
        before, spent = _stamp(run, stage), record.of(stage)
        outcome = yield Command(command_of(run, stage), run.folder / LOG)
        seconds, peak_mb = spent.get("seconds") or 0.0, spent.get("peak_mb") or 0.0
        cost = Cost(seconds + outcome.seconds, max(peak_mb, outcome.peak_mb))
        if outcome.code:
            if outcome.code in STOPPED:  # it resumes from here; what failed is not part of the cost
                record.note(stage, cost, done=False)
            said = f"signal {-outcome.code}" if outcome.code < 0 else _last_line(run.folder / LOG)
            raise Failed(f"{run.name}, stage {stage}: {said} (all in {run.folder / LOG})", outcome.code)
        if before is not None and _stamp(run, stage) == before:  # train.py kept it: made by a call that was killed
            cost = Cost(None, None)
        record.note(stage, cost, done=True)
        finished(run, stage, cost)


def _stamp(run: Run, stage: str) -> int | None:
    with contextlib.suppress(OSError):
        return run.state_file(stage).stat().st_mtime_ns
    return None


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").split("\n")
    return [line.strip() for line in lines if line.strip()][-1]


def _write_right(run: Run, truth: Truth) -> None:
    """The oracle's column in the table of its own run."""
    table = open_or_build(run.recipe.data, run.folder / "table")
    if f"{RIGHT}.arrow" in table.files and table.describe(RIGHT)["recipe_hash"] == truth.digest:
        return
    values = {RIGHT: truth.right.astype("float32")}
    table.write(RIGHT, values, stage=RIGHT, recipe_hash=truth.digest, checkpoint="", replace=True)


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)
