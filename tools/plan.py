"""What a recipe will take - steps, files, memory, hours - counted before anything runs.

    python tools/plan.py -c recipes/webvision2018/urnet_resnet50.yaml --processes 8 --images-per-second 800

Everything follows from the recipe, the number of rows and the network, which is built and counted; neither images nor
a table are needed, but for --measure, which times it on this machine with the recipe's own images. docs/scaling.md
shows the output next to the commands it is for. The rules are those of the training itself (``StageJob``, the samplers,
``schedule.plan``, ``shards.Description``); the bytes of files are formulas that tests compare with the files of a run.
Formulas leave out what grows with neither rows nor parameters: headers, state.json, recipe.yaml, classes.txt
(kilobytes each), log.txt and the curves.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import models
from tools.planning.given import FORWARD, STEPS, with_classes
from urnet.core import cli
from urnet.core.atomic_files import atomic_file
from urnet.core.checks import check_choice
from urnet.pipeline.recipes import load_recipe
from urnet.runtime.threads import import_paddle

EPILOG = """\
The number of rows is --rows, or that of the run's table if it is built, or that of the recipe's lists or folders if
they exist, or the published number of the data set. For validation images it is --evaluation-images, the recipe's
list, or the published number. A rate is that of ONE process; without --images-per-second or --measure no hours are
printed. --measure refuses what train.py would refuse, and leaves no files behind. --cores checks whether the cores of
a machine decode as many images as its processes take; for this it times one core here for about a second.

examples:
  python tools/plan.py -c recipes/folder.yaml -o data.root=photos/train -o data.val_root=photos/val --measure --no-files
  python tools/plan.py -c recipes/webvision2018/urnet_resnet50.yaml --processes 8 --machines 4 \\
      -o stages.class.batch_size=4096 -o stages.class.schedule.lr=1.6 --images-per-second 800 --json plan.json
  python tools/plan.py -c recipes/webvision2018/urnet_resnet50.yaml --processes 8 --images-per-second 5700 --cores 128
"""


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(
        prog="tools/plan.py",
        description="Estimate what a recipe will take before it runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, rate = p.add_argument, p.add_mutually_exclusive_group().add_argument
    count, length, positive = cli.number(int, 1), cli.number(float, 0), cli.number(float, 0, above=True)
    add("-c", "--config", required=True, metavar="RECIPE", help="the recipe, a YAML file")
    add("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="set a key, as for train.py")
    add("--rows", type=count, metavar="N", help="training images [from the table, or counted, or published]")
    add("--evaluation-images", type=count, metavar="N", help="validation images [counted, or published]")
    add("--processes", type=count, default=1, metavar="P", help="processes on each machine [1]")
    add("--machines", type=count, default=1, metavar="M", help="machines [1]")
    rate("--images-per-second", type=positive, metavar="R", help="training images/s of one process [no hours]")
    about = f"evaluated or measured images/s of one process, with a training rate [{FORWARD:g} times that rate]"
    add("--evaluation-images-per-second", type=positive, metavar="R", help=about)
    text = f"time {STEPS} steps of each kind of stage here, with the recipe's own images, and estimate the time"
    rate("--measure", action="store_true", help=text)
    add("--cores", type=count, metavar="C", help="cores of each machine: check whether they can decode at that rate")
    text = "training images/s that one core decodes, with --cores [timed here, on the recipe's images if they are here]"
    add("--views-per-core", type=positive, metavar="V", help=text)
    add("--path-bytes", type=length, metavar="B", help="mean length of the images' paths [by format]")
    add("--text-bytes", type=length, metavar="B", help="mean length of the rows' texts [by format]")
    add("--no-files", action="store_true", help="leave out the list of files, but print their sums")
    add("--json", type=Path, metavar="FILE", help="also write all results to this file, with exact numbers and bytes")
    add("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> None:
    """Read the recipe, count, print, write the JSON file if one is asked for."""
    args = parser().parse_args(argv)
    recipe = with_classes(load_recipe(args.config, args.override))
    check_choice(f"{args.config}: model.name", recipe.model.name, models.NAMES)
    models.check_size(recipe.model.name, recipe.transform.size, f"{args.config}: transform.size")
    import_paddle()
    from tools.planning.plan import make_plan
    from tools.planning.text import text_of

    with cli.results_only() as stream:
        plan = make_plan(args, recipe)
        for line in text_of(plan, with_files=not args.no_files):
            print(line, file=stream)
    if args.json:
        with atomic_file(args.json, replace=True) as part:
            part.write_text(json.dumps(asdict(plan), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(cli.run(main))
