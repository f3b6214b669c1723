"""Combine the predictions of several networks (or scales, or crops) into one.

    python tools/ensemble.py --members a.arrow b.arrow --out all.csv --list data/val_list.txt

Members are files of infer.py --output of the same images, in any order; the first one's is kept.
docs/testtime.md has the formulas.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence

import numpy as np

from urnet.core import cli
from urnet.core.checks import InputError
from urnet.core.progress import Progress
from urnet.evaluation.class_order import agreed_names
from urnet.evaluation.ensemble import Ensemble, block_rows, make_ensemble
from urnet.evaluation.ensemble_weights import fit_weights, label_probabilities, log_loss
from urnet.evaluation.label_offset import label_notes
from urnet.evaluation.leave_one_out import LeaveOneOut
from urnet.evaluation.matching import Listed, read_aligned
from urnet.evaluation.prediction_formats import count_rows
from urnet.evaluation.prediction_reader import CLASSES, number_of_classes
from urnet.evaluation.prediction_writer import PredictionFile, open_predictions

EPILOG = """\
methods:
  mean       mean of the members' probabilities
  weighted   weighted mean; weights from --weights, or fitted with --fit and --fit_list
  geometric  geometric mean of the probabilities, normalised
  vote_prob  a member votes for its --votes best classes, each vote counting its probability
  vote       a member's --votes best classes get V, V - 1, … 1 points, whatever their probabilities
A class that a member does not list gets an equal share of what the listed classes leave of 1 (in votes: nothing).

examples:
  python tools/ensemble.py --members a.arrow b.arrow --out all.csv
  python tools/ensemble.py --members a.arrow b.arrow --out all.arrow --topk 100 --list data/val_list.txt
  python tools/ensemble.py --members a.csv b.csv --out all.csv --method weighted \\
      --fit a_held_out.csv b_held_out.csv --fit_list held_out_list.txt

Fit weights to images that no member was trained on; --fit_list may be a held-out part of the training list.

