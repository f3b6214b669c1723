"""The posterior of each row's class: a teacher's probabilities combined with votes of labels and texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from urnet.core.blocks import blocks
from urnet.core.checks import InputError, check_labels, check_same_rows
from urnet.reweight.evidence.decided import certain_rows
from urnet.reweight.evidence.label_noise import Vote

FLOOR = 0.01  # of the teacher's probability, times 1 / C: votes may bring back what the teacher ruled out
START = 0.6  # of the given label in the posterior that the estimation starts from
SETTLED = 1e-4  # the estimation ends when no accuracy moves farther
ROUNDING = 1e-3  # what a probability may exceed 1 by
BLOCK = 1 << 13  # rows held at once: few enough for the processor's cache


def posterior(
    labels: np.ndarray,
    n_classes: int,
    *,
    teacher_index: Any,
    teacher_prob: Any,
    given_prob: Any,
    text_label: np.ndarray | None = None,
    group: np.ndarray | None = None,
    decided: np.ndarray | None = None,
    voted: np.ndarray | None = None,
    noise: float = 1.0,
    text: float = 1.0,
    k: int = 10,
    iterations: int = 15,
    block: int = BLOCK,
) -> dict[str, np.ndarray]:
    """The distribution of each row's true class, given a teacher, its label and the class its text names.

    With y_i the given label and v_i the class named, over the candidates y_i, v_i and the teacher's top-k
    (ours; EM after Dawid & Skene 1979, with a classifier as the prior as in Raykar et al. 2010):

        q_i(c) ∝ teacher_i(c) P(y_i | c, group_i)^noise P(v_i | c)^text

    P(y | c, group) and P(v | c) are estimated from the same rows by EM (``label_noise.Vote``), from a
    posterior of 0.6 for y_i and 0.4 for v_i (y_i where no class is named, the teacher without texts). The
    teacher is taken as at least FLOOR / n_classes on every candidate. What its top-k leaves over stays in addition to
    the candidates: on the other classes, which vote as the average row does. Without votes q_i is the
    teacher. Where the teacher is certain of the given label and no text names another, q_i(y_i) = 1 exactly.

    Args: ``labels`` (N,) integers in 0..n_classes - 1. ``teacher_index`` (N, K) integers, distinct in a row
    where their ``teacher_prob`` (N, K) float16 or wider is above 0 (0: an unused place), and ``given_prob``
    (N,), its p_i(y_i); array-likes that can be sliced. The teacher must not have been trained on the row it
    scores (``out_of_fold``), or the label counts twice. ``text_label`` (N,) integers, -1 where the text names
    none. ``group`` (N,) integers 0..G-1: rows whose labels are alike in reliability, such as bins of the
    search rank. ``decided`` (N,) integers, 1: the label is certain, a person has decided it, 0: not; then q_i(y_i) = 1
    exactly, and the row tells what label it was given: ``voted`` (N,) integers, the labels that vote, -1 none; None:
    ``labels``. Exponents >= 0; a vote of exponent 0 is not used. ``iterations`` of EM at most, ``block``
    rows held at once.
    Returns ``index`` (N, k) int32 and ``prob`` (N, k) float16, best first, k cut to n_classes, prob 0 in
    unused places; ``given`` (N,) float32, q_i(y_i), in 0..1. A row of ``prob`` sums to 1 less what is on
    other classes.
    Raises InputError for arrays that do not fit each other or hold values outside their ranges.
    """
    check_probabilities(
        labels, n_classes, teacher_index=teacher_index, teacher_prob=teacher_prob, given_prob=given_prob
    )
    named = text_label if text > 0 else None
    certain = certain_rows(decided, labels)
    own = labels if voted is None else _checked_votes(labels, voted, n_classes, "voted")
    votes = [Vote(own, n_classes, power=noise, group=_checked_group(labels, group))] if noise > 0 else []
    if named is not None:
        _checked_votes(labels, named, n_classes, "text_label")
        votes.append(Vote(named, n_classes, power=text))
    evidence = Evidence(labels, n_classes, teacher_index, teacher_prob, given_prob, named, votes=votes, block=block)
    evidence.certain = certain
    if votes:
        evidence.estimate(iterations)
    n, k = len(labels), min(k, n_classes)
    index, prob, given = np.zeros((n, k), np.int32), np.zeros((n, k), np.float16), np.zeros(n, np.float32)
    for rows in evidence.blocks():
        classes, log_q = evidence.log_posterior(rows)
        q = np.exp(log_q)
        given[rows] = q[:, 0]
        index[rows], prob[rows] = largest(classes, q, k)
    return {"index": index, "prob": prob, "given": given}


class Evidence:
    """What is known of N rows, read block by block: never an N x C array.

    A row's *candidates* are its given label, the class its text names, and the teacher's top-k. The arrays
    are those of ``posterior``, checked there.
    """

    def __init__(
        self,
        labels: np.ndarray,
        n_classes: int,
        teacher_index: Any,
        teacher_prob: Any,
        given_prob: Any,
        named: np.ndarray | None = None,
        *,
        votes: Sequence[Vote] = (),
        block: int = BLOCK,
    ) -> None:
        self.labels, self.n_classes, self.named = labels, n_classes, named
        self._teacher = teacher_index, teacher_prob, given_prob
        self.votes, self._block = votes, block
        self.certain: np.ndarray | None = None  # bool (N,): the label is certain

    def blocks(self) -> Iterator[slice]:
        """The rows, a block at a time."""
        return blocks(len(self.labels), self._block)

    def teacher(self, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A block's candidates (b, k + 2), and log of the teacher of each, and of all other classes (b,).

        Column 0 is the given label, 1 the class the text names, then the teacher's top-k. A place that is
        empty or repeats another holds the given label and -inf. What the teacher's top-k leaves over is taken
        as spread evenly over the other classes.
        """
        label = self.labels[rows].astype(np.int64)[:, None]
        index, prob, given = (np.asarray(part[rows]) for part in self._teacher)
        index, prob, given = (index.astype(np.int64), prob.astype(np.float64), given.astype(np.float64)[:, None])
        prob[index == label] = 0  # column 0 has it
        text = label if self.named is None else self.named[rows].astype(np.int64)[:, None]
        known = (text < 0) | (text == label) | ((index == text) & (prob > 0)).any(1, keepdims=True)
        left = np.maximum(1 - given - prob.sum(1, keepdims=True), 0)
        others = self.n_classes - 1 - (prob > 0).sum(1, keepdims=True)
        each = left / np.maximum(others, 1)
        dead = np.concatenate([np.zeros_like(known), known, prob == 0], 1)
        classes = np.where(dead, label, np.concatenate([label, text, index], 1))
        value = np.maximum(np.concatenate([given, each, prob], 1), FLOOR / self.n_classes)
        n_else = np.maximum(others - ~known, 0)
        elsewhere = np.where(n_else * each > 0, self._log(each) + np.log(np.maximum(n_else, 1)), -np.inf)
        return classes, np.where(dead, -np.inf, self._log(value)), elsewhere[:, 0]

    @staticmethod
    def _log(prob: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(prob, 1e-30))

    def log_posterior(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """A block's candidates (b, K) and log q of each (b, K); what they lack to 1 is on the other classes.

        q(c) ∝ teacher(c) Π_votes P(vote | c)^power.
        """
        classes, log, elsewhere = self.teacher(rows)
        for vote in self.votes:
            log = log + vote.log_likelihood(rows, classes)
            elsewhere = elsewhere + vote.log_elsewhere(rows)
        every = np.concatenate([log, elsewhere[:, None]], 1)
        return classes, self._decided(rows, log - log_sum(every), 0, -np.inf)

    def _decided(self, rows: slice, values: np.ndarray, of_label: float, of_others: float) -> np.ndarray:
        """Values (b, K) of the candidates, those of certain rows replaced."""
        if self.certain is not None:
            values[self.certain[rows]] = of_others
            values[self.certain[rows], 0] = of_label
        return values

    def _start(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Candidates and posterior before any estimate: mostly the given label, partly text, else teacher."""
        classes, log, _ = self.teacher(rows)
        q = np.exp(log - log_sum(log))
        if self.named is not None:
            text = np.where(self.named[rows] < 0, self.labels[rows], self.named[rows])[:, None]
            alive = np.isfinite(log)
            q = (alive & (classes == text)).astype(np.float64)
        q *= 1 - START
        q[:, 0] += START
        return classes, self._decided(rows, q, 1, 0)

    def estimate(self, iterations: int) -> int:
        """Estimate the votes' reliability by EM, from the start; returns the iterations it took."""
        for number in range(iterations):
            for rows in self.blocks():
                if number == 0:
                    classes, q = self._start(rows)
                else:
                    classes, log_q = self.log_posterior(rows)
                    q = np.exp(log_q)
                for vote in self.votes:
                    vote.count(rows, classes, q)
            if max(vote.estimate() for vote in self.votes) < SETTLED:
                return number + 1
        return iterations


def log_sum(log: np.ndarray) -> np.ndarray:
    """log Σ_k e^log, (b, 1), of (b, K); no row may be -inf throughout."""
    top = log.max(1, keepdims=True)
    return top + np.log(np.exp(log - top).sum(1, keepdims=True))


def largest(classes: np.ndarray, values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k largest values of each row and their classes, largest first; places beyond the row hold 0."""
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    width = ((0, 0), (0, k - order.shape[1]))
    return (np.pad(np.take_along_axis(classes, order, 1), width), np.pad(np.take_along_axis(values, order, 1), width))


def check_probabilities(labels: np.ndarray, n_classes: int, **arrays: Any) -> None:
    """Raise InputError unless ``arrays``, three by name, fits the labels.

    They are classes (N, k) in 0..n_classes - 1, their probabilities (N, k), and that of the given label (N,).
    """
    check_labels(labels, n_classes)
    check_same_rows(labels=labels, **arrays)
    if not len(labels):
        raise InputError("labels: found no rows; at least one is needed")
    (index_name, index), (prob_name, prob), (_, given) = arrays.items()
    if len(index.shape) != 2 or index.shape != prob.shape or len(given.shape) != 1:
        raise InputError(
            f"{index_name} has shape {index.shape} and {prob_name} {prob.shape}; (N, k) for both is needed"
        )
    for rows in blocks(len(labels), BLOCK):
        for (name, part), high in zip(arrays.items(), (n_classes - 1, 1, 1), strict=True):
            values = np.asarray(part[rows])
            bad = ~((values >= 0) & (values <= high + ROUNDING))  # so that NaN is bad
            if bad.any():
                place = tuple(np.argwhere(bad)[0])
                row = rows.start + place[0]
                raise InputError(f"{name}: row {row} has {values[place]}; 0..{high} is accepted")


def _checked_votes(labels: np.ndarray, votes: np.ndarray, n_classes: int, name: str) -> np.ndarray:
    """Votes (N,) for classes, -1 for none."""
    check_same_rows(**{"labels": labels, name: votes})
    check_labels(votes[votes != -1], n_classes, name)
    return votes


def _checked_group(labels: np.ndarray, group: np.ndarray | None) -> np.ndarray | None:
    if group is not None:
        check_same_rows(labels=labels, group=group)
        check_labels(group, 1 << 16, "group")
    return group
