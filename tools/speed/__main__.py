"""Measure speed and its limit in the same run; one sub-command for each part of the system.

    python tools/bench.py infer              predictions, compared with the bare engine
    python tools/bench.py train --json F     the training loop; figures also written to F

Each sub-command is a module tools/speed/NAME.py: ``add_arguments(parser)``, ``measure(args) -> list[Figure]``.
A ratio of 1 means that the limit is reached. Close other programs first, and compare only figures of the same run:
figures of different runs or machines cannot be compared.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tools import machine
from tools.speed.figures import Figure, print_table, write_json
from urnet.core import cli
from urnet.core.cpus import usable_cores

COMMANDS = {
    "infer": "predictions from image files, compared with the bare inference engine and a plain dygraph loop",
    "train": "the training loop, compared with a bare loop of the same network and batch",
    "step": "the host's launches and milliseconds in each part of a training step, compared with a bare loop",
    "data": "reading and transforming images, compared with bare decoding and resizing",
    "density": "the density curriculum of a class",
    "table": "building and reading the table of images, compared with plain array operations",
    "cluster": "the cluster reweighting, and how its time grows with the rows",
    "ensemble": "combining the predictions of several networks, compared with a plain sum of the same files",
    "serve": "the HTTP service, compared with infer.py's own loop",
    "suspects": "features of photographs for tools/suspects.py, compared with the bare engine",
    "depthwise": "training steps of a small network, compared with Paddle's own depthwise convolutions",
    "networks": "every network's parameters, work and speed of prediction, compared with a bare matrix product",
}


def make_parser(argv: Sequence[str]) -> cli.Parser:
    """The parser; only the sub-command named in ``argv`` is imported to add its own arguments."""
    parser = cli.Parser(
        prog="tools/bench.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="NAME")
    for name, text in {**COMMANDS, "all": "all of these, with their default arguments"}.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "--json", type=Path, metavar="FILE", help="also write the machine and the figures to this file"
        )
        command.add_argument("--debug", action="store_true", help="show a traceback on errors")
        if name == "all":
            command.set_defaults(measure=measure_all)
        elif name in argv:
            module = importlib.import_module(f"tools.speed.{name}")
            module.add_arguments(command)
            command.set_defaults(measure=module.measure)
    return parser


def measure_all(_: argparse.Namespace) -> list[Figure]:
    """The figures of every sub-command, each with its default arguments."""
    figures: list[Figure] = []
    for name in COMMANDS:
        print(f"measuring {name}", file=sys.stderr)
        args = make_parser([name]).parse_args([name])
        figures += args.measure(args)
    return figures


def main(argv: Sequence[str]) -> int:
    """Describe the machine, measure, print the table, write the JSON file if one is asked for."""
    parser = make_parser(argv)
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return cli.BAD_INPUT
    # Paddle would compute with one thread otherwise; set_env.sh sets the same number.
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))
    about = machine.describe()
    print("machine: " + "; ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    figures = args.measure(args)
    print_table(figures)
    if args.json:
        write_json(args.json, figures, about)
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.run(main))
