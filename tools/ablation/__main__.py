"""Accuracy, measured: what each reweighting adds, beside the baselines it must beat and the ceiling.

    python data/make_digits_web.py --out data/digits_web
    python tools/benchmark.py --data data/digits_web --out output/benchmark --seeds 0,1,2
    python tools/benchmark.py --data DIR --out DIR --methods ce,class,+cluster --budget small
    python tools/benchmark.py --data DIR --out DIR --methods all          with the baselines of docs/baselines.md

DIR is a folder in WebVision 2.0's layout; truth_train.txt in it, if there, says what the images really
show. Results: OUT/result.json, OUT/result.md, OUT/ladder.png. Finished pairs of method and seed are kept,
interrupted ones resume. docs/benchmark.md explains methods and figures.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.ablation.children import carry_out
from tools.ablation.methods import (
    BASELINES,
    KINDS,
    LADDER,
    REFERENCES,
    ROOT,
    Run,
    make_run,
    method_names,
    methods_of,
    shortened,
)
from tools.ablation.report import conditions
from tools.ablation.results import Results
from tools.ablation.runs import Record, perform, write_recipe
from tools.ablation.scores import EXTRA, installed, need, needs_cleanlab
from tools.ablation.truth import check_oracle, count_classes, find_truth, read_lists
from urnet.config.recipe import Recipe
from urnet.core import cli
from urnet.core.checks import InputError, check_choice
from urnet.core.cpus import usable_cores
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.run_folder import locked

BUDGETS = {"small": 0.25, "full": 1.0}
OWN = ("name", "output", "seed", "data.table")  # keys that differ from run to run


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(
        prog="tools/benchmark.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=ROOT / "data/digits_web", metavar="DIR", help="the data [data/digits_web]")
    add("--out", type=Path, default=Path("output/benchmark"), metavar="DIR", help="where results go [output/benchmark]")
    add("--seeds", default="0,1,2", help="numbers from 0, separated by commas [0,1,2]")
    add(
        "--methods",
        default="ladder",
        metavar="NAMES",
        help="methods and groups of them (ladder, rivals, all), separated by commas [ladder]",
    )
    add("--budget", choices=sorted(BUDGETS), default="full", help="small: a quarter of every duration [full]")
    add(
        "--recipe",
        type=Path,
        default=ROOT / "recipes/benchmark32.yaml",
        help="its stages are the ladder [recipes/benchmark32.yaml]",
    )
    add("--jobs", type=int, default=1, metavar="N", help="runs at once, which share the cores [1]")
    add("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="set a key of the recipe")
    add("--debug", action="store_true", help="show a traceback on errors")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Check everything, run what is not done yet, write and print the results."""
    args = parse(argv)
    if args.jobs < 1:
        raise InputError(f"--jobs: found {args.jobs}; 1 or more is accepted")
    seeds, base = read_seeds(args.seeds), read_base(args)
    lists = read_lists(base.data)
    truth = find_truth(base.data, lists)
    methods = choose_methods(args.methods, base, truth is not None)
    check_overrides(args.override, methods)
    if "oracle" in methods and truth is not None:
        check_oracle(truth, base.data.root)
    if needs_cleanlab(base, methods, truth):
        need("cleanlab")
    threads = max(usable_cores() // args.jobs, 1)
    with locked(args.out):
        runs = make_runs(args, base, {*seeds, *earlier_seeds(args.out)}, len(lists), truth is not None)
        records = [Record(run, lists, truth) for run in runs]
        command = shlex.join(["python", "tools/benchmark.py", *argv])
        made = conditions(command, threads, args.jobs)
        results = Results(args.out, method_names(base), lists, truth, args.data.resolve().name, made)
        results.collect(records)
        work = [
            perform(record, until, results.add)
            for record in records
            if record.run.seed in seeds
            for until in wanted(record.run, methods)
        ]
        try:
            failed = carry_out(work, args.jobs, threads)
        finally:
            results.write()
        if failed:
            kind = InputError if all(failure.code == cli.BAD_INPUT for failure in failed) else RuntimeError
            raise kind(f"{len(failed)} of {len(work)} runs failed: {failed[0]}")
        if installed("matplotlib"):
            results.draw()
        else:
            print(f"note: no ladder.png, as matplotlib is missing; {EXTRA}", file=sys.stderr)
    print(results.summary())


def read_seeds(text: str) -> tuple[int, ...]:
    """`0,1,2` as numbers. Raises InputError."""
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not re.fullmatch(r"[0-9]{1,18}", word) or words.count(word) > 1:
            raise InputError(f"--seeds: found {word!r} in {text!r}; accepted: numbers from 0, each once: 0,1,2")
    return tuple(int(word) for word in words)


def read_base(args: argparse.Namespace) -> Recipe:
    """The recipe, pointed at the data and cut to the budget. Precedence: -o > --data > the recipe."""
    for text in args.override:
        if text.partition("=")[0] in OWN:
            raise InputError(f"-o {text}: the benchmark sets {', '.join(OWN)} itself; other keys are accepted")
    pointed = ["data.format=webvision2", f"data.root={json.dumps(str(args.data))}"]
    pointed.append(f"data.n_classes={count_classes(args.data)}")
    return shortened(load_recipe(args.recipe, [*pointed, *args.override]), BUDGETS[args.budget])


def choose_methods(text: str, base: Recipe, has_truth: bool) -> tuple[str, ...]:
    """The wanted methods in their order. Raises InputError for an unknown one, or an oracle without truth."""
    names, ladder = method_names(base), (*REFERENCES, *methods_of(LADDER, base).values())
    groups = {"ladder": ladder, "rivals": tuple(BASELINES), "all": (*ladder, *BASELINES)}
    words = [word.strip() for word in text.split(",")]
    for word in words:
        check_choice("--methods", word, (*groups, *names))
    if "oracle" in words and not has_truth:
        raise InputError(f"--methods: oracle needs truth_train.txt in {base.data.root}, which is not there")
    wanted = {name for word in words for name in groups.get(word, (word,))}
    return tuple(name for name in names if name in wanted and (has_truth or name != "oracle"))


def check_overrides(overrides: Sequence[str], methods: Sequence[str]) -> None:
    """Raise InputError for a setting of the ladder's stages where a baseline, which has its own, is wanted."""
    baseline = next((method for method in methods if method.split("/")[0] in BASELINES), None)
    own = next((text for text in overrides if text.startswith("stages")), None)
    if baseline and own:
        raise InputError(f"-o {own}: sets the ladder's stages; {baseline} has its own and would not follow")


def make_runs(args: argparse.Namespace, base: Recipe, seeds: set[int], n_rows: int, has_truth: bool) -> list[Run]:
    """All runs of the seeds, whether wanted now or not, their recipes written to OUT/recipes."""
    kinds = [kind for kind in KINDS if kind != "oracle" or has_truth]
    overrides = [word for text in args.override for word in ("-o", text)]
    source = shlex.join([str(args.recipe), "--budget", args.budget, *overrides])
    runs = [make_run(base, kind, seed, args.out, n_rows) for seed in sorted(seeds) for kind in kinds]
    return [write_recipe(run, source) for run in runs]


def earlier_seeds(out: Path) -> set[int]:
    """The seeds of runs that are in OUT already; their results stay in the tables."""
    found = (re.fullmatch(r".+-seed([0-9]{1,18})", item.name) for item in (out / "runs").glob("*-seed*"))
    return {int(match[1]) for match in found if match}


def wanted(run: Run, methods: Sequence[str]) -> list[str]:
    """The last stage of a run that is asked for, in a list; an empty one where none is."""
    return [stage for stage, method in run.methods.items() if method in methods][-1:]


if __name__ == "__main__":
    sys.exit(cli.run(main))
