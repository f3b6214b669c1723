"""What decisions bring, and in which order of asking: a person who knows the truth, simulated on kept features.

    python tools/simulate_decisions.py suspects.csv --truth truth.csv --features suspects.features \\
        --root photos/train --val photos/val

docs/suspects.md has the figures that were measured with it.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tools.known_folder import ABOUT_THE_FOLDER, Folder, add_folder, read_folder
from urnet.core import cli
from urnet.core.checks import InputError

EPILOG = f"""\
{ABOUT_THE_FOLDER}
Each order asks about --batch pictures, is told their truth, rates all others again with it, and continues. The
classifier is logistic regression: "reweighted" with rows weighted by label_quality, "labels" on the labels at that
point, all weighted alike. Figures are class-averaged top-1 on the validation pictures, mean ± standard deviation over
the seeds, which divide the folds and draw at random.

--write DIR also writes each state as DIR/ORDER-SEED-NUMBER.csv, which data.decisions of a recipe reads.

exit codes: 0 done, 1 failed while running, 2 bad usage or bad input
"""
SURE = 1e-3  # of a weight: rows of less are left out
TIME = "2000-01-01T00:00:00Z"  # of decisions that nobody made
Order = Callable[["Folder", "State", int, np.random.Generator], np.ndarray]


@dataclass
class State:
    """What has been decided, and what is believed then."""

    labels: np.ndarray
    decided: np.ndarray
    found: dict[str, np.ndarray]


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(
        prog="tools/simulate_decisions.py",
        description="Measure how much decisions help, for several orders of asking about pictures.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_folder(p)
    add = p.add_argument
    add("--numbers", default="0,100,300", metavar="N,N", help="numbers of decisions [0,100,300]")
    add("--orders", default=",".join(ORDERS), metavar="NAME,NAME", help=f"[{','.join(ORDERS)}]")
    add("--seeds", default="0,1,2", metavar="N,N", help="[0,1,2]")
    add("--batch", type=cli.number(int, 1), default=50, help="pictures asked about at once [50]")
    add(
        "--strength", type=cli.number(float, 0, above=True), default=0.03, metavar="C", help="the classifier's C [0.03]"
    )
    add("--write", metavar="DIR", help="also write each state as a decisions file to this folder")
    add("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> None:
    """Read, simulate, print."""
    args = parser().parse_args(argv)
    numbers, seeds = _whole("--numbers", args.numbers), _whole("--seeds", args.seeds)
    orders = args.orders.split(",")
    if strange := [name for name in orders if name not in ORDERS]:
        raise InputError(f"--orders: {strange[0]!r}; {', '.join(ORDERS)} are accepted")
    folder = read_folder(args)
    if numbers[-1] > len(folder.given):
        raise InputError(f"--numbers: {numbers[-1]}, but there are only {len(folder.given)} pictures")
    print(f"{'order':12} {'decisions':>9}  {'reweighted':>14}  {'labels':>14}  wrong or off topic among them")
    begun = [judged(folder, folder.given, np.zeros(len(folder.given), np.int8), seed) for seed in seeds]
    for name in orders:
        runs = [
            list(simulated(folder, ORDERS[name], numbers, state, seed, args))
            for seed, state in zip(seeds, begun, strict=True)
        ]
        for number, of_seeds in zip(numbers, zip(*runs, strict=True), strict=True):
            if args.write:
                for seed, (state, _) in zip(seeds, of_seeds, strict=True):
                    write_decisions(Path(args.write) / f"{name}-{seed}-{number}.csv", args.root, folder, state)
            figures = np.array([figures for _, figures in of_seeds])
            mean, spread = figures.mean(axis=0), figures.std(axis=0)
            accuracies = "  ".join(f"{m:6.2f} ± {s:5.2f}" for m, s in zip(mean[:2], spread[:2], strict=True))
            print(f"{name:12} {number:9}  {accuracies}  {mean[2]:.0f}", flush=True)


def simulated(
    folder: Folder, order: Order, numbers: Sequence[int], begun: State, seed: int, args: argparse.Namespace
) -> Iterator[tuple[State, tuple[float, float, float]]]:
    """The state and its figures (both accuracies, faults seen) at each of ascending ``numbers`` of decisions."""
    rng, now = np.random.default_rng(seed), begun
    for number in numbers:
        while (there := int((now.decided > 0).sum())) < number:
            asked = order(folder, now, min(args.batch, number - there), rng)
            if not len(asked):
                raise InputError(f"--numbers: {number}, but there are only {there} pictures to ask about")
            labels, decided, true = now.labels.copy(), now.decided.copy(), folder.true[asked]
            labels[asked], decided[asked] = np.where(true >= 0, true, labels[asked]), np.where(true >= 0, 1, 2)
            now = judged(folder, labels, decided, seed)
        seen = (now.decided > 0) & (folder.given != folder.true)
        yield now, (*accuracies(folder, now, args.strength), float(seen.sum()))


def judged(folder: Folder, labels: np.ndarray, decided: np.ndarray, seed: int) -> State:
    """What is believed of all pictures."""
    from urnet.reweight.label_quality import label_quality

    some = decided if decided.any() else None
    found = label_quality(folder.features, labels, len(folder.names), groups=folder.groups, decided=some, seed=seed)
    return State(labels, decided, found)


def accuracies(folder: Folder, state: State, strength: float) -> tuple[float, float]:
    """Class-averaged top-1 of the classifier, in percent: reweighted, and with the labels alone."""
    alone = (state.decided != 2).astype(np.float64)
    weights = (state.found["label_quality"].astype(np.float64) * alone, alone)
    reweighted, labels = (_accuracy(folder, state.labels, weight, strength) for weight in weights)
    return reweighted, labels


def _accuracy(folder: Folder, labels: np.ndarray, weight: np.ndarray, strength: float) -> float:
    from sklearn.linear_model import LogisticRegression

    used = weight > SURE
    model = LogisticRegression(C=strength, max_iter=1000, class_weight="balanced")
    model.fit(folder.features[used], labels[used], weight[used] / weight.mean())
    right = model.predict(folder.val_features) == folder.val_labels
    return 100 * float(np.mean([right[folder.val_labels == c].mean() for c in np.unique(folder.val_labels)]))


# --- orders


def _worth(folder: Folder, state: State, n: int, rng: np.random.Generator) -> np.ndarray:
    from urnet.reweight.worth_asking import worth_asking

    return worth_asking(
        folder.features,
        state.labels,
        len(folder.names),
        state.found,
        n,
        groups=folder.groups,
        ask=~folder.copies,
        decided=state.decided,
    )


def _quality(folder: Folder, state: State, n: int, rng: np.random.Generator) -> np.ndarray:
    return _least(state.found["label_quality"], state, n)


def _uncertainty(folder: Folder, state: State, n: int, rng: np.random.Generator) -> np.ndarray:
    """By the most probable answer, the least sure first."""
    found = state.found
    other = np.where(found["suggested"] != state.labels, found["suggested_prob"], 0)
    inside = found["in_classes"]
    return _least(np.maximum.reduce([found["relevance"] * inside, other * inside, 1 - inside]), state, n)


def _random(folder: Folder, state: State, n: int, rng: np.random.Generator) -> np.ndarray:
    return _least(rng.random(len(state.decided)), state, n)


def _least(values: np.ndarray, state: State, n: int) -> np.ndarray:
    rows = np.flatnonzero(state.decided == 0)
    return rows[np.argsort(values[rows], kind="stable")][:n]


ORDERS: dict[str, Order] = {"worth": _worth, "quality": _quality, "uncertainty": _uncertainty, "random": _random}


# --- files


def write_decisions(path: Path, root: str, folder: Folder, state: State) -> None:
    """The decisions of a state as a file that recipes and tools/suspects.py read."""
    from urnet.core.atomic_files import atomic_file, file_hash
    from urnet.data.decisions import HEADER, Decision

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path, replace=True) as part, part.open("w", newline="", encoding="utf-8") as stream:
        out = csv.writer(stream, lineterminator="\n")
        out.writerow(HEADER)
        for row in np.flatnonzero(state.decided).tolist():
            given, label = folder.names[folder.given[row]], folder.names[state.labels[row]]
            what = "none" if state.decided[row] == 2 else "keep" if given == label else "relabel"
            where = folder.paths[row]
            digest = file_hash(Path(root) / where)
            out.writerow(Decision(where, digest, given, what, "" if what == "none" else label, TIME).values)


def _whole(flag: str, text: str) -> list[int]:
    """Ascending whole numbers, without those that are there twice."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"{flag}: found {text!r}; whole numbers of 0 or more, separated by commas, are accepted")
    return sorted({int(part) for part in parts})


if __name__ == "__main__":
    sys.exit(cli.run(main))
