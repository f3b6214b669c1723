"""Linear classifiers on frozen features, one per class, each with a C of its own: how good the features are."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import average_precision_score
from sklearn.svm import LinearSVC

from urnet.core.checks import InputError

HELD_OUT = 1 / 3  # of a class's positive and of its negative training images choose C
MOST_ITERATIONS = 1000


@dataclass(frozen=True)
class ProbeScores:
    """``test`` float64 (m, C); of each class ``c`` and the average precision that chose it (nan: one C)."""

    test: np.ndarray
    c: np.ndarray
    held_out: np.ndarray
    unfinished: int  # classifiers that stopped at the most iterations


def scaled(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both minus the mean of the training features, then every row of length 1 (ours; 0 stays 0).

    float32 (n, d) and (m, d). The same C then means much the same for any network.
    """
    mean = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    return _of_length_one(train - mean), _of_length_one(test - mean)


def _of_length_one(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def probe(
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    cs: Sequence[float],
    *,
    jobs: int = 1,
    most_iterations: int = MOST_ITERATIONS,
) -> ProbeScores:
    """Scores of the test rows for each class: ``train`` (n, d), ``labels`` (n, C) -1, 0, 1, ``test`` (m, d).

    A class's rows of label 0 are left out of its training. C is chosen where several are given: by the exact
    average precision on a third of the class's rows, of classifiers trained on the rest; of equals the
    smallest. The classifier is then trained on all of the class's rows, which ``check_counts`` finds enough.
    ``jobs``: threads, a class each; the result is the same.
    """
    # in float64 once, as LinearSVC would make a copy for every fit
    train, test = (np.ascontiguousarray(rows, np.float64) for rows in (train, test))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        done = Parallel(n_jobs=jobs, prefer="threads")(
            delayed(_one_class)(train, own, test, sorted(cs), most_iterations) for own in labels.T
        )
    scores, chosen, held_out, unfinished = zip(*done, strict=True)
    return ProbeScores(np.stack(scores, axis=1), np.array(chosen), np.array(held_out), sum(unfinished))


def check_counts(labels: np.ndarray, names: Sequence[str], cs: Sequence[float]) -> None:
    """Raise InputError for a class with too few positive or negative rows to train on, or to choose C by."""
    least, why = (1, "") if len(cs) == 1 else (2, ", to choose C")
    for label, kind in ((1, "positive"), (-1, "negative")):
        counts = (labels == label).sum(axis=0)
        if counts.min() < least:
            name = names[int(counts.argmin())]
            raise InputError(f"class {name}: {counts.min()} {kind} training images; {least} or more are needed{why}")


def _one_class(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, cs: Sequence[float], most_iterations: int
) -> tuple[np.ndarray, float, float, int]:
    chosen, best, unfinished = cs[0], float("nan"), 0

    def decide(rows: np.ndarray, c: float, of: np.ndarray) -> np.ndarray:
        nonlocal unfinished
        # liblinear's dual solver draws from one generator of the whole process, which threads would share
        svm = LinearSVC(C=c, dual=False, max_iter=most_iterations).fit(train[rows], labels[rows])
        unfinished += int(svm.n_iter_ >= most_iterations)
        return svm.decision_function(of)

    if len(cs) > 1:
        fit, held_out = split(labels)
        found = [average_precision_score(labels[held_out] == 1, decide(fit, c, train[held_out])) for c in cs]
        best = max(found)
        chosen = cs[found.index(best)]
    scores = decide(np.flatnonzero(labels), chosen, test)
    return scores, chosen, best, unfinished


def split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows that choose C: of 1 and of -1 a third each (one at least), at random."""
    rng = np.random.default_rng(0)
    fit, held_out = [], []
    for label in (1, -1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        cut = max(1, round(HELD_OUT * len(rows)))
        held_out.append(rows[:cut])
        fit.append(rows[cut:])
    return np.sort(np.concatenate(fit)), np.sort(np.concatenate(held_out))
