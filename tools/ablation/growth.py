"""Measure how gains over plain training change with the number of training rows and the share of wrong labels.

    python -m tools.ablation growth --sets DIR --shares 1/4,1/2,1 --out output/growth
    python -m tools.ablation growth --sets DIR,DIR2,DIR4 --methods urnet_images,+label --out output/growth --seeds 0

Each DIR is a folder in WebVision 2.0's layout. All of its rows are used, or each share in --shares: the same share
of every class, and smaller ones inside larger ones. All other flags are those of tools/benchmark.py, which
runs on each set with the same number of epochs: a set of twice as many rows trains twice as many steps.
Results go to OUT/growth.md and OUT/growth.png, and those of each set to OUT/NAME/, as tools/benchmark.py writes
them. Finished runs are kept, interrupted ones continue with the same command. docs/benchmark.md explains the figure.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tools.ablation import __main__ as benchmark
from tools.ablation.growth_plot import draw
from tools.ablation.methods import REFERENCES
from tools.ablation.report import BALANCED, BASE, Entries, by_seed, gains, present, table, text_of
from tools.ablation.subset import write_subset
from urnet.core import cli
from urnet.core.atomic_files import atomic_file
from urnet.core.checks import InputError

BASES = (BASE, BALANCED)
HEAD = """\
Class-averaged top-1 in percent after the last step on the validation images, mean ± standard deviation over the seeds;
gains seed by seed. Every method trains as many epochs on each set, so twice as many steps on twice as many rows.
"""


@dataclass(frozen=True)
class Measured:
    """A set with what methods reached on it. ``wrong``: percent of its rows, None where no truth says it."""

    name: str
    rows: int
    wrong: float | None
    entries: Entries


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The command line, and what is left of it for tools/benchmark.py."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = cli.Parser(prog="python -m tools.ablation growth", description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("--sets", required=True, metavar="DIRS", help="folders, separated by commas")
    add("--shares", type=shares, default="1", help="shares of the rows of each set, fractions separated by commas [1]")
    add("--out", type=Path, default=Path("output/growth"), metavar="DIR", help="folder for the results [output/growth]")
    names = f"methods, as for tools/benchmark.py; {BASE} and {BALANCED} always run [urnet_images,+label]"
    add("--methods", default="urnet_images,+label", metavar="NAMES", help=names)
    args, others = parser.parse_known_args(argv)
    if any(word.partition("=")[0] == "--data" for word in others):
        parser.error("argument --data: not accepted here; give the sets with --sets")
    return args, others


def shares(text: str) -> list[Fraction]:
    """`1/4,1/2,1` as numbers above 0, up to 1, smallest first."""
    try:
        found = [Fraction(word.strip()) for word in text.split(",")]
    except (ValueError, ZeroDivisionError):
        found = []
    if not found or not all(0 < share <= 1 for share in found) or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"found {text!r}; accepted: numbers above 0, up to 1, each once: 1/4,1/2,1")
    return sorted(found)


def main(argv: Sequence[str], compare: Callable[[Sequence[str]], None] = benchmark.main) -> None:
    """Write the sets, check all, ``compare`` the methods on each, write and print the table, draw the figure."""
    args, others = parse(argv)
    methods = ",".join([args.methods, BASE, BALANCED])
    commands = {}
    for folder in sets(args.sets, args.shares, args.out):
        name = folder.resolve().name
        if name in commands:
            raise InputError(f"--sets: two are called {name}, and their results would be in one folder; rename one")
        commands[name] = [*others, "--methods", methods, "--data", str(folder), "--out", str(args.out / name)]
    plans = {name: benchmark.plan(benchmark.parse(command)) for name, command in commands.items()}
    failed, measured = {}, []
    for name, command in commands.items():
        print(f"set {name}", file=sys.stderr, flush=True)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                compare(command)
        except (RuntimeError, InputError) as error:  # the other sets still run
            print(f"failed: set {name}: {error}", file=sys.stderr, flush=True)
            failed[name] = error
        rows = plans[name].rows
        wrong = None if rows.right is None else 100 * float(1 - rows.right.mean())
        file = args.out / name / "result.json"
        stale = isinstance(failed.get(name), InputError)  # nothing was written: what is there is of an earlier call
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() and not stale else []
        measured.append(Measured(name, len(rows), wrong, found))
    measured.sort(key=lambda one: (one.rows, one.wrong or 0.0, one.name))
    names = list(dict.fromkeys(name for plan in plans.values() for name in plan.methods))
    with atomic_file(args.out / "growth.md", replace=True) as part:
        part.write_text(f"# Does it grow?\n\n{HEAD}\n{growth_table(measured, names)}", encoding="utf-8")
    if importlib.util.find_spec("matplotlib"):
        with atomic_file(args.out / "growth.png", replace=True) as part:
            draw(measured, [name for name in names if name not in REFERENCES[:2]], part)
    else:
        print(f"note: no growth.png, as matplotlib is missing; {benchmark.EXTRA}", file=sys.stderr)
    print(f"{growth_table(measured, names)}\nresults {args.out / 'growth.md'}")
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(commands)} sets failed: {', '.join(failed)}; the others are written")


def sets(text: str, parts: Sequence[Fraction], out: Path) -> list[Path]:
    """The folders of all sets; that of a share is written to OUT/sets/NAME-1of4."""
    folders = [Path(word.strip()) for word in text.split(",")]
    found = []
    for folder in folders:
        for share in parts:
            name = f"{folder.resolve().name}-{share.numerator}of{share.denominator}"
            found.append(folder if share == 1 else write_subset(folder, share, out / "sets" / name))
    return found


def growth_table(measured: Sequence[Measured], methods: Sequence[str], bases: Sequence[str] = BASES) -> str:
    """One line a set and method that has results, with its gains over ``bases``."""
    over = [f"over {base}" for base in bases]
    rows: list[tuple[str, ...]] = [("set", "rows", "wrong labels", "method", "seeds", "top-1", *over)]
    for one in measured:
        wrong = "–" if one.wrong is None else f"{one.wrong:.1f} %"
        for method in present(one.entries, methods):
            top = by_seed(one.entries, method).values()
            over = ["" if method == base else text_of(gains(one.entries, method, base), sign="+") for base in bases]
            rows.append((one.name, f"{one.rows:,}", wrong, f"`{method}`", str(len(top)), text_of(top), *over))
    return table(*rows)
