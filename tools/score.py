"""Evaluates predictions: accuracies, calibration, large and small classes, against another file.

    python tools/score.py --predictions val.arrow --list data/val_list.txt

docs/testtime.md has the formulas.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from urnet.core import cli
from urnet.core.checks import InputError, counts_from_one
from urnet.core.progress import Progress
from urnet.evaluation.class_order import LOOKS, agreed_names
from urnet.evaluation.class_report import report_lines
from urnet.evaluation.matching import Listed
from urnet.evaluation.prediction_reader import CLASSES, number_of_classes, read_names
from urnet.evaluation.report_files import add_flags, open_report, wants_confusion
from urnet.evaluation.scoring import BINS, Scored, class_groups, group_accuracy, paired_bootstrap, read_train_counts

EPILOG = """\
examples:
  python tools/score.py --predictions val.arrow --list data/val_list.txt --per_class classes.csv
  python tools/score.py --predictions val.arrow --list data/val_list.txt --train_sizes output/NAME/table
  python tools/score.py --predictions new.arrow --against old.arrow --list data/val_list.txt

Prediction files come from infer.py --output or tools/ensemble.py; they need 5 or more classes per image and exactly
the listed images, in any order. The calibration error takes the scores as probabilities, which votes are not.

exit codes: 0 done, 1 failed while running, 2 bad usage or bad input
"""


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(
        prog="tools/score.py",
        description="Score prediction files against labels.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("--predictions", required=True, metavar="FILE", help="prediction file: .csv, .jsonl or .arrow")
    add(
        "--list",
        required=True,
        metavar="LIST",
        help="list of `path label` lines, one per predicted image, in any order",
    )
    add("--root", default="", metavar="DIR", help="leading folder to ignore when paths are compared")
    add(
        "--against",
        metavar="FILE",
        help="another prediction file to compare with: prints differences with their intervals",
    )
    add("--train_sizes", metavar="TABLE|LIST", help="training table or list: also score head, middle and tail classes")
    add(
        "--borders",
        nargs=2,
        type=int,
        metavar=("MANY", "FEW"),
        help="head: MANY training images or more; tail: fewer than FEW [thirds of the classes]",
    )
    add_flags(add)
    add(
        "--class_names",
        metavar="FILE",
        help="class names for the labels and the files written: synsets.txt, or one per line",
    )
    add("--class_dim", type=int, metavar="N", help="number of classes [from an .arrow file, or 5000]")
    add("--draws", type=int, default=2000, metavar="N", help="bootstrap draws for --against [2000]")
    add("--seed", type=int, default=0, help="seed of the draws [0]")
    add("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> None:
    """Check, read, print; the file of --per_class appears when all is done."""
    args = parser().parse_args(argv)
    for name, low in (("class_dim", 1), ("draws", 1), ("seed", 0)):
        value = getattr(args, name)
        if value is not None and value < low:
            raise InputError(f"--{name}: found {value}; {low} or more is accepted")
    if args.borders and not args.train_sizes:
        raise InputError("--borders needs --train_sizes, the training images of each class")
    with open_report(args) as files:
        files_in = [file for file in (args.predictions, args.against) if file]
        known = number_of_classes(files_in, args.class_dim)
        names = agreed_names(files_in, args.class_names, known)
        known = known or len(names) or None
        n_classes = known or CLASSES
        listed = Listed(args.list, known, args.root, names or read_names(args.predictions, n_classes, LOOKS))
        counts = read_train_counts(args.train_sizes, n_classes, names) if args.train_sizes else None
        groups = {} if counts is None else class_groups(counts, args.borders)
        scored = score(args.predictions, listed, n_classes)
        other = score(args.against, listed, n_classes) if args.against else None
        if known is None:
            check_assumed(args, scored.widest, counts)
        confusion = scored.confusion(listed.labels) if wants_confusion(args) else None
        if confusion is not None and not names:
            names = read_names(args.predictions, n_classes)
        lines = list(accuracy_lines(scored))
        if confusion is not None:
            lines += report_lines(confusion, names)
        if counts is not None:
            lines += group_lines(scored, groups, counts)
        if other is not None:
            lines += comparison_lines(args, listed, scored, other)
        files.write(scored.accuracy, confusion, names, None if counts is None else {"train_images": counts})
    print("\n".join(lines))


def score(file: str, listed: Listed, n_classes: int) -> Scored:
    """A file against the list, with progress; notes about what looks wrong."""
    with Progress("score", len(listed)) as display:
        scored = Scored(file, listed, n_classes, display)
    for note in scored.notes:
        print(f"note: {note}", file=sys.stderr)
    return scored


def check_assumed(args: argparse.Namespace, widest: int, counts: np.ndarray | None) -> None:
    """Where nothing says how many classes there are: refuse training labels beyond ``widest``, note what is assumed."""
    if counts is not None and widest >= 0 and counts[widest + 1 :].any():
        filled = np.flatnonzero(counts)
        hint = (
            counts_from_one(int(filled[0]), int(filled[-1]), widest + 1) or "--class_dim N accepts labels up to N - 1"
        )
        raise InputError(
            f"--train_sizes {args.train_sizes}: has labels up to {filled[-1]}, but the highest class that "
            f"{args.predictions} predicts is {widest}; {hint}"
        )
    if widest < CLASSES - 1 and (counts is not None or args.per_class or wants_confusion(args)):
        print(
            f"note: {CLASSES} classes are assumed, the highest predicted one is {widest}; see --class_dim",
            file=sys.stderr,
        )


def accuracy_lines(scored: Scored) -> Iterator[str]:
    """Both means of top-1 and top-5, and the calibration."""
    result, sure = scored.accuracy.result(), scored.calibration()
    images, classes = result["images"], result["classes"]
    left_out = len(scored.readable) - images
    yield f"images: {images} measured, of {classes} classes; {left_out} without a prediction count nowhere"
    yield f"class mean (WebVision 2.0) top1:{result['top1']:.4f} top5:{result['top5']:.4f}"
    yield f"image mean (WebVision 1.0) top1:{result['image_top1']:.4f} top5:{result['image_top5']:.4f}"
    yield (
        f"calibration error {sure.error:.4f} ({BINS} bins of the best class's score; mean score"
        f" {sure.confidence:.4f}, accuracy {sure.accuracy:.4f})"
    )


def group_lines(scored: Scored, groups: Mapping[str, np.ndarray], counts: np.ndarray) -> Iterator[str]:
    """A line for head, middle and tail."""
    for name, (filled, top1, top5) in group_accuracy(scored.accuracy, groups).items():
        own = counts[groups[name]]
        span = f" of {own.min()}..{own.max()} training images" if len(own) else ""
        found = f"class mean top1:{top1:.4f} top5:{top5:.4f}" if filled else "no image"
        yield f"{name}: {len(own)} classes{span}, {filled} with images: {found}"


def comparison_lines(args: argparse.Namespace, listed: Listed, scored: Scored, other: Scored) -> Iterator[str]:
    """The differences on the images that both files predict."""
    both = scored.readable & other.readable
    yield f"{args.predictions} minus {args.against}, {both.sum()} images, 95 % of {args.draws} draws:"
    for name, labels in (("class mean", listed.labels[both]), ("image mean", None)):
        for top, first, second in ((1, scored.hit1, other.hit1), (5, scored.hit5, other.hit5)):
            difference, low, high = paired_bootstrap(
                first[both], second[both], labels, draws=args.draws, seed=args.seed
            )
            yield f"  {name} top{top}: {difference:+.4f} [{low:+.4f}, {high:+.4f}]"


if __name__ == "__main__":
    sys.exit(cli.run(main))
