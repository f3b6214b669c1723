"""How many labels are still wrong, from what was decided so far and from the label quality of the rest (ours).

The probability that a label of quality q is wrong is taken as

    P(wrong | q) = sigmoid(a - b * logit(q))

Before anything is decided b is 1 and a such that the sum over all rows is the number of verdicts that call a label
wrong. Decisions move both: the most probable (a, b) under a normal prior of deviation 1.5 around that a and 0.5 around
1 (Newton's method). The number of wrong labels among the rows not decided is the sum of P over them; its variance has
two parts, that of the sum of independent rows, and that of (a, b) by the curvature at the maximum (Laplace).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

DEVIATIONS = (1.5, 0.5)  # of the prior of a and b; with 1 the range holds the truth less often (drawn lists)
LEAST = 1e-4  # label qualities have four decimals
NINE_IN_TEN = 1.6449  # deviations to both sides of a normal distribution that hold 90 % of it


class Remaining(NamedTuple):
    """Wrong labels among the ``rows`` that are not decided: the expected number, and where it is with 90 %."""

    wrong: float
    low: float
    high: float
    rows: int


class WrongLabels:
    """``label_quality`` (N,) in 0..1; ``suspected``: how many of the N labels verdicts call wrong.

    Rows of one quality are counted together, so that a call takes no longer for many rows than to count them.
    """

    def __init__(self, label_quality: np.ndarray, suspected: float) -> None:
        quality = np.clip(np.asarray(label_quality, np.float64), LEAST, 1 - LEAST)
        values, self._place, counts = np.unique(np.round(quality, 4), return_inverse=True, return_counts=True)
        self._logit = np.log(values) - np.log1p(-values)
        n = len(quality)
        self._prior = np.array([_shift(self._logit, counts, min(max(suspected, 0.5), n - 0.5)), 1.0]) if n else None

    def left(self, decided: np.ndarray, wrong: np.ndarray) -> Remaining:
        """How many of the rows that are not decided have a wrong label.

        ``decided`` bool (N,): a person has seen it; ``wrong`` bool (N,): its label is wrong, looked at where decided.
        """
        left = self._counts(~decided)
        n = int(left.sum())
        if not n or self._prior is None:
            return Remaining(0.0, 0.0, 0.0, 0)
        theta, covariance = _fit(self._logit, self._counts(decided), self._counts(decided & wrong), self._prior)
        p = _sigmoid(theta[0] - theta[1] * self._logit)
        spread = left * p * (1 - p)
        slope = np.array([spread.sum(), -(spread * self._logit).sum()])
        deviation = float(np.sqrt(spread.sum() + slope @ covariance @ slope))
        expected = float((left * p).sum())
        low, high = expected - NINE_IN_TEN * deviation, expected + NINE_IN_TEN * deviation
        return Remaining(expected, max(low, 0.0), min(high, float(n)), n)

    def _counts(self, rows: np.ndarray) -> np.ndarray:
        """How many of ``rows``, bool (N,), have each quality."""
        return np.bincount(self._place[rows], minlength=len(self._logit)).astype(np.float64)


def _shift(logit: np.ndarray, counts: np.ndarray, total: float) -> float:
    """The a with which the sum of sigmoid(a - logit) over all rows is ``total``, by bisection: the sum grows with a."""
    low, high = -40.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (counts * _sigmoid(middle - logit)).sum() < total else (low, middle)
    return (low + high) / 2


def _fit(logit: np.ndarray, n: np.ndarray, wrong: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most probable (a, b) and its covariance, where ``wrong`` of ``n`` decided rows of each quality are wrong."""
    design = np.stack([np.ones_like(logit), -logit], axis=1)
    precision = np.diag(1 / np.square(DEVIATIONS))

    def loss(theta: np.ndarray) -> float:
        z = design @ theta
        return float((n * np.logaddexp(0, z) - wrong * z).sum() + (theta - prior) @ precision @ (theta - prior) / 2)

    def curvature(theta: np.ndarray) -> np.ndarray:
        p = _sigmoid(design @ theta)
        return (design * (n * p * (1 - p))[:, None]).T @ design + precision

    theta = prior.copy()
    for _ in range(50):
        gradient = design.T @ (n * _sigmoid(design @ theta) - wrong) + precision @ (theta - prior)
        step = np.linalg.solve(curvature(theta), gradient)
        while loss(theta - step) > loss(theta) and np.abs(step).max() > 1e-7:  # it went too far
            step /= 2
        theta = theta - step
        if np.abs(step).max() < 1e-7:
            break
    return theta, np.linalg.inv(curvature(theta))


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(z / 2))
