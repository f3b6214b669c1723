"""Several networks' predictions of the same images combined into one, in blocks of rows.

Known of the winners of 2018 is that 29 networks voted "per class by probability and without probability"; the
formulas here are ours. M members, C classes; p_m(c) is member m's probability of class c, of which its file
lists the k largest.

*Classes that a member does not list* share what its listed ones leave of 1: f_m = (1 - Σ listed) / (C - k),
held between 1e-10 and the smallest listed one (ours). With k = C nothing is missing and nothing approximate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from urnet.core.checks import InputError, check_choice, check_same_rows
from urnet.core.top_k import topk
from urnet.evaluation.prediction_reader import Predictions

METHODS = ("mean", "weighted", "geometric", "vote_prob", "vote")
TINY = 1e-10  # the smallest probability of a logarithm
BLOCK_BYTES = 5 << 20  # of the sums (rows, C) in float64: what fits a cache


def block_rows(n_classes: int) -> int:
    """Rows of a block whose sums, float64 (rows, n_classes), stay in ``BLOCK_BYTES``; 1 to 4096.

    A power of two, so that blocks and the record batches of a file end together and nothing is copied.
    """
    return 1 << min(BLOCK_BYTES // (8 * n_classes) or 1, 4096).bit_length() - 1


def missing_probability(block: Predictions, n_classes: int) -> np.ndarray:
    """f (B,) float64, the probability of a class that a row does not list; 0 where all are listed."""
    scores = block.scores.astype(np.float64)
    k = scores.shape[1]
    if k in (0, n_classes):
        return np.zeros(len(block))
    spread = np.maximum((1 - scores.sum(axis=1)) / (n_classes - k), TINY)
    return np.minimum(spread, scores[:, -1])


@dataclass(frozen=True)
class Share:
    """What a member adds to a block's sums: ``values`` at ``places`` of the flat (B, C), and its ``weight`` (B,).

    The weight is 0 in rows without a prediction.
    """

    places: np.ndarray
    values: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Sums:
    """A block's weighted sums: class c of row i has (totals[i, c] + base[i]) / mass[i].

    ``totals`` (B, C); ``base`` (B,), what a class that nobody lists has; ``mass`` (B,), the weights of the
    members that have a prediction. ``shares``: each member's part of them.
    """

    totals: np.ndarray
    base: np.ndarray
    mass: np.ndarray
    shares: list[Share]

    @property
    def predicted(self) -> np.ndarray:
        """Rows (B,) bool for which a member with a weight has a prediction."""
        return self.mass > 0


@dataclass(frozen=True)
class Ensemble:
    """How M members become one. All fields are checked by ``make_ensemble``."""

    method: str
    weights: np.ndarray
    n_classes: int
    votes: int

    def sums(self, blocks: Sequence[Predictions]) -> Sums:
        """The members' sums over the same rows.

        A member without a prediction for a row is left out there, and the other weights count in full.
        """
        n = check_same_rows(**{f"{i}: {block.file}": block for i, block in enumerate(blocks)})
        base, mass, shares = np.zeros(n), np.zeros(n), []
        totals = np.zeros(n * self.n_classes)
        start = self.n_classes * np.arange(n)[:, None]
        for block, weight in zip(blocks, self.weights, strict=True):
            values, rest = self._terms(block)
            own = np.where(block.readable, weight, 0.0)
            mass += own
            base += own * rest
            places = (start + block.classes[:, : values.shape[1]]).ravel()
            shares.append(Share(places, (own[:, None] * values).ravel(), own))
            totals[places] += shares[-1].values  # each place once, but where there is no prediction and it adds 0
        return Sums(totals.reshape(n, self.n_classes), base, mass, shares)

    def best(self, sums: Sums, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best classes (B, k) int64, best first, and their scores float32; scores of 0 without a prediction.

        Equal scores are ordered by class number. Scores, 0..1: mean and weighted Σ w_m p_m(c), Σ w = 1;
        geometric Π p_m(c)^(1/M), normalised over all C classes; vote_prob Σ p_m(c) / M over the members that
        have c among their V best; vote: a member's V best get V, V - 1, … 1 points, and the score is c's
        share of all points (Borda).
        """
        classes, totals = topk(sums.totals, k)
        mass = np.where(sums.predicted, sums.mass, 1)[:, None]
        scores = (totals + sums.base[:, None]) / mass
        if self.method == "geometric":
            every = (sums.totals + sums.base[:, None]) / mass
            scores = np.exp(scores - scores[:, :1]) / np.exp(every - scores[:, :1]).sum(axis=1, keepdims=True)
        elif self.method == "vote":
            scores = scores / (self.votes * (self.votes + 1) / 2)
        return classes, np.where(sums.predicted[:, None], scores, 0).astype(np.float32)

    def _terms(self, block: Predictions) -> tuple[np.ndarray, np.ndarray]:
        """What a member adds to its listed classes (B, k), beyond what it adds to every class (B,)."""
        scores, none = block.scores.astype(np.float64), np.zeros(len(block))
        if self.method == "vote":
            points = np.arange(self.votes, 0, -1, dtype=np.float64)[: scores.shape[1]]
            return np.broadcast_to(points, (len(block), len(points))), none
        if self.method == "vote_prob":
            return scores[:, : self.votes], none
        missing = missing_probability(block, self.n_classes)
        if self.method == "geometric":
            scores, missing = np.log(np.maximum(scores, TINY)), np.log(np.maximum(missing, TINY))
        return scores - missing[:, None], missing


def make_ensemble(
    method: str, n_members: int, n_classes: int, *, weights: Sequence[float] | None = None, votes: int = 5
) -> Ensemble:
    """Check and make an Ensemble. ``weights`` (M,), not negative, with ``weighted`` only; their sum does not
    matter. ``votes``: classes that a member votes for, 1..n_classes. Raises InputError.
    """
    check_choice("--method", method, METHODS)
    if not 1 <= votes <= n_classes:
        raise InputError(f"--votes: found {votes}; 1..{n_classes} is accepted")
    if (weights is not None) != (method == "weighted"):
        raise InputError("only --method weighted takes weights, and it needs them (--weights, or --fit)")
    values = np.ones(n_members) if weights is None else np.asarray(weights, np.float64)
    if values.shape != (n_members,):
        raise InputError(f"weights: found {len(values)} for {n_members} members; one each is accepted")
    if not (np.isfinite(values).all() and (values >= 0).all() and values.sum() > 0):
        raise InputError(f"weights: found {values.tolist()}; numbers from 0, not all 0, are accepted")
    return Ensemble(method, values, n_classes, votes)
