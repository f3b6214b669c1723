"""Builds the table of a recipe before it runs, and adds your own weights to it.

    python tools/table.py -c recipes/folder.yaml -o data.root=photos --column my_weight=weights.csv

train.py uses the table then, and a stage weighs its rows by `loss_weight: [my_weight]`. docs/data.md explains it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from urnet.core import cli
from urnet.core.checks import InputError

EPILOG = """\
The table is where train.py looks for it: OUTPUT/NAME/table, or data.table. An existing one is opened and shown.
--column reads a CSV file whose first line names its columns, `path,my_weight` or `path,weight`. Paths are those of
the table, relative to data.root, in any order. Each row needs a finite value of 0 or more.

examples:
  python tools/table.py -c recipes/digits_web.yaml
  python tools/table.py -c recipes/digits_web.yaml --column my_weight=weights.csv --missing 1
  python train.py -c recipes/digits_web.yaml -o 'stages.class.loss_weight=[class_weight, my_weight]'

exit codes: 0 done, 1 failed, 2 bad usage or bad input
"""


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(
        prog="tools/table.py",
        description="Build the table of a run without training, or add a column to it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("-c", "--config", required=True, metavar="RECIPE", help="the recipe, a YAML file")
    add("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="set a key, as for train.py")
    text = "read a column of weights by path from a CSV file; replaces a column of this name; may be repeated"
    add("--column", action="append", default=[], type=_column, metavar="NAME=FILE", help=text)
    text = "weight of rows that the CSV file does not name [such a file is refused]"
    add("--missing", type=cli.number(float, 0), metavar="W", help=text)
    add("--replace", action="store_true", help="build the table again; your own columns stay if they cover all images")
    add("--debug", action="store_true", help="show a traceback on errors")
    return p


def _column(text: str) -> tuple[str, str]:
    name, sign, file = text.partition("=")
    if not (name and sign and file):
        raise argparse.ArgumentTypeError(f"found {text!r}; NAME=FILE is accepted")
    return name, file


def main(argv: Sequence[str]) -> None:
    """Build or open, add, print."""
    args = parser().parse_args(argv)
    if args.missing is not None and not args.column:
        raise InputError("--missing only affects a column; it needs --column NAME=FILE")
    import models
    from urnet.core.checks import check_choice
    from urnet.pipeline.own_columns import add_column, built_table, check_name
    from urnet.pipeline.recipes import load_recipe
    from urnet.pipeline.run_folder import locked_run

    for name, _ in args.column:
        check_name(name)
    recipe = load_recipe(args.config, args.override)
    check_choice(f"{args.config}: model.name", recipe.model.name, models.NAMES)
    table = built_table(recipe, replace=args.replace)
    with locked_run(recipe):
        for name, file in args.column:
            add_column(table, name, file, missing=args.missing)
    for line in _lines(table):
        print(line)


def _lines(table: Any) -> Iterator[str]:
    """What the table holds: rows, classes, and a line per file."""
    from urnet.core.counted import plural
    from urnet.pipeline.kept_columns import OWN

    n_classes = int(table.metadata["n_classes"])
    yield f"{table.folder}: {plural(table.n_rows, 'row')}, {plural(n_classes, 'class', 'classes')}, of {table.root}"
    columns: dict[str, list[str]] = {}
    for name in table.columns:
        columns.setdefault(table.file_of(name), []).append(name)
    for file, names in columns.items():
        about = ""
        if file != "base" and table.describe(file)["stage"] == OWN:
            values = table.column(file)
            about = f"; {values.min():g} to {values.max():g}, mean {values.mean():.4g}, {(values == 0).sum():,} are 0"
        yield f"  {file}.arrow: {', '.join(names)}{about}"


if __name__ == "__main__":
    sys.exit(cli.run(main))
