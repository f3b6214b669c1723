"""One run, stage by stage, each in a child process of its own; what is finished is kept."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tools.ablation.children import Children, Failed
from tools.ablation.kept import link_shared
from tools.ablation.methods import RIGHT, ROOT, Run
from tools.ablation.rows import Rows
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

    def __init__(self, run: Run, rows: Rows) -> None:
        self.run, self.rows = run, rows
        self._file = run.folder / RECORD
        self._tree: dict[str, Any] = {"lists": "", "stages": {}}
        if self._file.is_file():
            try:
                tree = json.loads(self._file.read_text(encoding="utf-8"))
                self._tree = {"lists": str(tree["lists"]), "stages": dict(tree["stages"])}
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(f"{self._file}: cannot be read ({error}); remove the folder to run anew") from None

    def made_of(self, stage: str) -> str:
        """A hash of what decides a stage's result: recipe up to it, lists, for the oracle the truth."""
        recipe = self.run.recipe
        kept = tuple(s for s in recipe.stages if s.name in self.run.up_to(stage))
        own = recipe_hash(replace(recipe, stages=kept, name="", output=""))
        parts = [own, self.rows.digest, self.rows.truth_digest if self.run.kind == "oracle" else ""]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]

    def of(self, stage: str) -> dict[str, Any]:
        """What is noted of the stage as it would be made now; {} for nothing."""
        found = self._tree["stages"].get(stage, {})
        return found if found.get("made_of") == self.made_of(stage) else {}

    def cost(self, stage: str) -> Cost | None:
        """What a finished stage took; None where it is not finished as it would be made now."""
        found = self.of(stage)
        if not found.get("done") or not self.run.state_file(stage).is_file():
            return None
        return Cost(found["seconds"], found["peak_mb"])

    def left(self, until: str) -> list[str]:
        """The stages up to ``until`` that are not finished."""
        return [stage for stage in self.run.up_to(until) if self.cost(stage) is None]

    def note(self, stage: str, cost: Cost, *, done: bool) -> None:
        """Write down what a stage took so far."""
        self._tree["stages"][stage] = {"made_of": self.made_of(stage), **asdict(cost), "done": done}
        self._write()

    def begin(self) -> None:
        """Make the run's folder ready: one that other lists filled is removed, which is said on stderr."""
        folder, before = self.run.folder, self._tree["lists"]
        if not before and folder.exists() and any(item.name[0] != "." for item in folder.iterdir()):
            raise InputError(f"{folder}: is not a run of this benchmark ({RECORD} is missing); choose another --out")
        if before not in ("", self.rows.digest):
            say(f"{self.run.name}: the lists have changed since it ran; runs again")
            shutil.rmtree(folder)
            self._tree["stages"] = {}
        for stage in self.run.methods:
            if self._tree["stages"].get(stage, {}).get("done") and self.cost(stage) is None:
                say(f"{self.run.name}, stage {stage}: its recipe has changed since it ran; runs again")
        self._tree["lists"] = self.rows.digest
        self._write()

    def _write(self) -> None:
        with atomic_file(self._file, replace=True) as part:
            part.write_text(json.dumps(self._tree, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def command_of(run: Run, *until: str) -> list[str]:
    """The command that carries out a run, up to a stage if one is named."""
    if run.kind == "untrained":
        return [sys.executable, "-m", "tools.ablation.untrained", "-c", str(run.file)]
    stop = ["--until", *until] if until else []
    return [sys.executable, str(ROOT / "train.py"), "-c", str(run.file), *stop, "--resume"]


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


def perform(record: Record, until: str, children: Children, finished: Callable[[Run, str, Cost], None]) -> None:
    """Do what is left of a run up to stage ``until``; ``finished`` is told of every stage done now.

    Raises Failed, with the last thing the child said.
    """
    run, log = record.run, record.run.folder / LOG
    left = record.left(until)
    if left:
        record.begin()
        link_shared(run)
        if run.kind == "oracle":
            _write_right(run, record.rows)
    for stage in left:
        before, spent = _stamp(run, stage), record.of(stage)
        code, seconds, peak_mb = children.run(command_of(run, stage), log)
        cost = Cost((spent.get("seconds") or 0.0) + seconds, max(spent.get("peak_mb") or 0.0, peak_mb))
        if code:
            if code in STOPPED:  # it resumes from here; what failed is not part of the cost
                record.note(stage, cost, done=False)
            said = f"signal {-code}" if code < 0 else last_line(log)
            raise Failed(f"{run.name}, stage {stage}: {said} (all in {log})", code)
        if before is not None and _stamp(run, stage) == before:  # train.py kept it: made by a call that was killed
            cost = Cost(None, None)
        record.note(stage, cost, done=True)
        finished(run, stage, cost)


def _stamp(run: Run, stage: str) -> int | None:
    """When the stage's result was written; None without one."""
    file = run.state_file(stage)
    return file.stat().st_mtime_ns if file.is_file() else None


def last_line(log: Path) -> str:
    """The last thing a child said."""
    lines = re.split(r"[\r\n]+", log.read_text(encoding="utf-8", errors="replace").rstrip())
    return lines[-1].strip()


def _write_right(run: Run, rows: Rows) -> None:
    """The oracle's column in the table of its own run."""
    assert rows.right is not None  # there is no oracle without truth
    table = open_or_build(run.recipe.data, run.folder / "table")
    if f"{RIGHT}.arrow" in table.files and table.describe(RIGHT)["recipe_hash"] == rows.truth_digest:
        return
    values = {RIGHT: rows.right.astype("float32")}
    table.write(RIGHT, values, stage=RIGHT, recipe_hash=rows.truth_digest, checkpoint="", replace=True)


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)
