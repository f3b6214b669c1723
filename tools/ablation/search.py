"""Choose settings for methods the same way: equally many trials each, on held-out rows of the noisy training set.

    python -m tools.ablation search --data DIR --out OUT --methods urnet_images,elr,pci --trials 12 --jobs 2
    python tools/benchmark.py --data DIR --out OUT2 --methods urnet_images,elr,pci --settings OUT/search.json

A trial is a complete training on the other rows at the ladder's cost. Its score is the class-averaged top-1 after the
last step against the given labels of the held-out rows. Neither validation images nor truth_train.txt are read. Trial 0
has the recipe's own settings, the others are drawn from tools/ablation/spaces.yaml. Finished trials are kept,
interrupted ones resume. Results go to OUT/search.json and OUT/search.md. docs/benchmark.md says what this favours.
"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tools.ablation.children import Children, Failed, carry_out
from tools.ablation.cost import check_equal, predicted, total_passes
from tools.ablation.durations import shortened
from tools.ablation.flags import BUDGETS, parser_of
from tools.ablation.held_out import SHARE, held_out
from tools.ablation.kept import keep_shared
from tools.ablation.left_out import not_run
from tools.ablation.methods import BASELINES, IMAGES, LADDER, Run, make_run, stages_of
from tools.ablation.report import conditions, table
from tools.ablation.rows import Rows, pointed, read_rows
from tools.ablation.runs import STOPPED, Cost, Record, perform, say, write_recipe
from tools.ablation.spaces import Settings, draw, present, space_of, text_of
from urnet.config.recipe import Recipe
from urnet.core import cli
from urnet.core.atomic_files import atomic_file
from urnet.core.checks import InputError, check_choice
from urnet.core.cpus import usable_cores
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.run_folder import locked

OWN = (LADDER, IMAGES)
SEARCHED = (*OWN, "ce_equal", "balanced_equal", *BASELINES)
GROUPS = {"own": OWN, "rivals": ("balanced_equal", *BASELINES), "all": SEARCHED}
TRIAL = "trial.json"  # in a trial's folder
ABOUT = """\
Score: class-averaged top-1 in percent against the given labels of the rows held out, after the last step, one seed.
Some given labels are wrong, so scores say which settings of one method to take, not which method is better. Trial 0
is the unchanged recipe. Of equal scores the earlier trial is taken.
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    name = "python -m tools.ablation search"
    parser = parser_of(name, __doc__ or "", out="output/search", budget="small", jobs="trials")
    names = f"methods and groups of methods ({', '.join(GROUPS)}), separated by commas [all]"
    parser.add_argument("--methods", default="all", metavar="NAMES", help=names)
    parser.add_argument(
        "--trials", type=cli.number(int, 1), default=12, metavar="N", help="number of trials for each method [12]"
    )
    words = "seed for drawing trials and for training [0]"
    parser.add_argument("--seed", type=cli.number(int, 0), default=0, metavar="S", help=words)
    return parser.parse_args(argv)


@dataclass(frozen=True)
class Trial:
    """One training of a method with some settings."""

    kind: str
    number: int
    settings: Settings
    record: Record

    @property
    def run(self) -> Run:
        return self.record.run

    @property
    def last(self) -> str:
        """The stage whose end is scored."""
        return tuple(self.run.methods)[-1]

    def result(self) -> dict[str, Any] | None:
        """What it came to; None while it is not finished as it would be made now."""
        if self.record.cost(self.last) is None:
            return None
        states = [json.loads(self.run.state_file(s).read_text(encoding="utf-8")) for s in self.run.methods]
        passes = total_passes(states)
        return {
            "trial": self.number,
            "settings": self.settings,
            "score": round(100 * states[-1]["last"]["top1"], 4),
            "cost": None if passes is None else round(passes.training_images, 4),
        }


