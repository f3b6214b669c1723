"""Linear classifiers on frozen features, one a class, each with a C of its own."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from urnet.core.checks import InputError
from urnet.evaluation.average_precision import average_precision

JUDGED = 1 / 3  # of a class's positive and of its negative training images choose C
MOST_ITERATIONS = 1000


@dataclass(frozen=True)
class Scores:
    """``test`` float64 (m, C); of each class ``c`` and the average precision that chose it (nan: one C)."""

    test: np.ndarray
    c: np.ndarray
    judged: np.ndarray
    unfinished: int  # classifiers that stopped at MOST_ITERATIONS


def scaled(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both minus the mean of the training features, then every row of length 1 (ours; 0 stays 0).

    float32 (n, d) and (m, d). The same C then means much the same for any network.
    """
    mean = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    return _of_length_one(train - mean), _of_length_one(test - mean)


def _of_length_one(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def classify(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, names: Sequence[str], cs: Sequence[float], jobs: int = 1
) -> Scores:
    """Scores of the test rows for each class: ``train`` (n, d), ``labels`` (n, C) -1, 0, 1, ``test`` (m, d).

    A class's rows of label 0 are left out of its training. C is chosen where several are given: by the exact
    average precision on a third of the class's rows, of classifiers trained on the rest; of equals the
    smallest. The classifier is then trained on all of the class's rows. ``jobs``: threads, a class each; the
    result is the same. Raises InputError as ``check_counts`` does.
    """
    cs = sorted(cs)
    check_counts(labels, names, cs)
    # in float64 once, as LinearSVC would make a copy for every fit
    train, test = (np.ascontiguousarray(rows, np.float64) for rows in (train, test))
    done = Parallel(n_jobs=jobs, prefer="threads")(
        delayed(_one_class)(train, labels[:, c], test, cs) for c in range(len(names))
    )
    scores, chosen, judged, unfinished = zip(*done, strict=True)
    return Scores(np.stack(scores, axis=1), np.array(chosen), np.array(judged), sum(unfinished))


def check_counts(labels: np.ndarray, names: Sequence[str], cs: Sequence[float]) -> None:
    """Raise InputError for a class with too few positive or negative rows to train on, or to choose C by."""
    least, why = (1, "") if len(cs) == 1 else (2, ", to choose C")
    for label, kind in ((1, "positive"), (-1, "negative")):
        counts = (labels == label).sum(axis=0)
        if counts.min() < least:
            name = names[int(counts.argmin())]
            raise InputError(f"class {name}: {counts.min()} {kind} training images; {least} or more are needed{why}")


def _one_class(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, cs: Sequence[float]
) -> tuple[np.ndarray, float, float, int]:
    kept = np.flatnonzero(labels != 0)
    chosen, best, unfinished = cs[0], float("nan"), 0
    if len(cs) > 1:
        fit, judge = parts(labels)
        best = -1.0
        for c in cs:
            scores, stopped = _fit(train[fit], labels[fit], train[judge], c)
            unfinished += stopped
            found = float(average_precision(labels[judge], scores).exact)
            if found > best:
                chosen, best = c, found
    scores, stopped = _fit(train[kept], labels[kept], test, chosen)
    return scores, chosen, best, unfinished + stopped


def parts(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows that choose C: of 1 and of -1 a third each (one at least), at random."""
    rng = np.random.default_rng(0)
    fit, judge = [], []
    for label in (1, -1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        cut = max(1, round(JUDGED * len(rows)))
        judge.append(rows[:cut])
        fit.append(rows[cut:])
    return np.sort(np.concatenate(fit)), np.sort(np.concatenate(judge))


def _fit(train: np.ndarray, labels: np.ndarray, rows: np.ndarray, c: float) -> tuple[np.ndarray, int]:
    """Decision values (m,) of ``rows``, and 1 where training stopped before it was done."""
    # liblinear's dual solver draws from one generator of the whole process, which threads would share
    svm = LinearSVC(C=c, dual=False, max_iter=MOST_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        svm.fit(train, labels)
    return svm.decision_function(rows), int(svm.n_iter_ >= MOST_ITERATIONS)
