"""Speed, measured beside its limit in the same run; one sub-command a part of the system.

    python -m tools.speed infer            predictions, beside the bare engine
    python -m tools.speed all --json F     everything, also written to F

Each sub-command is a module tools/speed/NAME.py: ``add_arguments(parser)``, ``measure(args) -> list[Figure]``.
A ratio of 1 means that the limit is reached. Close other programs first, and compare figures of one run only:
figures of different runs or machines do not belong together.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools import machine
from tools.speed.figures import Figure, print_table, write_json
from urnet.core import cli
from urnet.core.cpus import usable_cores

PACKAGE = "tools.speed"
COMMANDS = {
    "infer": "predictions from image files, beside the bare inference engine and a plain dygraph loop",
    "train": "the training loop, beside a bare loop of the same network and batch",
    "data": "reading and transforming images, beside bare decoding and resizing",
    "density": "the density curriculum of a class, beside its definition taken literally",
    "table": "building and reading the table of images, beside plain array operations",
    "cluster": "the cluster reweighting, and how its time grows with the rows",
    "serve": "the HTTP service, beside infer.py's own loop, and the cost of hostile requests",
    "networks": "every network's parameters, work and speed of prediction, beside a bare matrix product",
}


def load(name: str, package: str) -> Any:
    """The module that measures ``name``, imported when it is wanted."""
    return importlib.import_module(f"{package}.{name}")


def make_parser(argv: Sequence[str], package: str = PACKAGE) -> cli.Parser:
    """The parser; only the sub-command named in ``argv`` is imported to add its own arguments."""
    epilog = "All sub-commands: see `python -m tools.speed NAME --help` for their own arguments."
    parser = cli.Parser(
        prog="tools/bench.py", description=__doc__, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="NAME")
    for name, text in {**COMMANDS, "all": "all of these, with their default arguments"}.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--json", type=Path, metavar="FILE", help="also write machine and figures there")
        command.add_argument("--debug", action="store_true", help="show a traceback on errors")
        if name in COMMANDS and name in argv:
            load(name, package).add_arguments(command)
    return parser


def measure(args: argparse.Namespace, package: str = PACKAGE) -> list[Figure]:
    """The figures of the chosen sub-command; of all, each with its default arguments."""
    if args.command != "all":
        return list(load(args.command, package).measure(args))
    figures: list[Figure] = []
    for name in COMMANDS:
        print(f"measuring {name}", file=sys.stderr)
        figures += measure(make_parser([name], package).parse_args([name]), package)
    return figures


def main(argv: Sequence[str], package: str = PACKAGE) -> int:
    """Describe the machine, measure, print the table, write the JSON file if one is asked for.

    ``package``: where the modules that measure are.
    """
    parser = make_parser(argv, package)
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return cli.BAD_INPUT
    # Paddle would compute with one thread otherwise; set_env.sh sets the same number.
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))
    about = machine.describe()
    print("machine: " + "; ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    figures = measure(args, package)
    print_table(figures)
    if args.json:
        write_json(args.json, figures, about)
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.run(main))
