"""The report of a run, one HTML page that needs nothing else, and the list of suspect labels.

    python tools/report.py --run output/digits_web --suspects suspects.csv

stdout says what was written. The table is --table, else that of the run (OUTPUT/NAME/table, or data.table of
its recipe). docs/report.md explains the page, label quality and the list.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from urnet.core import cli
from urnet.core.checks import InputError
from urnet.core.counted import plural

EPILOG = """\
example:
  python tools/report.py --run output/digits_web --suspects suspects.csv

exit codes: 0 done, 1 failed while running, 2 bad usage or bad input
"""


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(
        prog="tools/report.py",
        description="Write the report of a run as one HTML page.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("--run", required=True, metavar="OUTPUT/NAME", help="folder of the run")
    add("--table", metavar="DIR", help="folder of the table [the run's own]")
    add("--out", metavar="FILE.html", help="file for the page, replaced if it exists [OUTPUT/NAME/report.html]")
    add("--suspects", metavar="FILE.csv", help="also write the suspect labels to this CSV file, the most suspect first")
    add(
        "--max_suspects",
        type=int,
        metavar="N",
        help="largest number of rows in FILE.csv [all whose verdict is not fine]",
    )
    add("--excel", action="store_true", help="start FILE.csv with a byte order mark, which Excel needs to read UTF-8")
    add("--benchmark", metavar="FILE.json", help='JSON list of results to show: {"method", "seed", "top1_last", …}')
    add("--classes", type=int, default=20, metavar="N", help="number of worst classes to show one by one [20]")
    add("--show", nargs="+", default=[], metavar="CLASS", help="show these classes (number or name) instead")
    add("--per_class", type=int, default=12, metavar="N", help="number of images in each strip of a class [12]")
    add("--top", type=int, default=400, metavar="N", help="number of suspects on the page [400]")
    add(
        "--max_mb",
        type=float,
        default=10.0,
        metavar="MB",
        help="size limit of the page in MB; pictures beyond it are left out [10]",
    )
    add("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> None:
    """Read, build, write, and print a line for each file."""
    args = parser().parse_args(argv)
    if args.max_suspects is not None and args.max_suspects < 0:
        raise InputError(f"--max_suspects: found {args.max_suspects}; 0 or more is accepted")
    if args.excel and args.suspects is None:
        raise InputError("--excel only affects a CSV file; it needs --suspects FILE.csv")
    from urnet.data.lists.image_files import check_no_picture

    for flag, place in (("--out", args.out), ("--suspects", args.suspects)):
        if place is None:
            continue
        check_no_picture(flag, place)
        if Path(place).is_dir():
            raise InputError(f"{flag} {place}: is a folder; a file's path is needed")

    from urnet.core.atomic_files import atomic_file
    from urnet.data.images.decode import MAX_PIXELS
    from urnet.data.table.table import Table
    from urnet.report.build import Settings, build_report
    from urnet.report.run_state import read_benchmark, read_run
    from urnet.report.suspects import suspect_rows, write_csv
    from urnet.report.thumbnails import thumbnailer

    run = read_run(Path(args.run))
    table = Table.open(args.table or run_table(args.run, run.setting("data", "table")))
    thumbnails = thumbnailer(
        exif=run.setting("data", "exif", default="honour"),
        max_pixels=run.setting("data", "max_pixels", default=MAX_PIXELS),
    )
    out = Path(args.out) if args.out else Path(args.run) / "report.html"
    settings = Settings(args.classes, args.per_class, args.top, int(args.max_mb * 1e6), tuple(args.show), out)
    methods = read_benchmark(Path(args.benchmark)) if args.benchmark else None
    report = build_report(run, table, thumbnails, settings, methods)
    if args.suspects and report.evidence is None:
        raise InputError(f"--suspects: {table.folder} has no evidence about labels yet; run a stage that measures it")
    with atomic_file(out, replace=True) as part:
        part.write_text(report.html, encoding="utf-8")
    size = f"{len(report.html.encode()) / 1e6:.1f} MB"
    gone = f" ({report.missing} missing or unreadable, {report.left_out} left out)"
    print(f"{out}: {size}, {plural(report.pictures, 'image')}{gone if report.missing + report.left_out else ''}")
    if args.suspects and report.evidence is not None:
        rows = suspect_rows(report.evidence)
        write_csv(Path(args.suspects), report.columns, report.evidence, rows[: args.max_suspects], excel=args.excel)
        print(f"{args.suspects}: {len(rows[: args.max_suspects])} of {len(rows)} suspect rows")


def run_table(run: str, of_recipe: str | None) -> Path:
    """The run's own table, else the one its recipe names. Raises InputError where there is neither."""
    own = Path(run) / "table"
    if (own / "base.arrow").is_file():
        return own
    if of_recipe is not None:
        return Path(of_recipe)
    raise InputError(f"{own}: not found; give the table's folder with --table")


if __name__ == "__main__":
    sys.exit(cli.run(main))
