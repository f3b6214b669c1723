"""The predictions of several networks (scales, crops) combined into one.

    python tools/ensemble.py --members a.arrow b.arrow --out all.csv --list data/val_list.txt

Members are files of infer.py --output of the same images in the same order.
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
from urnet.data.lists.build_table import read_class_names
from urnet.evaluation.ensemble import Ensemble, block_rows, make_ensemble
from urnet.evaluation.ensemble_weights import fit_weights, label_probabilities, log_loss
from urnet.evaluation.leave_one_out import LeaveOneOut
from urnet.evaluation.prediction_formats import count_rows
from urnet.evaluation.prediction_reader import Listed, read_aligned
from urnet.evaluation.prediction_writer import PredictionFile, open_predictions

EPILOG = """\
methods:
  mean       mean of the members' probabilities
  weighted   weighted mean; weights from --weights, or fitted with --fit and --fit_list
  geometric  geometric mean of the probabilities, normalised
  vote_prob  a member votes for its --votes best classes, each vote counting its probability
  vote       a member's --votes best classes get V, V - 1, … 1 points, whatever their probabilities
A class that a member does not list has an even share of what its listed classes leave of 1 (votes: nothing).

examples:
  python tools/ensemble.py --members a.arrow b.arrow --out all.csv
  python tools/ensemble.py --members a.arrow b.arrow --out all.arrow --topk 100 --list data/val_list.txt
  python tools/ensemble.py --members a.csv b.csv --out all.csv --method weighted \\
      --fit a_held_out.csv b_held_out.csv --fit_list held_out_list.txt

Fit weights to images that no member was trained on; --fit_list may be a part of the training list that was
held out.

exit codes: 0 done, 1 failed while running, 2 bad usage or bad input
"""


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(
        prog="tools/ensemble.py",
        description="Make several prediction files into one.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("--members", nargs="+", required=True, metavar="FILE", help="prediction files: .csv, .jsonl, .arrow")
    add("--out", metavar="FILE", help="the ensemble's: .csv, .jsonl or .arrow; an existing one is replaced")
    add("--method", default="mean", help="mean | weighted | geometric | vote_prob | vote [mean]")
    add("--weights", nargs="+", type=float, metavar="W", help="one a member, for --method weighted")
    add("--fit", nargs="+", metavar="FILE", help="the members' predictions of --fit_list, in their order")
    add("--fit_list", metavar="LIST", help="lines `path label` that the weights are fitted to")
    add("--list", metavar="LIST", help="lines `path label`: print accuracies, and what each member adds")
    add("--class_dim", type=int, default=5000, metavar="N", help="number of classes [5000]")
    add("--topk", type=int, default=5, metavar="K", help="classes an image in --out [5]")
    add("--votes", type=int, metavar="V", help="classes that a member votes for [--topk]")
    add("--class_names", metavar="FILE", help="names for --out: synsets.txt, or one name a line")
    add("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> None:
    """Check, fit weights if asked, combine block by block, print."""
    args = parser().parse_args(argv)
    check(args)
    listed = Listed(args.list, args.class_dim) if args.list else None
    names = read_class_names(args.class_names, args.class_dim) if args.class_names else []
    with open_predictions(args.out, names, "--out") as file:
        weights = fitted(args) if args.fit else args.weights
        ensemble = make_ensemble(args.method, len(args.members), args.class_dim, weights=weights, votes=args.votes)
        accuracies = LeaveOneOut(ensemble)
        images, empty = combine(args, ensemble, file, listed, accuracies)
        lines = accuracy_lines(args.members, args.method, accuracies) if listed else []
    for line in lines:
        print(line)
    gone = f", {empty} without a prediction in any member" if empty else ""
    place = args.out or "not written (no --out)"
    print(f"{place}: {images} images, {args.method} of {len(args.members)} members{gone}")


def check(args: argparse.Namespace) -> None:
    """Flags that contradict one another or are out of range."""
    if args.class_dim < 1:
        raise InputError(f"--class_dim: found {args.class_dim}; 1 or more is accepted")
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
        raise InputError("nothing to do: --out FILE, --list LIST or both are needed")
    if (args.fit is None) != (args.fit_list is None):
        raise InputError("--fit and --fit_list go together: predictions, and the list that has their labels")
    if args.fit and args.weights:
        raise InputError("--weights and --fit: found both; one of them is accepted")
    if args.fit and len(args.fit) != len(args.members):
        raise InputError(f"--fit: found {len(args.fit)} files for {len(args.members)} members; one each is needed")
    if bool(args.fit or args.weights) != (args.method == "weighted"):
        raise InputError("--method weighted needs --weights, or --fit and --fit_list; no other method takes them")
    if args.fit and args.list and not set(args.fit).isdisjoint(args.members):
        print("note: the weights are fitted to the images they are then judged by", file=sys.stderr)


def combine(
    args: argparse.Namespace,
    ensemble: Ensemble,
    file: PredictionFile | None,
    listed: Listed | None,
    accuracies: LeaveOneOut,
) -> tuple[int, int]:
    """Combine all rows; returns how many there are, and how many have no prediction."""
    images = empty = 0
    total = len(listed) if listed else count_rows(args.members[0])
    rows = read_aligned(args.members, args.class_dim, block_rows(args.class_dim))
    with contextlib.closing(rows), Progress("ensemble", total) as display:
        for blocks in rows:
            for block in blocks:
                block.check_width(args.topk, f"for --topk {args.topk}")
                if args.method in ("vote", "vote_prob"):
                    block.check_width(args.votes, f"for --votes {args.votes}")
            sums = ensemble.sums(blocks)
            if listed:
                accuracies.update(blocks, sums, listed.of(blocks[0]))
            if file is not None:
                classes, scores = ensemble.best(sums, args.topk)
                errors = ["" if good else "no member has a prediction" for good in sums.predicted.tolist()]
                file.write_rows(blocks[0].path, classes, scores, errors)
            images += len(blocks[0])
            empty += int((~sums.predicted).sum())
            display.update(len(blocks[0]))
    if listed:
        listed.check_end(args.members[0], images)
    return images, empty


def fitted(args: argparse.Namespace) -> list[float]:
    """Weights from labelled predictions; prints them and the log losses."""
    listed, m = Listed(args.fit_list, args.class_dim), len(args.members)
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
    """A line a member: its own accuracies, and by how much leaving it out lowers the ensemble's."""
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
