"""Two out-of-fold heads and the votes of each row's nearest neighbours, together: what class a row is of (ours)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from urnet.reweight.evidence.decided import CERTAIN
from urnet.reweight.evidence.folds import hashes_and_mean, joined
from urnet.reweight.evidence.out_of_fold import Scored, Settings, scored
from urnet.reweight.evidence.posterior import largest
from urnet.reweight.evidence.views import Roots, any_negative
from urnet.reweight.evidence.votes import Neighbours

ORDERING, SUGGESTING = 0.75, 0.5  # exponents of the neighbours' votes in addition to the heads
LEAST = 0.02  # the least that a row votes with
LEAST_SHARE = 1e-6  # of a class, before its logarithm


class Known(NamedTuple):
    """What is known of the rows that are judged: ``groups`` and ``decided`` (0 or 1) of ``label_quality``, ``inside``
    their in_classes (None: not known yet)."""

    groups: np.ndarray | None = None
    decided: np.ndarray | None = None
    inside: np.ndarray | None = None

    @property
    def of_heads(self) -> dict[str, Any]:
        """What ``scored`` is told."""
        return {"groups": self.groups, "decided": self.decided}

    @property
    def certain(self) -> np.ndarray | None:
        """bool (n,): whose label is certain; None where none is."""
        return None if self.decided is None or not (self.decided == CERTAIN).any() else self.decided == CERTAIN


class HeadsAndVotes(NamedTuple):
    """``head``: the first head's; ``relevance`` (n,) float32: the share of each given label, by which rows are ordered.

    ``classes`` (n, m) int32, the given one first, and their ``shares`` (n, m) float64 (q of ``label_quality``), which
    find the right class best. A class that is in a row twice has 0 the second time; a row sums to 1.
    """

    head: Scored
    relevance: np.ndarray
    classes: np.ndarray
    shares: np.ndarray

    def best(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` most probable classes (n, k) int32, best first, and their shares (n, k) float64."""
        return largest(self.classes, self.shares, k)


def heads_and_votes(
    features: Any, labels: np.ndarray, n_classes: int, settings: Settings, known: Known, power: float | None = None
) -> HeadsAndVotes:
    """What two heads and the votes of the nearest rows say together of each row's class: ``label_quality``'s formula.

    ``features`` (n, d) finite, ``labels`` (n,) in 0..n_classes - 1, of rows that are all readable and may show a class.
    Which of ``settings`` are quick, and the second head's shrinkage and seed, is decided here.
    ``power``: the exponent of the votes, of the order and the classes; None: ``ORDERING`` and ``SUGGESTING``, for
    features of a network that has not seen these labels.
    """
    of_order, of_classes = (ORDERING, SUGGESTING) if power is None else (power, power)
    used = features if any_negative(features) else Roots(features)
    hashes, centre = hashes_and_mean(used, settings.seed)
    keys = joined(hashes, known.groups)
    neighbours = Neighbours(used, labels, n_classes, keys=keys, centre=centre)
    settings = settings._replace(quick=True)
    first = scored(used, labels, n_classes, settings, **known.of_heads)
    classes, p = _candidates([first], labels, n_classes)
    right = _shares(p, neighbours.log_votes(classes), of_classes)[:, 0]
    weight = np.sqrt(np.maximum(right, LEAST))
    if known.certain is not None:
        weight = np.where(known.certain, 1, weight)
    again = settings._replace(shrinkage=first.shrinkage, seed=settings.seed + 1)
    second = scored(used, labels, n_classes, again, sample_weight=weight, **known.of_heads)
    classes, p = _candidates([first, second], labels, n_classes)
    ordering = _shares(p, neighbours.log_votes(classes, weight**2), of_order)
    suggesting = _shares(p, neighbours.log_votes(classes), of_classes)
    if known.certain is not None:  # so that what shows the same is as sure
        ordering[known.certain] = suggesting[known.certain] = np.eye(1, classes.shape[1])
    relevance = _of_pictures(classes, ordering, keys)[:, 0]
    shares = _of_pictures(classes, suggesting, keys)
    return HeadsAndVotes(first, relevance.astype(np.float32), classes, shares)


def _candidates(heads: list[Scored], labels: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each row the classes to choose among, (N, m) int32, the given one first; the heads' geometric mean, float64.

    They are the label and each head's best; a class that another head does not list has 0.01 / n_classes there at
    least. A class that is in a row twice has 0 the second time.
    """
    classes = np.concatenate([labels[:, None].astype(np.int32), *(head.columns["index"] for head in heads)], axis=1)
    log = np.zeros(classes.shape)
    for head in heads:
        p = np.full(classes.shape, 0.01 / n_classes)
        for index, prob in zip(head.columns["index"].T, head.columns["prob"].T, strict=True):
            p = np.where(classes == index[:, None], np.maximum(prob[:, None], np.float32(1e-6)), p)
        p = np.where(classes == labels[:, None], np.maximum(head.columns["given"][:, None], 1e-9), p)
        log += np.log(p) / len(heads)
    mean = np.exp(log)
    for column in range(1, classes.shape[1]):
        mean[(classes[:, :column] == classes[:, column, None]).any(axis=1), column] = 0
    return classes, mean


def _shares(p: np.ndarray, log_votes: np.ndarray, power: float) -> np.ndarray:
    """(N, m) float64, p times the votes to a power, scaled to sum 1 in each row."""
    joint = p * np.exp(power * (log_votes - log_votes.max(axis=1, keepdims=True)).astype(np.float64))
    shares: np.ndarray = joint / np.maximum(joint.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    return shares


def _of_pictures(classes: np.ndarray, shares: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The shares (N, m) of ``classes``, those of rows that show the same picture (equal ``keys``) made one: their
    geometric mean, in which a class that a row does not list has ``LEAST_SHARE``."""
    _, picture, rows_of = np.unique(keys, return_inverse=True, return_counts=True)
    several = np.flatnonzero(rows_of[picture] > 1)
    several = several[np.argsort(picture[several], kind="stable")]
    out = shares.copy()
    for rows in np.split(several, np.flatnonzero(np.diff(picture[several])) + 1) if len(several) else ():
        listed, place = np.unique(classes[rows], return_inverse=True)
        found = np.full((len(rows), len(listed)), LEAST_SHARE)
        row = np.arange(len(rows))[:, None]
        np.maximum.at(found, (row, place.reshape(len(rows), -1)), shares[rows])  # a class twice in a row has 0 once
        mean = np.exp(np.log(found).mean(axis=0))
        one = np.where(shares[rows] > 0, mean[place.reshape(len(rows), -1)], 0)
        out[rows] = one / one.sum(axis=1, keepdims=True)
    return out
