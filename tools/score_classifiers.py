"""How much row weights help other libraries' classifiers, on the features that tools/suspects.py kept.

    python tools/score_classifiers.py suspects.csv --truth truth.csv --features suspects.features \\
        --root photos/train --val photos/val

The figures to compare a recipe's with (docs/suspects.md).
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from tools.known_folder import ABOUT_THE_FOLDER, Folder, add_folder, read_folder
from urnet.core import cli
from urnet.core.checks import InputError

EPILOG = f"""\
{ABOUT_THE_FOLDER}
Each line is one way to treat the rows: all alike; weighted by label_quality's instance_weight, or by relevance^1/2
in_classes as recipes/folder.yaml draws them; cleanlab's CleanLearning (extra `benchmark`), which leaves out the labels
it takes for wrong; only the rows with right labels; all labels corrected. Each column is one strength C of
scikit-learn's logistic regression (classes balanced). Figures are class-averaged top-1 on the validation pictures in
percent, mean and standard deviation over --seeds, which divide the rows into folds.

exit codes: 0 done, 1 failed while running, 2 bad usage or bad input
"""


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(
        prog="tools/score_classifiers.py",
        description="Measure how much row weights help other libraries' classifiers on kept features.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_folder(p)
    add = p.add_argument
    add("--strengths", default="0.1,0.03,0.01,0.003", metavar="C,C", help="[0.1,0.03,0.01,0.003]")
    add("--seeds", default="0,1,2", metavar="N,N", help="[0,1,2]")
    add("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> None:
    """Read, train, print."""
    args = parser().parse_args(argv)
    if importlib.util.find_spec("cleanlab") is None:
        raise InputError("cleanlab is not installed; pip install -e '.[benchmark]' brings it")
    strengths, seeds = _numbers("--strengths", args.strengths, float), _numbers("--seeds", args.seeds, int)
    folder = read_folder(args)
    print(f"{'rows':28}" + "".join(f"{f'C={strength:g}':>16}" for strength in strengths))
    for name, of_seeds in ways(folder, seeds):
        cells = []
        for strength in strengths:
            figures = [accuracy(folder, labels, weight, strength) for labels, weight in of_seeds]
            cells.append(_cell(figures))
        print(f"{name:28}" + "".join(cells), flush=True)
    print(
        f"{'cleanlab CleanLearning':28}"
        + "".join(_cell([clean_learning(folder, strength, seed) for seed in seeds]) for strength in strengths)
    )


def ways(folder: Folder, seeds: Sequence[int]) -> Iterator[tuple[str, list[tuple[np.ndarray, np.ndarray]]]]:
    """(name, for each seed the labels (n,) and weights (n,) float64 that a classifier learns from)."""
    from urnet.reweight.label_quality import label_quality

    n_classes, given, true = len(folder.names), folder.given, folder.true
    found = [label_quality(folder.features, given, n_classes, groups=folder.groups, seed=seed) for seed in seeds]
    yield "all alike", [(given, np.ones(len(given)))]
    yield "instance_weight", [(given, part["instance_weight"].astype(np.float64)) for part in found]
    yield (
        "relevance^1/2 in_classes",
        [(given, np.sqrt(part["relevance"].astype(np.float64)) * part["in_classes"]) for part in found],
    )
    yield "right labels only", [(given, (given == true).astype(np.float64))]
    yield "all labels corrected", [(np.maximum(true, 0), (true >= 0).astype(np.float64))]


def accuracy(folder: Folder, labels: np.ndarray, weight: np.ndarray, strength: float) -> float:
    """Class-averaged top-1 in percent of logistic regression on weighted rows; classes have equal weight."""
    model, used = _regression(strength), weight > 0
    mass = np.bincount(labels, weight, len(folder.names))
    even = weight / mass[labels] * (len(labels) / (mass > 0).sum())  # balanced as it counts weights, not rows
    model.fit(folder.features[used], labels[used], even[used])
    return _of(folder, model.predict(folder.val_features))


def clean_learning(folder: Folder, strength: float, seed: int) -> float:
    """The same of cleanlab's CleanLearning around it."""
    from cleanlab.classification import CleanLearning

    one = {"n_jobs": 1}  # its processes would print when they are ended
    model = CleanLearning(_regression(strength, class_weight="balanced"), seed=seed, find_label_issues_kwargs=one)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cleanlab's own, on what it installs
        model.fit(folder.features, folder.given)
    return _of(folder, model.predict(folder.val_features))


def _regression(strength: float, class_weight: str | None = None):  # type: ignore[no-untyped-def]
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=1000, class_weight=class_weight)


def _of(folder: Folder, predicted: np.ndarray) -> float:
    right = predicted == folder.val_labels
    return 100 * float(np.mean([right[folder.val_labels == c].mean() for c in np.unique(folder.val_labels)]))


def _cell(figures: Sequence[float]) -> str:
    return f"{f'{np.mean(figures):.2f} ± {np.std(figures):.2f}':>16}"


def _numbers(flag: str, text: str, kind: type) -> list:
    """The numbers of a flag's text."""
    try:
        found = [kind(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{flag}: found {text!r}; numbers separated by commas are accepted") from None
    if not all(0 < value < np.inf if kind is float else value >= 0 for value in found):
        raise InputError(f"{flag}: found {text!r}; {'numbers above 0' if kind is float else '0 or more'} are accepted")
    return found


if __name__ == "__main__":
    sys.exit(cli.run(main))
