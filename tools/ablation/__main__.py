"""Measure the accuracy that each reweighting adds, with the baselines it has to beat and an upper limit.

    python data/make_digits_web.py --out data/digits_web
    python tools/benchmark.py --data data/digits_web --out output/benchmark --seeds 0,1,2
    python tools/benchmark.py --data DIR --out DIR --methods ce,class,+instance --budget small
    python tools/benchmark.py --data DIR --out DIR --methods all          with the baselines of docs/baselines.md
    python tools/benchmark.py --data DIR --out DIR --methods evidence     what titles and search ranks bring
    python -m tools.ablation search --help          settings chosen the same way for all methods, for --settings
    python -m tools.ablation growth --help      gains against the number of rows and the share of wrong labels
    python tools/benchmark.py --data photos --recipe recipes/folder.yaml --out DIR --methods ladder,rivals

--data takes a folder in WebVision 2.0's layout, or one of photographs: train/CLASS/… and val/CLASS/…. If it holds
truth_train.txt (for photographs truth_train.csv), that file says what the images really show. Results go to
OUT/result.json, OUT/result.md and OUT/ladder.png. Finished pairs of method and seed are kept, interrupted ones
resume. docs/benchmark.md explains the methods and figures.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tools.ablation.children import Children, carry_out
from tools.ablation.chosen import read_settings, said_settings
from tools.ablation.cost import check_equal, predicted
from tools.ablation.durations import shortened
from tools.ablation.evidence import RESTRICTED, TARGETS
from tools.ablation.flags import BUDGETS, parser_of
from tools.ablation.kept import keep_shared
from tools.ablation.left_out import not_run
from tools.ablation.methods import (
    BASELINES,
    IMAGES,
    KINDS,
    LADDER,
    OWN_RECIPES,
    REFERENCES,
    compared,
    make_run,
    method_names,
    methods_of,
    settings_of,
    stages_of,
)
from tools.ablation.report import conditions
from tools.ablation.results import Results
from tools.ablation.rows import Rows, check_oracle, pointed, read_rows, truth_place
from tools.ablation.runs import Record, perform, say, write_recipe
from tools.ablation.scores import needs_cleanlab
from tools.ablation.spaces import Settings, applied
from urnet.config.recipe import Recipe
from urnet.core import cli
from urnet.core.checks import InputError, check_choice
from urnet.core.cpus import usable_cores
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.run_folder import locked

OWN = ("name", "output", "seed", "data.table")  # keys that differ from run to run
COMMANDS = {"search": "tools.ablation.search", "growth": "tools.ablation.growth"}  # behind python -m tools.ablation
EXTRA = 'pip install -e ".[benchmark]"'


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = parser_of("tools/benchmark.py", __doc__ or "", out="output/benchmark", budget="full", jobs="runs")
    add = parser.add_argument
    add("--seeds", type=seeds, default="0,1,2", help="numbers from 0, separated by commas [0,1,2]")
    names = "methods and groups of methods (ladder, rivals, evidence, all), separated by commas [ladder]"
    add("--methods", default="ladder", metavar="NAMES", help=names)
    chosen = "settings for the methods: the search.json of `python -m tools.ablation search` [those of the recipes]"
    add("--settings", type=Path, metavar="FILE", help=chosen)
    return parser.parse_args(argv)


def seeds(text: str) -> list[int]:
    """`0,1,2` as numbers."""
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not re.fullmatch(r"[0-9]{1,18}", word) or words.count(word) > 1:
            raise argparse.ArgumentTypeError(f"found {word!r} in {text!r}; accepted: numbers from 0, each once: 0,1,2")
    return [int(word) for word in words]


class Plan(NamedTuple):
    """What is compared, on which rows; ``without``: kinds of runs that are left out, and why."""

    base: Recipe
    rows: Rows
    without: Mapping[str, str]
    methods: tuple[str, ...]
    equals: Mapping[str, str]
    settings: Mapping[str, Settings]


def plan(args: argparse.Namespace) -> Plan:
    """Check everything. Raises InputError."""
    base = read_base(args)
    rows = read_rows(base.data)
    without = not_run(base, rows.has_metadata)
    methods = choose_methods(args.methods, base, rows.right is not None, without)
    check_overrides(args.override, methods)
    if any(name.split("/")[0] == "oracle" for name in methods):
        check_oracle(rows, truth_place(base.data))
    if rows.right is not None and needs_cleanlab(base, methods) and not importlib.util.find_spec("cleanlab"):
        raise InputError(f"cleanlab is not installed; {EXTRA}")
    equals = compared(base, without)
    settings = read_settings(args.settings, [name.split("/")[0] for name in methods])
    costs = {name: predicted_cost(equals[name], base, len(rows), settings) for name in methods if name in equals}
    check_equal(costs)
    return Plan(base, rows, without, methods, equals, settings)


def main(argv: Sequence[str]) -> None:
    """Check everything, run what is not done yet, write and print the results. A command's name hands over to it."""
    if argv and argv[0] in COMMANDS:
        importlib.import_module(COMMANDS[argv[0]]).main(argv[1:])
        return
    args = parse(argv)
    base, rows, without, methods, equals, settings = plan(args)
    threads = max(usable_cores() // args.jobs, 1)
    with locked(args.out):
        overrides = [word for text in args.override for word in ("-o", text)]
        chosen = [] if args.settings is None else ["--settings", str(args.settings)]
        source = shlex.join([str(args.recipe), "--budget", args.budget, *chosen, *overrides])
        records = [
            Record(write_recipe(make_run(base, kind, seed, args.out, len(rows), settings), source), rows)
            for seed in sorted({*args.seeds, *earlier_seeds(args.out)})
            for kind in KINDS
            if kind not in without and (kind != "oracle" or rows.right is not None)
        ]
        made = conditions(shlex.join(["python", "tools/benchmark.py", *argv]), threads, args.jobs)
        results = Results(args.out, method_names(base, without), rows, title=args.data.resolve().name, made=made)
        results.settings = said_settings(settings)
        results.collect(records)
        children, wanted = Children(threads), list[tuple[Record, str]]()
        for record in records:
            stages = [stage for stage, method in record.run.methods.items() if method in methods]
            if stages and record.run.seed in args.seeds:
                wanted.append((record, stages[-1]))
        left = [(record.run, until) for record, until in wanted if record.left(until)]
        work = [functools.partial(perform, record, until, children, results.add) for record, until in wanted]
        try:
            failed = carry_out([functools.partial(keep_shared, left, children)], 1, children)
            failed = failed or carry_out(work, args.jobs, children)
        finally:
            results.write()
        if failed:
            kind = InputError if all(failure.code == cli.BAD_INPUT for failure in failed) else RuntimeError
            raise kind(f"{len(failed)} of {len(work)} runs failed: {failed[0]}")
        if importlib.util.find_spec("matplotlib"):
            results.draw()
        else:
            print(f"note: no ladder.png, as matplotlib is missing; {EXTRA}", file=sys.stderr)
    print(f"{results.table()}\n{results.costs()}\nresults {args.out / 'result.md'}")
    if said := results.unequal(equals):
        raise RuntimeError(f"not comparable: {said}; the results are written nevertheless")


def predicted_cost(kind: str, base: Recipe, n_rows: int, settings: Mapping[str, Settings]) -> float:
    """What a kind of run will cost, in training images."""
    stages = applied(stages_of(kind, base, n_rows), settings_of(kind, settings))
    return predicted(stages, n_rows).training_images


def read_base(args: argparse.Namespace) -> Recipe:
    """The recipe, pointed at the data and cut to the budget. Precedence: -o > --data > the recipe."""
    for text in args.override:
        if text.partition("=")[0] in OWN:
            raise InputError(f"-o {text}: the benchmark sets {', '.join(OWN)} itself; other keys are accepted")
    recipe = load_recipe(args.recipe, [*pointed(args.data), *args.override])
    return replace(recipe, stages=tuple(shortened(stage, BUDGETS[args.budget]) for stage in recipe.stages))


def choose_methods(
    text: str, base: Recipe, has_truth: bool, without: Mapping[str, str] = MappingProxyType({})
) -> tuple[str, ...]:
    """The wanted methods in their order; ``without``: kinds that are left out, and why.

    Raises InputError for an unknown one, one that is left out, or an oracle without truth. One that a group would
    have is said on stderr.
    """
    names, ladder = method_names(base, without), (*REFERENCES, *methods_of(LADDER, base).values())
    evidence = ("balanced_equal", *RESTRICTED, *TARGETS, IMAGES)
    rivals = ("balanced_equal", *BASELINES)
    groups = {"ladder": ladder, "rivals": rivals, "evidence": evidence, "all": (*ladder, *evidence, *rivals)}
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if reason := without.get(word.split("/")[0]):
            raise InputError(f"--methods: {word}: {reason}; leave it out")
        check_choice("--methods", word, (*groups, *names))
    asked = next((word for word in words if word.split("/")[0] == "oracle"), None)
    if asked and not has_truth:
        truth = truth_place(base.data)
        raise InputError(f"--methods: {asked} needs {truth.name} in {truth.parent}, which does not exist")
    wanted = {name for word in words for name in groups.get(word, (word,))}
    for kind, reason in without.items():
        if kind in wanted:
            say(f"note: without {kind}: {reason}")
    return tuple(name for name in names if name in wanted and (has_truth or name != "oracle"))


def check_overrides(overrides: Sequence[str], methods: Sequence[str]) -> None:
    """Raise InputError for a setting of the ladder's stages where a method that has its own is wanted."""
    other = next((method for method in methods if method.split("/")[0] in OWN_RECIPES), None)
    own = next((text for text in overrides if text.startswith("stages")), None)
    if other and own:
        raise InputError(f"-o {own}: sets the ladder's stages; {other} has its own stages, which it would not change")


def earlier_seeds(out: Path) -> set[int]:
    """The seeds of runs that are in OUT already; their results stay in the tables."""
    found = (re.fullmatch(r".+-seed([0-9]{1,18})", item.name) for item in (out / "runs").glob("*-seed*"))
    return {int(match[1]) for match in found if match}


if __name__ == "__main__":
    sys.exit(cli.run(main))
