"""The noise of labels: how reliable votes for a row's class are, estimated without the truth."""

from __future__ import annotations

import numpy as np

PRIOR_ROWS = 5.0  # rows' worth of belief in the average over classes (groups), where reliability is counted
SURE = 0.02  # accuracies are kept this far from 0 and 1 before their logits are added
LEAST = 1e-9  # of a likelihood: no vote rules a class out


class Vote:
    """One vote a row for its class, and how reliable it is: given labels, or the classes that texts name.

    The model of a vote v of a row of group g whose true class is c (Dawid & Skene 1979; the split into
    accuracy and spread, the groups and the shrinking: ours):

        P(v | c, g) = A[c, g] if v = c, else (1 - A[c, g]) D[c, v]
        logit A[c, g] = logit A_c + logit A_g - logit A

    A_c, A_g and A: how often rows of class c, of group g, and all rows vote rightly; D[c]: how the wrong
    votes of class c are spread. A_c and A_g are shrunk toward A, D[c] toward the spread of all wrong votes,
    and that toward the shares of all votes, by PRIOR_ROWS rows each. ``accuracy`` and ``spread`` hold A and
    D once ``estimate`` was called.

    Args: ``classes`` (N,) integers, -1 where a row does not vote; ``power``, the exponent of P, > 0;
    ``group`` (N,) integers 0..G-1, such as bins of a search rank, None: all rows alike.
    Memory: two C x C arrays of float32, 100 MB each at 5,000 classes: few compared with N rows, and looked up at
    once, where a sparse matrix would be searched.
    """

    def __init__(
        self, classes: np.ndarray, n_classes: int, *, power: float = 1.0, group: np.ndarray | None = None
    ) -> None:
        self.classes, self.power, self.group = classes, power, group
        self.n_groups = 1 if group is None else int(group.max()) + 1
        self.base = np.bincount(classes[classes >= 0], minlength=n_classes) + 1.0 / n_classes
        self.base /= self.base.sum()  # (C,) shares of the votes
        self.accuracy: np.ndarray | None = None  # A (C, G) float64
        self.spread = np.zeros((n_classes, n_classes), np.float32)  # D
        self._forget()

    def _forget(self) -> None:
        self._counts = np.zeros_like(self.spread)
        self._right, self._seen = np.zeros(self.n_groups), np.zeros(self.n_groups)

    def _groups(self, rows: slice) -> np.ndarray:
        return np.zeros(len(self.classes[rows]), np.int64) if self.group is None else self.group[rows]

    def log_likelihood(self, rows: slice, classes: np.ndarray) -> np.ndarray:
        """(b, K) float64: power * log P(vote | class) of each row's candidates; 0 without a vote."""
        assert self.accuracy is not None
        votes = self.classes[rows, None]
        right = self.accuracy[classes, self._groups(rows)[:, None]]
        wrong = (1 - right) * self.spread[classes, votes]
        likelihood = np.maximum(np.where(classes == votes, right, wrong), LEAST)
        return np.where(votes >= 0, self.power * np.log(likelihood), 0.0)

    def log_elsewhere(self, rows: slice) -> np.ndarray:
        """(b,) float64: the same for a row that shows none of its candidates: it votes as any row."""
        votes = self.classes[rows]
        return np.where(votes >= 0, self.power * np.log(self.base[votes]), 0.0)

    def count(self, rows: slice, classes: np.ndarray, posterior: np.ndarray) -> None:
        """Add a block of rows whose true class is ``classes`` with probability ``posterior``, (b, K)."""
        votes = self.classes[rows]
        voted = votes >= 0
        classes, posterior, votes = classes[voted], posterior[voted], votes[voted, None]
        n = len(self.spread)
        flat = (classes * n + votes).ravel()
        if n * n <= 1 << 16:  # else a block would cost more than its rows
            self._counts += np.bincount(flat, posterior.ravel(), n * n).reshape(n, n)
        else:
            np.add.at(self._counts.reshape(-1), flat, posterior.ravel().astype(np.float32))
        groups = self._groups(rows)[voted]
        self._right += np.bincount(groups, (posterior * (classes == votes)).sum(1), self.n_groups)
        self._seen += np.bincount(groups, minlength=self.n_groups)

    def estimate(self) -> float:
        """Set accuracy and spread from what was counted; returns the largest change of A."""
        counts, before = self._counts, self.accuracy
        right, total = np.diag(counts).astype(np.float64), counts.sum(1, dtype=np.float64)
        mean = right.sum() / max(total.sum(), LEAST)
        of_class = (right + PRIOR_ROWS * mean) / (total + PRIOR_ROWS)
        of_group = (self._right + PRIOR_ROWS * mean) / (self._seen + PRIOR_ROWS)
        logit = _logit(of_class)[:, None] + _logit(of_group) - _logit(np.array(mean))
        self.accuracy = 1 / (1 + np.exp(-logit))
        np.fill_diagonal(counts, 0)
        wrong = counts.sum(0, dtype=np.float64) + PRIOR_ROWS * self.base
        counts += (PRIOR_ROWS * wrong / wrong.sum()).astype(np.float32)
        np.fill_diagonal(counts, 0)
        counts /= np.maximum(counts.sum(1, keepdims=True), LEAST)
        self.spread = counts
        self._forget()
        return 1.0 if before is None else float(np.abs(self.accuracy - before).max())

    def table(self, group: int = 0) -> np.ndarray:
        """(C, C) float64: P(vote v | true class c) in row c, column v, of one group; rows sum to 1."""
        assert self.accuracy is not None
        accuracy = self.accuracy[:, group]
        return (1 - accuracy)[:, None] * self.spread + np.diag(accuracy)


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, SURE, 1 - SURE)
    return np.log(p / (1 - p))
