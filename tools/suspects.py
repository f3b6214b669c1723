"""What is wrong in a folder of photographs: wrong labels, off-topic pictures, duplicates, leaks, unreadable files.

    python tools/suspects.py photos/train --val photos/val --report suspects.html

Needs no recipe, no training and no validation set: a published network's features are enough. stdout has a summary,
suspects.csv every picture, the most suspect first. docs/suspects.md explains the columns and the verdicts.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import models
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.core.counted import plural, verb

EPILOG = """\
examples:
  python tools/suspects.py photos/train --val photos/val
  python tools/suspects.py --list photos/list.csv --root photos --report page.html

exit codes: 0 done, 1 failed while running, 2 bad usage or bad input
"""
NONE = "none"  # of --features
NEXT = "next.csv"  # of --next


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(
        prog="tools/suspects.py",
        description="Find wrong labels, off-topic pictures, duplicates, leaks and unreadable files.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    count = cli.number(int, 1)
    add = p.add_argument_group("pictures").add_argument
    add("dir", nargs="?", metavar="DIR", help="a folder with a sub-folder per class, or in WebVision's layout")
    add("--list", metavar="FILE", help="list of `path label` lines, or CSV (docs/data.md), instead of sub-folders")
    add("--root", metavar="DIR", help="the folder that the list's paths are relative to [DIR]")
    add("--format", metavar="NAME", help="folder, list, webvision2, webvision1 or imagenet [detected]")
    add("--class_names", metavar="FILE", help="class names: one per line, or synsets.txt [the sub-folders']")
    add("--val", metavar="DIR", help="folder of validation pictures: those that are also among the others are leaks")
    add(
        "--decisions",
        metavar="FILE",
        help="what a person decided, the decisions.csv of tools/review.py; it helps with the other pictures",
    )
    add("--exif", metavar="honour|ignore", help="whether pictures are turned as their EXIF entry says [honour]")
    add = p.add_argument_group("network").add_argument
    add(
        "--weights",
        metavar="PATH",
        help="imagenet, imagenet:NETWORK, a weights file or a checkpoint [the best published weights on this machine]",
    )
    add("--model", metavar="NAME", help="network of the weights [as the weights say]")
    add("--precision", default="fp32", help="fp32 | bf16, faster on CPUs with AMX and on GPUs [fp32]")
    add("--batch_size", type=count, default=4, help="pictures computed at once; use 64 or more on a GPU [4]")
    add("--threads", type=count, metavar="N", help="threads of the network [one per core]")
    add("--workers", type=cli.number(int, 0), default=0, help="processes that decode; 0: a thread [0]")
    add("--seed", type=cli.number(int, 0), default=0, help="seed of the folds [0]")
    add = p.add_argument_group("results").add_argument
    add(
        "--out",
        default="suspects.csv",
        metavar="FILE.csv",
        help="file for the list, replaced if it exists [suspects.csv]",
    )
    add(
        "--max_suspects", type=cli.number(int, 0), metavar="N", help="largest number of rows in the list [all pictures]"
    )
    add("--excel", action="store_true", help="start the list with a byte order mark, which Excel needs to read UTF-8")
    add("--report", metavar="FILE.html", help="also write a page with the pictures, replaced if it exists")
    add(
        "--top",
        type=cli.number(int, 0),
        metavar="N",
        help="number of suspects on the page, at least 60 of each verdict [400]",
    )
    add(
        "--max_mb",
        type=cli.number(float, 0, above=True),
        metavar="MB",
        help="size limit of the page in MB; pictures beyond it are left out [10]",
    )
    add(
        "--next",
        type=count,
        metavar="N",
        help=f"also write {NEXT} next to --out: the N pictures most worth a person's look, best first",
    )
    add(
        "--features",
        metavar="FILE",
        help="file that keeps features, so that a second call computes only new and changed pictures; "
        f"{NONE}: keep none [next to --out: suspects.features]",
    )
    add("--debug", action="store_true", help="show a traceback on errors")
    p.explain = _explained
    return p


def _explained(argument: str) -> str:
    """What a flag of infer.py or others is called here."""
    word = argument.strip("-").partition("=")[0].casefold().replace("-", "_")
    others = {
        "pretrained_model": "--weights",
        "img_path": "DIR",
        "img_list": "--list",
        "output": "--out",
        "val_root": "--val",
        "max_bad": "",
    }
    if word == "max_bad":
        return "unreadable pictures go into the list and never stop this command"
    return f"here it is called {others[word]}" if word in others else ""


def main(argv: Sequence[str]) -> None:
    """Read, compute, rate, write, and print the summary."""
    args = parser().parse_args(argv)
    where = _where(args)
    kept = _features_file(args)
    _check_places(args, kept)
    for flag, value in (("--top", args.top), ("--max_mb", args.max_mb)):
        if value is not None and args.report is None:
            raise InputError(f"{flag} only affects the page; it needs --report FILE.html")
    from urnet.data.decisions import read_decisions
    from urnet.suspects.network import feature_network
    from urnet.suspects.photos import read_photos, read_validation

    decisions = None if args.decisions is None else read_decisions(args.decisions)
    photos = read_photos(where)
    validation = None if args.val is None else read_validation(args.val, photos)
    network = feature_network(
        args.weights, build=models.build, model=args.model, exif=args.exif, precision=args.precision
    )
    models.check_size(network.name, network.transform.size, "--weights")
    with cli.results_only() as results:
        start = time.perf_counter()
        found = _find(args, photos, network, kept, {"validation": validation, "decisions": decisions})
        for line in _written(args, found, network):
            print(line, file=results)
        n = len(photos.labels) + (0 if validation is None else len(validation.labels))
        print(
            f"{plural(n, 'picture')} in {time.perf_counter() - start:.1f} s; {network.describe()}: features of "
            f"{found.computed:,} {verb(found.computed, 'was', 'were')} computed"
            + (f", all are kept in {kept}" if kept else ""),
            file=sys.stderr,
        )
        some = _next_file(args) if args.next and len(found.asked) else None
        what = "the ones most worth it" if some else "the first ones"
        print(f"next: {_review(args, photos, some or args.out)}  # look at {what} and decide", file=sys.stderr)


def _review(args: argparse.Namespace, photos: Any, opened: str | Path) -> str:
    """The command that opens the list."""
    places = {"--root": photos.root, "--val": args.val, "--decisions": args.decisions}
    flags = [word for flag, place in places.items() if place is not None for word in (flag, str(place))]
    return shlex.join(["python", "tools/review.py", str(opened), *flags])


def _find(args: argparse.Namespace, photos: Any, network: Any, kept: Path | None, known: dict[str, Any]) -> Any:
    from urnet.suspects.extract import Work
    from urnet.suspects.find import find_suspects

    work = Work(args.batch_size, args.threads, args.workers, kept)
    try:
        return find_suspects(photos, network, work=work, seed=args.seed, ask=args.next or 0, **known)
    except (KeyboardInterrupt, cli.Terminated):
        if kept is not None and kept.is_file():
            print(f"note: what was computed is kept in {kept}; the same command continues from there", file=sys.stderr)
        raise


def _written(args: argparse.Namespace, found: Any, network: Any) -> list[str]:
    """Write the list and the page; the lines of the summary."""
    from urnet.suspects.summary import summary_lines

    n = found.write_csv(args.out, args.max_suspects, excel=args.excel)
    written = [f"{args.out}: {plural(n, 'picture')}, the most suspect first"]
    if args.report:
        written.append(_write_page(args, found, network))
    if args.next:
        n = found.write_asked(_next_file(args), excel=args.excel)
        written.append(f"{_next_file(args)}: {plural(n, 'picture')}, those most worth a look, best first")
    return [*summary_lines(found), "", *written]


def _write_page(args: argparse.Namespace, found: Any, network: Any) -> str:
    """Write the page; what is said of it."""
    from urnet.core.atomic_files import atomic_file
    from urnet.report.build import Settings, build_folder_report
    from urnet.report.thumbnails import thumbnailer

    out, root = Path(args.report), Path(found.photos.root).resolve()
    name = "/".join(root.parts[1:][-2:]) or str(root)
    thumbnails = thumbnailer(exif=network.exif, max_pixels=network.max_pixels)
    asked = {"top": args.top, "max_bytes": None if args.max_mb is None else math.ceil(1e6 * args.max_mb)}
    settings = Settings(page=out, **{key: value for key, value in asked.items() if value is not None})
    page = build_folder_report(name, found.photos, found.evidence, thumbnails, settings)
    with atomic_file(out, replace=True) as part:
        part.write_text(page.html, encoding="utf-8")
    return f"{out}: {len(page.html.encode()) / 1e6:.1f} MB, {plural(page.pictures, 'picture')}"


def _where(args: argparse.Namespace) -> Any:
    from urnet.suspects.photos import Where

    root = args.root or args.dir
    if root is None:
        raise InputError("DIR: found none; a folder with a sub-folder per class is needed (or --list FILE --root DIR)")
    if args.root is not None and args.dir is not None and Path(args.root) != Path(args.dir):
        raise InputError(f"--root {args.root}: DIR is {args.dir}; give one of them")
    return Where(root, args.list, args.format, args.class_names)


def _features_file(args: argparse.Namespace) -> Path | None:
    if args.features == NONE:
        return None
    return Path(args.features) if args.features else Path(args.out).with_suffix(".features")


def _next_file(args: argparse.Namespace) -> Path | None:
    return Path(args.out).with_name(NEXT) if args.next else None


def _check_places(args: argparse.Namespace, kept: Path | None) -> None:
    """Raise InputError for a file to write that is a folder, or that is read or written as another thing."""
    from urnet.core.atomic_files import check_no_device
    from urnet.data.lists.image_files import check_no_picture

    taken: dict[Path, str] = {
        Path(place).resolve(): f"{flag} {place}"
        for flag, place in (
            ("--list", args.list),
            ("--class_names", args.class_names),
            ("--decisions", args.decisions),
            ("--weights", args.weights),
        )
        if place is not None
    }
    places = (("--out", args.out), ("--report", args.report), ("--features", kept), ("--next", _next_file(args)))
    for flag, place in places:
        if place is None:
            continue
        check_no_picture(flag, place)
        check_no_device(Path(place))
        if Path(place).is_dir():
            raise InputError(f"{flag} {place}: is a folder; a file's path is needed")
        other = taken.setdefault(Path(place).resolve(), f"{flag} {place}")
        if other != f"{flag} {place}":
            raise InputError(f"{flag} {place}: is also {other}; two files are needed")


if __name__ == "__main__":
    sys.exit(cli.run(main))
