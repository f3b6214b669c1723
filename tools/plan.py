"""What a recipe will take - updates, files, memory, hours - counted before anything runs.

    python tools/plan.py -c recipes/webvision2018/urnet_resnet50.yaml --processes 8 --images-per-second 800

Everything follows from the recipe, the number of rows and the network, which is built and counted; neither
images nor a table are needed. docs/scaling.md shows the output beside the commands it is for.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import models
from urnet.core import cli
from urnet.core.checks import check_choice

FORWARD = 3.0  # a training step is taken for three forwards: one, and a backward of two
EPILOG = """\
Rows are --rows, else those of the run's table if it is built, else the published number of the data set.
Validation images likewise: --evaluation-images, the recipe's list if it is there, the published number.
A rate is what ONE process does; without --images-per-second no hours are printed.

examples:
  python tools/plan.py -c recipes/digits_web.yaml --rows 2000 --evaluation-images 500
  python tools/plan.py -c recipes/webvision2018/urnet_resnet50.yaml --processes 8 --images-per-second 800
  python tools/plan.py -c recipes/webvision2018/urnet_resnet50.yaml --processes 8 --machines 4 \\
      -o stages.class.batch_size=4096 -o stages.class.schedule.lr=1.6 --json plan.json

exit codes: 0 done, 1 failed while running, 2 bad usage or bad input
"""


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(
        prog="tools/plan.py",
        description="Count what a recipe will take, before it runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("-c", "--config", required=True, metavar="RECIPE", help="the recipe, a YAML file")
    add("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="set a key, as for train.py")
    add("--rows", type=int, metavar="N", help="training images [the table's, else the published number]")
    add("--evaluation-images", type=int, metavar="N", help="validation images [listed, else published]")
    add("--processes", type=int, default=1, metavar="P", help="processes on each machine [1]")
    add("--machines", type=int, default=1, metavar="M", help="machines [1]")
    add("--images-per-second", type=float, metavar="R", help="that one process trains on [no hours]")
    add(
        "--evaluation-images-per-second",
        type=float,
        metavar="R",
        help=f"that one process evaluates or measures [{FORWARD:g} x --images-per-second]",
    )
    add("--path-bytes", type=float, metavar="B", help="mean length of the images' paths [by format]")
    add("--text-bytes", type=float, metavar="B", help="mean length of the rows' texts [by format]")
    add("--no-files", action="store_true", help="leave out the list of files, not their sums")
    add("--json", type=Path, metavar="FILE", help="also write everything there, numbers and bytes unrounded")
    add("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> None:
    """Read the recipe, count, print, write the JSON file if one is asked for."""
    args = parser().parse_args(argv)

    from tools import plan_given, plan_text
    from urnet.core.atomic_files import atomic_file
    from urnet.pipeline.recipes import load_recipe

    plan_given.check_numbers(args)
    recipe = load_recipe(args.config, args.override)
    check_choice(f"{args.config}: model.name", recipe.model.name, models.NAMES)
    models.check_size(recipe.model.name, recipe.transform.size, f"{args.config}: transform.size")
    with cli.results_only() as stream:
        found = count(args, recipe)
        for line in plan_text.lines(found, with_files=not args.no_files):
            print(line, file=stream)
    if args.json:
        with atomic_file(args.json, replace=True) as part:
            part.write_text(json.dumps(tree(found), indent=1) + "\n", encoding="utf-8")


def count(args: argparse.Namespace, recipe: Any) -> Any:
    """Everything that is printed, as a ``plan_text.Plan``."""
    from tools import plan_bytes, plan_given, plan_memory, plan_stages
    from tools.plan_network import network_size
    from tools.plan_text import Plan

    network, table = network_size(recipe.model.name, recipe.data.n_classes), plan_given.table_of(recipe)
    rows = plan_given.rows_of(args.rows, recipe, table)
    images = plan_given.evaluation_images_of(args.evaluation_images, recipe)
    processes = plan_stages.Processes(args.processes, args.machines)
    stages = plan_stages.plan_stages(recipe, rows.value, images.value, network, processes.world_size)
    hours, rates = [], (0.0, 0.0)
    if args.images_per_second is not None:
        rates = args.images_per_second, args.evaluation_images_per_second or FORWARD * args.images_per_second
        hours = [plan_stages.hours_of(stage, processes.world_size, *rates) for stage in stages]
    return Plan(
        " ".join([args.config, *(f"-o '{text}'" for text in args.override)]),
        f"{recipe.output}/{recipe.name}",
        network,
        rows,
        images,
        processes,
        stages,
        plan_given.base_of(args, recipe, rows, table),
        plan_bytes.files_of(recipe, stages, rows.value, network),
        plan_memory.memory_of(recipe, stages, rows.value, network),
        *rates,
        hours,
        assumed_forward=args.evaluation_images_per_second is None,
    )


def tree(found: Any) -> dict[str, Any]:
    """The plan for JSON: what is printed, and the sums that are computed from it."""
    from tools.plan_bytes import disk_use

    sums = {"memory": ("device", "host"), "hours": ("total",), "files": ("stay", "most", "checkpoint_bytes")}
    made = asdict(found)
    for part, names in sums.items():
        for entry, value in zip(made[part], getattr(found, part), strict=True):
            entry.update({name: getattr(value, name) for name in names})
    uses = disk_use(found.base.bytes, found.files)
    return {**made, "disk": [dict(zip(("stage", "peak", "stays"), use, strict=True)) for use in uses]}


if __name__ == "__main__":
    sys.exit(cli.run(main))