exit codes: 0 done, 1 failed while running, 2 bad usage or bad input
"""


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(
        prog="tools/ensemble.py",
        description="Combine several prediction files into one.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add(
        "--members",
        nargs="+",
        required=True,
        metavar="FILE",
        help="prediction files to combine: .csv, .jsonl or .arrow",
    )
    add(
        "--out",
        metavar="FILE",
        help="file for the ensemble's predictions: .csv, .jsonl or .arrow; replaced if it exists",
    )
    add("--method", default="mean", help="mean | weighted | geometric | vote_prob | vote [mean]")
    add("--weights", nargs="+", type=float, metavar="W", help="one weight per member, for --method weighted")
    add(
        "--fit",
        nargs="+",
        metavar="FILE",
        help="each member's predictions for the images of --fit_list, in the order of --members",
    )
    add("--fit_list", metavar="LIST", help="list of `path label` lines that the weights are fitted to")
    add("--list", metavar="LIST", help="list of `path label` lines: print accuracies and what each member adds")
    add("--root", default="", metavar="DIR", help="leading folder to ignore when paths are compared")
    add("--class_dim", type=int, metavar="N", help="number of classes [from an .arrow file, or 5000]")
    add("--topk", type=int, default=5, metavar="K", help="classes per image in --out [5]")
    add("--votes", type=int, metavar="V", help="number of classes that a member votes for [--topk]")
    add("--class_names", metavar="FILE", help="class names for --out and the labels: synsets.txt, or one name per line")
    add("--excel", action="store_true", help="start --out with a byte order mark, which Excel needs to read UTF-8")
    add("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> None:
    """Check, fit weights if asked, combine block by block, print."""
    args = parser().parse_args(argv)
    if args.class_dim is not None and args.class_dim < 1:
        raise InputError(f"--class_dim: found {args.class_dim}; 1 or more is accepted")
    known = number_of_classes([*args.members, *(args.fit or ())], args.class_dim)
    names = agreed_names([*args.members, *(args.fit or ())], args.class_names, known)
    known = known or len(names) or None
    args.class_dim = known or CLASSES
    check(args)
    listed = Listed(args.list, known, args.root, names) if args.list else None
    with open_predictions(args.out, names, "--out", n_classes=known, excel=args.excel) as file:
        weights = fitted(args, known, names) if args.fit else args.weights
        ensemble = make_ensemble(args.method, len(args.members), args.class_dim, weights=weights, votes=args.votes)
        accuracies = LeaveOneOut(ensemble)
        images, empty, widest = combine(args, ensemble, file, listed, accuracies)
        if listed:
            for note in label_notes(listed, args.members, widest, accuracies.offset, accuracies.together.count):
                print(f"note: {note}", file=sys.stderr)
        lines = accuracy_lines(args.members, args.method, accuracies) if listed else []
    if known is None and widest < CLASSES - 1:
        print(
            f"note: {CLASSES} classes are assumed, the highest predicted one is {widest}; see --class_dim",
            file=sys.stderr,
        )
    for line in lines:
        print(line)
    gone = f", {empty} without a prediction in any member" if empty else ""
    place = args.out or "not written (no --out)"
    print(f"{place}: {images} images, {args.method} of {len(args.members)} members{gone}")


def check(args: argparse.Namespace) -> None:
    """Flags that contradict one another or are out of range."""
    if not 1 <= args.topk <= args.class_dim:
        raise InputError(f"--topk: found {args.topk}; 1..{args.class_dim} is accepted")
    voting = args.method in ("vote", "vote_prob")
    if args.votes is not None and not voting:
        raise InputError(f"--votes: --method {args.method} takes none; accepted with vote and vote_prob")
    if args.votes is None:
        args.votes = args.topk
    least = args.topk if args.out else 1
    if voting and not least <= args.votes <= args.class_dim:
        why = " (--topk to --class_dim)" if args.out else ""
        raise InputError(f"--votes: found {args.votes}; {least}..{args.class_dim}{why} is accepted")
    if args.out is None and args.list is None:
        raise InputError("nothing to do: give --out FILE, --list LIST or both")
    if (args.fit is None) != (args.fit_list is None):
        raise InputError("--fit and --fit_list go together: give the predictions and the list with their labels")
    if args.fit and args.weights:
        raise InputError("--weights and --fit: found both; give one of them")
    if args.fit and len(args.fit) != len(args.members):
        raise InputError(f"--fit: found {len(args.fit)} files for {len(args.members)} members; one each is needed")
    if bool(args.fit or args.weights) != (args.method == "weighted"):
        raise InputError("--method weighted needs --weights, or --fit and --fit_list; no other method takes them")
    if args.fit and args.list and not set(args.fit).isdisjoint(args.members):
        print("note: the weights are fitted to the same images that measure them", file=sys.stderr)


def combine(
    args: argparse.Namespace,
    ensemble: Ensemble,
    file: PredictionFile | None,
    listed: Listed | None,
    accuracies: LeaveOneOut,
) -> tuple[int, int, int]:
    """Combine all rows; returns how many there are, how many have no prediction, and the highest class listed."""
    images, empty, widest = 0, 0, -1
    labels = listed.labels_of(args.members[0]) if listed else None
    total = len(listed) if listed else count_rows(args.members[0])
    rows = read_aligned(args.members, args.class_dim, block_rows(args.class_dim), root=args.root)
    with contextlib.closing(rows), Progress("ensemble", total) as display:
        for blocks in rows:
            for block in blocks:
                block.check_width(args.topk, f"for --topk {args.topk}")
                if args.method in ("vote", "vote_prob"):
                    block.check_width(args.votes, f"for --votes {args.votes}")
                if block.readable.any():
                    widest = max(widest, int(block.classes.max()))
            sums = ensemble.sums(blocks)
            if labels is not None:
                accuracies.update(blocks, sums, labels[images : images + len(blocks[0])])
            if file is not None:
                classes, scores = ensemble.best(sums, args.topk)
                errors = ["" if good else "no member has a prediction" for good in sums.predicted.tolist()]
                file.write_rows(blocks[0].path, classes, scores, errors)
            images += len(blocks[0])
            empty += int((~sums.predicted).sum())
            display.update(len(blocks[0]))
    return images, empty, widest


def fitted(args: argparse.Namespace, known: int | None, names: Sequence[str]) -> list[float]:
    """Weights from labelled predictions; prints them and the log losses."""
    listed, m = Listed(args.fit_list, known, args.root, names), len(args.members)
    with Progress("fit", len(listed)) as display:
        probability = label_probabilities(args.fit, listed, args.class_dim, progress=display)
    weights, excess = fit_weights(probability)
    least, even = log_loss(probability, weights), log_loss(probability, np.full(m, 1 / m))
    print(
        f"weights fitted to {len(probability)} images of {args.fit_list}: log loss {least:.4f}"
        f" (at most {excess:.0e} above the least; even weights {even:.4f})"
    )
    for number, member in enumerate(args.members):
        alone = log_loss(probability, np.eye(m)[number])
        print(f"  {weights[number]:.4f} {member} (log loss alone {alone:.4f})")
    return weights.tolist()


def accuracy_lines(members: Sequence[str], method: str, accuracies: LeaveOneOut) -> list[str]:
    """A line per member: its own accuracies, and by how much leaving it out lowers the ensemble's."""
    keys = ("top1", "top5", "image_top1", "image_top5")
    if not accuracies.together.count.any():
        raise InputError(f"{', '.join(members)}: no image has a prediction, so there is no accuracy")
    together = accuracies.together.result()
    lines = [
        f"{together['images']} images of {together['classes']} classes: class mean (WebVision 2.0) top1, top5, image"
        " mean (1.0) top1, top5; then what leaving the member out costs in each (- gains)"
    ]
    for member, own, without in zip(members, accuracies.members, accuracies.without, strict=True):
        if not own.count.any():
            lines.append(f"no prediction  {member}")
            continue
        result = own.result()
        line = " ".join(f"{result[key]:.4f}" for key in keys)
        if len(members) > 1:
            rest = without.result()
            line += "   " + " ".join(f"{together[key] - rest[key]:+.4f}" for key in keys)
        lines.append(f"{line}  {member}")
    whole = " ".join(f"{together[key]:.4f}" for key in keys)
    return [*lines, f"{whole}  {method} of {len(members)}"]


if __name__ == "__main__":
    sys.exit(cli.run(main))
