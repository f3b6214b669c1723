"""The flags that the benchmark and the search have in common, and how long each budget trains."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.ablation.methods import ROOT
from urnet.core import cli

BUDGETS = {"small": 0.25, "full": 1.0}  # times all durations


def parser_of(prog: str, description: str, *, out: str, budget: str, jobs: str) -> argparse.ArgumentParser:
    """A command line with --data, --out, --recipe, --budget, --jobs, -o and --debug.

    ``out``: the folder for results; ``budget``: the one without the flag; ``jobs``: what runs at once.
    """
    raw = argparse.RawDescriptionHelpFormatter
    parser = cli.Parser(prog=prog, description=description, formatter_class=raw)
    add = parser.add_argument
    data = "the data: WebVision's layout, or photographs in train/CLASS and val/CLASS [data/digits_web]"
    add("--data", type=Path, default=ROOT / "data/digits_web", metavar="DIR", help=data)
    add("--out", type=Path, default=Path(out), metavar="DIR", help=f"folder for the results [{out}]")
    ladder = "recipe whose stages are the ladder [recipes/benchmark32.yaml]"
    add("--recipe", type=Path, default=ROOT / "recipes/benchmark32.yaml", help=ladder)
    add("--budget", choices=sorted(BUDGETS), default=budget, help=f"small: a quarter of every duration [{budget}]")
    at_once = f"number of {jobs} at once, which share the cores [1]"
    add("--jobs", type=cli.number(int, 1), default=1, metavar="N", help=at_once)
    add("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="set a key of the recipe")
    add("--debug", action="store_true", help="show a traceback on errors")
    return parser