def main(argv: Sequence[str]) -> None:
    """Check everything, run the trials that are not done yet, write and print what was chosen."""
    args = parse(argv)
    kinds = choose(args.methods)
    threads = max(usable_cores() // args.jobs, 1)
    with locked(args.out):
        base = read_base(args)
        rows = read_rows(base.data)
        without = not_run(base, rows.has_metadata)
        for kind in [kind for kind in kinds if kind in without]:
            if kind in map(str.strip, args.methods.split(",")):
                raise InputError(f"--methods: {kind}: {without[kind]}; leave it out")
            say(f"note: without {kind}: {without[kind]}")
        trials = make_trials(args, base, rows, [kind for kind in kinds if kind not in without])
        command = f"python -m tools.ablation search {shlex.join(argv)}"
        found = Search(args, trials, conditions(command, threads, args.jobs))
        found.keep_finished()
        children = Children(threads)
        left = [trial for trial in trials if trial.result() is None]
        shared = functools.partial(keep_shared, [(trial.run, trial.last) for trial in left], children)
        work = [functools.partial(found.carry_out, trial, children) for trial in left]
        try:
            failed = carry_out([shared], 1, children) or carry_out(work, args.jobs, children)
        finally:
            found.write()
        if failed:
            raise RuntimeError(f"{len(failed)} of {len(work)} trials failed: {failed[0]}")
    print(f"{found.table()}\nresults {args.out / 'search.md'}")


def choose(text: str) -> tuple[str, ...]:
    """The methods to search, in order. Raises InputError for an unknown one."""
    words = [word.strip() for word in text.split(",")]
    for word in words:
        check_choice("--methods", word, (*GROUPS, *SEARCHED))
    wanted = {kind for word in words for kind in GROUPS.get(word, (word,))}
    return tuple(kind for kind in SEARCHED if kind in wanted)


def read_base(args: argparse.Namespace) -> Recipe:
    """The recipe on the rows that train, those held out being its validation, cut to the budget."""
    for text in args.override:
        key = text.partition("=")[0]
        if key in ("name", "output", "seed") or key.startswith(("data.table", "data.val_", "stages")):
            raise InputError(f"-o {text}: the search sets this itself; keys of transform, model and data are accepted")
    whole = load_recipe(args.recipe, [*pointed(args.data), *args.override])
    data = held_out(whole.data, args.out / "data")
    return replace(whole, data=data, stages=tuple(shortened(s, BUDGETS[args.budget]) for s in whole.stages))


def make_trials(args: argparse.Namespace, base: Recipe, rows: Rows, kinds: Sequence[str]) -> list[Trial]:
    """All trials, every method's first ones first, their recipes written. Raises InputError for unequal costs."""
    spaces = {kind: present(space_of(kind), stages_of(kind, base, len(rows)), kind) for kind in kinds}
    drawn = {kind: draw(space, args.trials, args.seed) for kind, space in spaces.items()}
    costs, trials = {}, []
    for number in range(args.trials):
        for kind in kinds:
            if number >= len(drawn[kind]):
                continue
            settings = drawn[kind][number]
            run = make_run(base, kind, args.seed, args.out, len(rows), {kind: settings})
            recipe = replace(run.recipe, name=f"{kind}-{number}", output=str(args.out / "trials"))
            costs[recipe.name] = predicted(recipe.stages, len(rows)).training_images
            source = f"{args.recipe}, trial {number} of {kind}: {text_of(settings)}"
            written = write_recipe(replace(run, recipe=recipe), source)
            trials.append(Trial(kind, number, settings, Record(written, rows)))
    check_equal(costs)
    return trials


class Search:
    """The trials' results as they come in, from several threads, and the files that hold them."""

    def __init__(self, args: argparse.Namespace, trials: Sequence[Trial], made: str) -> None:
        self._args, self._trials, self._made, self._lock = args, trials, made, threading.Lock()
        self._failed: dict[tuple[str, int], str] = {}

    def keep_finished(self) -> None:
        """Say which trials earlier calls finished."""
        kept = [trial.run.name for trial in self._trials if trial.result() is not None]
        if kept:
            say(f"finished already, kept: {', '.join(kept)}")

    def carry_out(self, trial: Trial, children: Children) -> None:
        """Train; a trial that fails has no score, one that is stopped raises Failed, as does bad input."""
        try:
            perform(trial.record, trial.last, children, lambda run, stage, cost: self._add(trial, stage, cost))
        except Failed as failure:
            if failure.code in (*STOPPED, cli.BAD_INPUT) or failure.code < 0 or trial.number == 0:
                raise
            say(f"no score: {failure}")
            with self._lock:
                self._failed[trial.kind, trial.number] = str(failure)

    def _add(self, trial: Trial, stage: str, cost: Cost) -> None:
        if stage != trial.last:
            return
        with self._lock:
            result = trial.result()
            assert result is not None
            seconds = "" if cost.seconds is None else f" ({cost.seconds:.0f} s)"
            say(f"{trial.run.name}: {result['score']:.2f} % with {text_of(trial.settings)}{seconds}")
            _write(trial.run.folder / TRIAL, json.dumps({"method": trial.kind, **result}, indent=1) + "\n")
            self.write()

    def tree(self) -> dict[str, Any]:
        """search.json: for each method its chosen trial and settings, and all trials."""
        methods: dict[str, Any] = {}
        for kind in dict.fromkeys(trial.kind for trial in self._trials):
            own = [trial for trial in self._trials if trial.kind == kind]
            done = [found for trial in own if (found := trial.result()) is not None]
            if not done:
                continue
            best = max(done, key=lambda found: found["score"])  # of equal ones the first
            failed = [{"trial": n, "failed": said} for (name, n), said in self._failed.items() if name == kind]
            chosen = {"chosen": best["trial"], "score": best["score"], "settings": best["settings"]}
            methods[kind] = {**chosen, "of": len(own), "trials": [*done, *failed]}
        about = {name: getattr(self._args, name) for name in ("budget", "trials", "seed")}
        return {"data": str(self._args.data), **about, "held_out": SHARE, "methods": methods}

    def write(self) -> None:
        """Write search.json and search.md."""
        tree = self.tree()
        _write(self._args.out / "search.json", json.dumps(tree, indent=1) + "\n")
        _write(self._args.out / "search.md", self.page(tree))

    def page(self, tree: Mapping[str, Any]) -> str:
        """search.md: what was chosen, every trial, how it was made."""
        head = f"# Search: {self._args.data.resolve().name}\n\nBudget {tree['budget']}, seed {tree['seed']}.\n"
        parts = [head, ABOUT, self.table()]
        for kind, found in tree["methods"].items():
            rows: list[tuple[str, ...]] = [("settings", "trial", "score", "cost: training images")]
            for one in found["trials"]:
                if "failed" in one:
                    rows.append((f"failed: {one['failed']}".replace("|", "/"), str(one["trial"]), "–", "–"))
                    continue
                cost = "not counted" if one["cost"] is None else f"{one['cost']:,.0f}"
                rows.append((text_of(one["settings"]), str(one["trial"]), f"{one['score']:.2f}", cost))
            parts += [f"## {kind}\n", table(*rows)]
        return "\n".join([*parts, "## Made with\n", self._made])

    def table(self) -> str:
        """One line per method: trials with a score, the recipe's own score, the best one, and what was chosen."""
        rows: list[tuple[str, ...]] = [("chosen", "method", "trials", "own score", "best score")]
        for kind, found in self.tree()["methods"].items():
            scored = [one for one in found["trials"] if "score" in one]
            own = next((f"{one['score']:.2f}" for one in scored if one["trial"] == 0), "–")
            count = f"{len(scored)} of {found['of']}"
            rows.append((text_of(found["settings"]), kind, count, own, f"{found['score']:.2f}"))
        return table(*rows)


def _write(file: Path, text: str) -> None:
    with atomic_file(file, replace=True) as part:
        part.write_text(text, encoding="utf-8")
