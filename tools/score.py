"""Evaluates predictions: accuracies, calibration, large and small classes, against another file.

    python tools/score.py --predictions val.arrow --list data/val_list.txt

docs/testtime.md has the formulas.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from urnet.core import cli
from urnet.core.checks import InputError
from urnet.core.progress import Progress
from urnet.data.lists.build_table import read_class_names
from urnet.evaluation.accuracy import write_class_table
from urnet.evaluation.prediction_reader import Listed, read_predictions
from urnet.evaluation.prediction_writer import open_text
from urnet.evaluation.scoring import BINS, Scored, class_groups, group_accuracy, paired_bootstrap, read_train_counts

EPILOG = """\
examples:
  python tools/score.py --predictions val.arrow --list data/val_list.txt --per_class classes.csv
  python tools/score.py --predictions val.arrow --list data/val_list.txt --train_sizes output/NAME/table
  python tools/score.py --predictions new.arrow --against old.arrow --list data/val_list.txt

Predictions are files of infer.py --output or tools/ensemble.py with 5 classes an image or more, in the list's
order. The calibration error is that of the scores as probabilities; votes are none.

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
    add("--list", required=True, metavar="LIST", help="lines `path label`, in the order of the predictions")
    add("--against", metavar="FILE", help="another prediction file: differences with their intervals")
    add("--train_sizes", metavar="TABLE|LIST", help="training table or list: head, middle and tail classes")
    add(
        "--borders",
        nargs=2,
        type=int,
        metavar=("MANY", "FEW"),
        help="head: MANY training images or more; tail: fewer than FEW [thirds of the classes]",
    )
    add("--per_class", metavar="FILE.csv", help="write images, top1 and top5 of every class")
    add("--class_names", metavar="FILE", help="names for --per_class: synsets.txt, or one name a line")
    add("--class_dim", type=int, default=5000, metavar="N", help="number of classes [5000]")
    add("--draws", type=int, default=2000, metavar="N", help="bootstrap draws for --against [2000]")
    add("--seed", type=int, default=0, help="of the draws [0]")
    add("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> None:
    """Check, read, print; the file of --per_class appears when all is done."""
    args = parser().parse_args(argv)
    for name, low in (("class_dim", 1), ("draws", 1), ("seed", 0)):
        if getattr(args, name) < low:
            raise InputError(f"--{name}: found {getattr(args, name)}; {low} or more is accepted")
    if args.borders and not args.train_sizes:
        raise InputError("--borders needs --train_sizes, the training images of each class")
    if args.class_names and not args.per_class:
        raise InputError("--class_names needs --per_class, where the names are written")
    with contextlib.ExitStack() as stack:
        table = stack.enter_context(open_text(Path(args.per_class), "--per_class")) if args.per_class else None
        names = read_class_names(args.class_names, args.class_dim) if args.class_names else ()
        listed = Listed(args.list, args.class_dim)
        counts = read_train_counts(args.train_sizes, args.class_dim) if args.train_sizes else None
        groups = {} if counts is None else class_groups(counts, args.borders)
        scored = score(args.predictions, listed, args.class_dim)
        other = score(args.against, listed, args.class_dim) if args.against else None
        lines = list(accuracy_lines(scored))
        if counts is not None:
            lines += group_lines(scored, groups, counts)
        if other is not None:
            lines += comparison_lines(args, listed, scored, other)
        if table is not None:
            write_class_table(table, scored.accuracy, names, counts)
    print("\n".join(lines))


def score(file: str, listed: Listed, n_classes: int) -> Scored:
    """A file against the list, with progress."""
    with Progress("score", len(listed)) as display:
        return Scored(read_predictions(file, n_classes), listed, n_classes, display)


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
