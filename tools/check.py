"""Checks a data set before anything is trained: classes, unreadable files, sizes, duplicates, leaks.

    python tools/check.py photos/train --val photos/val

It uses no network and writes nothing. docs/data.md explains the report.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from urnet.core import cli
from urnet.core.checks import InputError
from urnet.core.cpus import usable_cores

EPILOG = """\
examples:
  python tools/check.py photos/train --val photos/val
  python tools/check.py photos --list train.txt --val photos --val_list val.txt
  python tools/check.py -c recipes/folder.yaml -o data.root=photos/train -o data.val_root=photos/val
  python tools/check.py photos/train --json -

Every file is decoded. Duplicates are found by a hash of the bytes, and by a perceptual hash whose findings are
confirmed on small copies of the pictures; tools/suspects.py finds more of them, by a network's features.

exit codes: 0 training would accept this, 1 it would refuse it (the last lines say what), 2 bad usage
"""
FORMATS = ("folder", "list", "webvision2", "webvision1", "imagenet")


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(
        prog="tools/check.py",
        description="Check a data set the way training would read it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add(
        "root",
        nargs="?",
        metavar="DIR",
        help="a folder with a sub-folder per class, WebVision's folder, or the folder of --list",
    )
    add("--list", metavar="FILE", help="list of `path label` lines, or CSV; paths are relative to DIR")
    add("--root", dest="own_root", metavar="DIR", help="the folder that the list's paths are relative to [DIR]")
    add(
        "--format",
        choices=FORMATS,
        help="layout of the data [list with --list, webvision2 if DIR has WebVision's info/, or folder]",
    )
    add(
        "--val",
        metavar="DIR2",
        help="folder of the validation images: a sub-folder per class, or the folder of --val_list",
    )
    add("--val_list", metavar="FILE", help="list of the validation images [where DIR's layout has it]")
    add("-c", "--config", metavar="RECIPE", help="check the data of a recipe instead of DIR")
    add("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="set a key of the recipe")
    add(
        "--workers",
        type=cli.number(int, 0),
        default=usable_cores(),
        metavar="N",
        help="processes that decode [one per core]",
    )
    add("--json", metavar="FILE", help="write all results to this file; - prints them to stdout instead of the table")
    add("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> int:
    """Read, look, print."""
    args = parser().parse_args(argv)
    if args.own_root is not None:
        if args.root is not None and Path(args.root) != Path(args.own_root):
            raise InputError(f"--root {args.own_root}: DIR is {args.root}; give one of them")
        args.root = args.own_root
    data, validate = _data(args)
    _check_place(args)

    from urnet.core.atomic_files import atomic_file
    from urnet.data.check.data_set import open_data_set
    from urnet.data.check.findings import findings
    from urnet.data.check.report import report_lines

    try:
        with open_data_set(data, validate=validate) as data_set:
            found = findings(data_set, data, workers=args.workers)
        lines = list(report_lines(found))
    except InputError as error:  # the lists cannot be read
        found = {"refused": [str(error)]}
        lines = [f"training would refuse: {error}"]
    text = json.dumps(found, ensure_ascii=False, indent=1) + "\n"
    if args.json and args.json != "-":
        with atomic_file(Path(args.json), replace=True) as part:
            part.write_text(text, encoding="utf-8")
    sys.stdout.write(text if args.json == "-" else "\n".join(lines) + "\n")
    return cli.FAILED if found["refused"] else cli.DONE


def _check_place(args: argparse.Namespace) -> None:
    """Raise InputError for --json where it is one of the files that are read."""
    from urnet.data.lists.image_files import check_no_picture

    if not args.json or args.json == "-":
        return
    check_no_picture("--json", args.json)
    if Path(args.json).is_dir():
        raise InputError(f"--json {args.json}: is a folder; a file's path is needed")
    for flag, place in (("--list", args.list), ("--val_list", args.val_list), ("-c", args.config)):
        if place is not None and Path(place).resolve() == Path(args.json).resolve():
            raise InputError(f"--json {args.json}: is also {flag} {place}; two files are needed")


def _data(args: argparse.Namespace) -> tuple[Any, bool]:
    """The recipe's data, or what the flags say, and whether validation images were named. Raises InputError."""
    from urnet.config.recipe import Data

    if (args.root is None) == (args.config is None):
        raise InputError("DIR and -c RECIPE: give one of them")
    if args.config is not None:
        from urnet.pipeline.recipes import read_recipe

        given = [f"--{name}" for name in ("list", "format", "val", "val_list") if getattr(args, name) is not None]
        if given:
            raise InputError(f"{given[0]}: needs DIR; a recipe has keys for it (-o data.KEY=VALUE)")
        data = read_recipe(args.config, args.override).data
        named = data.val_root or data.val_list or data.val_split or data.format not in ("folder", "list")
        return dataclasses.replace(data, table=None), bool(named)
    if args.override:
        raise InputError("-o: needs -c RECIPE")
    for flag, folder in (("DIR", args.root), ("--val", args.val)):
        if folder is not None and not Path(folder).is_dir():
            raise InputError(f"{flag}: {folder} is not a folder; one that holds images is needed")
    for flag, file in (("--list", args.list), ("--val_list", args.val_list)):
        if file is not None and not Path(file).is_file():
            raise InputError(f"{flag}: {file} is not a file; a list of images is needed")
    lists = list(Path(args.root).glob("info/train_filelist_*.txt"))
    form: Any = args.format or ("list" if args.list else "webvision2" if lists else "folder")
    if args.list and form not in ("list", "imagenet"):
        raise InputError(f"--list: found {args.list!r}; format {form} has its own lists")
    data = Data(args.root, format=form, train_list=args.list, val_root=args.val, val_list=args.val_list)
    return data, args.val is not None or args.val_list is not None or form not in ("folder", "list")


if __name__ == "__main__":
    sys.exit(cli.run(main))
