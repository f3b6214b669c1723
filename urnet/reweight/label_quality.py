"""One call from features and labels to weights and suspects: the instance stage on bare arrays, and more."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from urnet.core.checks import InputError, check_choice, check_labels, check_same_rows
from urnet.reweight.evidence.decided import CERTAIN, NONE, UNDECIDED, checked
from urnet.reweight.evidence.folds import check_features
from urnet.reweight.evidence.heads_and_votes import Known, heads_and_votes
from urnet.reweight.evidence.out_of_fold import Scored, Settings, scored
from urnet.reweight.evidence.posterior import posterior
from urnet.reweight.evidence.ranks import decided_ranks
from urnet.reweight.evidence.views import Rows
from urnet.reweight.off_topic import off_topic
from urnet.reweight.sampling_weight import sampling_weight

K = 20  # classes of a row that are looked at, as by a stage (measure.top_k)
UNKNOWN = 0.5  # the label quality of which nothing is known


def label_quality(
    features: Any,
    labels: np.ndarray,
    n_classes: int,
    *,
    folds: int | None = None,
    shrinkage: float | Literal["auto"] = "auto",
    evidence: Literal["all", "head"] = "all",
    groups: np.ndarray | None = None,
    readable: np.ndarray | None = None,
    decided: np.ndarray | None = None,
    power: float = 1.0,
    floor: float = 0.02,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """The quality of each label, a weight for its row, and a better label where there is one (ours).

        label_quality    relevance · in_classes: the one number to order by, low is bad
        relevance        p_i(y_i), how likely row i shows its label
        in_classes       how likely it shows any of the classes                               (``off_topic``)
        instance_weight  ∝ max(rank of relevance in its class, floor)^power, mean 1 in each class
                                                                     (``class_ranks``, ``sampling_weight``)
        suggested        the most probable class, of suggested_prob
        score            suggested_prob (1 - relevance) where suggested is not the given label, else 0: the
                         report's suspect score before the label stage (docs/report.md)

    With ``evidence="all"`` two witnesses say what class a row is of, neither having seen its label:

        relevance        p_i(y_i),  p_i(c) ∝ (head_i(c) head'_i(c))^½ votes'_i(c)^¾
        suggested        argmax q_i,  q_i(c) ∝ (head_i(c) head'_i(c))^½ votes_i(c)^½

    ``head_i`` is the linear head that was not trained on the row's fold (``out_of_fold``), ``votes_i`` are those of
    the 40 nearest other rows (``urnet.reweight.evidence.votes``). With r_i ∝ head_i votes_i^½ a second head' learns
    on other folds from rows weighted by r_j(y_j)^½, and in votes' a neighbour counts r_j(y_j): wrong labels teach and
    vote less. (Which class is suggested is found better by all neighbours alike.) Rows that show the same picture share
    the geometric mean of their p and of their q. Features without a negative
    value go in as their square roots (after RootSIFT, Arandjelović & Zisserman 2012), others as they are. Forms and
    exponents were chosen over 15 data sets with planted and human errors; docs/method.md has the figures.

    ``evidence="head"`` is the head alone on the features as they are: with ``shrinkage=0.1`` the instance stage of
    a recipe with ``evidence: {text: 0, rank_bins: 0, noise: 0}`` and as many folds, equal to it in every byte.
    ``noise`` is 0 there, unlike by default, because the head is the only evidence: it has learned from the labels,
    so of a row whose true class is c it gives P(label | c); a vote of the label, P(y | c) once more, would bring a
    wrong label level with the right one. All of it is as good as the features: the classes must be nearly linear in
    them, and a network that was trained on these labels until it fits them has learned the wrong ones too.

    Args: ``features`` (N, d) finite floats, an array or an array-like read by slices; ``labels`` (N,) integers in
    0..n_classes - 1; ``folds`` >= 2 (None: 10, of the head alone 5); ``shrinkage`` in 0..1, or "auto": the
    likeliest (``out_of_fold``); ``groups`` (N,) integers, rows of one group >= 0 show the same picture
    (``urnet.near_duplicates``): their labels are no evidence for each other, as those of equal rows are none;
    ``readable`` (N,) bool, False: nothing is known of the row, its features are not looked at; ``decided`` (N,)
    integers, what a person decided: 0 nothing, 1 that ``labels`` has the right class, 2 that the row shows none of the
    classes; ``power`` >= 0; 0 < ``floor`` <= 1.
    Returns (N,) arrays: ``label_quality``, ``relevance``, ``in_classes``, ``suggested_prob`` and ``score`` float32
    in 0..1, ``instance_weight`` float32 >= 0, ``suggested`` int32. A row of which nothing is known keeps its label with
    probability 0 and has 0.5 of label_quality: one that is not readable (weight and score 0, in_classes and relevance
    0.5), and the only picture of its class (its relevance is 1 over the classes with rows). A row whose label is
    certain has 1 for relevance, in_classes, label_quality and suggested_prob, and its label suggested; it teaches the
    heads of all folds with weight 1 and has a whole vote. One of none of the classes has 0 for all numbers, keeps its
    label, and neither teaches nor votes; undecided rows of its group show the same, so their in_classes is 0. Classes
    of two or three rows are judged, roughly. ``most_suspect(1 - label_quality, n)`` are the rows to look at.
    Raises InputError for arrays that do not fit each other, values or settings outside their ranges.
    """
    check_choice("evidence", evidence, ("all", "head"))
    labels = check_labels(np.asarray(labels), n_classes)
    check_features(features, labels)
    folds = folds if folds is not None else 10 if evidence == "all" else 5
    settings = Settings(folds=folds, shrinkage=shrinkage, k=K, seed=seed)
    decided = checked(decided, labels)
    rows = _judged(readable, decided, labels)
    groups = None if groups is None else np.asarray(groups)
    if rows is not None and len(rows) < len(labels):
        own, sure = (None if values is None else values[rows] for values in (groups, decided))
        inside = None if decided is None else _inside(features, labels, readable, groups, decided, seed)[rows]
        judged = _quality(Rows(features, rows), labels[rows], n_classes, settings, evidence, Known(own, sure, inside))
        found = {
            name: np.full(len(labels), UNKNOWN, np.float32) for name in ("label_quality", "relevance", "in_classes")
        }
        found |= {"suggested": labels.astype(np.int32), "suggested_prob": np.zeros(len(labels), np.float32)}
        for name, values in judged.items():
            found[name][rows] = values
        if decided is not None:
            _show_none(found, decided, groups)
    else:
        rows, known = np.arange(len(labels)), Known(groups, decided)
        found = _quality(features, labels, n_classes, settings, evidence, known)
    sure = None if decided is None else decided[rows] == CERTAIN
    rank = decided_ranks(found["relevance"][rows], labels[rows], sure)
    weighed = sampling_weight(labels[rows], n_classes, relevance=rank, power=power, floor=floor)
    weight = np.zeros(len(labels), np.float32)
    weight[rows] = weighed["instance_weight"]
    relevance, suggested, prob = found["relevance"], found["suggested"], found["suggested_prob"]
    return {
        "relevance": relevance,
        "instance_weight": weight,
        "suggested": suggested,
        "suggested_prob": prob,
        "score": np.where(suggested != labels, prob * np.clip(1 - relevance, 0, 1), np.float32(0)),
        "label_quality": found["label_quality"],
        "in_classes": found["in_classes"],
    }


def _judged(readable: Any, decided: np.ndarray | None, labels: np.ndarray) -> np.ndarray | None:
    """The rows that are readable and may show a class; None for all."""
    if decided is None or not (decided == NONE).any():
        return None if readable is None else _readable(readable, labels)
    rows = np.arange(len(labels)) if readable is None else _readable(readable, labels)
    rows = rows[decided[rows] != NONE]
    if not len(rows):
        raise InputError("decided: all readable rows have 2, none of the classes; at least one of a class is needed")
    return rows


def _inside(
    features: Any, labels: np.ndarray, readable: Any, groups: np.ndarray | None, decided: np.ndarray, seed: int
) -> np.ndarray:
    """in_classes (N,) of the readable rows, those that show none of the classes among them: they tell what is far."""
    rows = np.arange(len(labels)) if readable is None else np.flatnonzero(readable)
    own = None if groups is None else groups[rows]
    found = np.full(len(labels), UNKNOWN, np.float32)
    outside = decided[rows] == NONE
    found[rows] = off_topic(Rows(features, rows), labels=labels[rows], groups=own, outside=outside, seed=seed)[
        "in_classes"
    ]
    return found


def _show_none(found: dict[str, np.ndarray], decided: np.ndarray, groups: np.ndarray | None) -> None:
    """Of rows that show none of the classes, and of undecided ones that show the same: nothing is in the classes."""
    for name in ("label_quality", "relevance", "in_classes"):
        found[name][decided == NONE] = 0
    if groups is not None:
        same = (decided == UNDECIDED) & (groups >= 0) & np.isin(groups, groups[decided == NONE])
        found["in_classes"][same] = found["label_quality"][same] = 0


def _readable(readable: Any, labels: np.ndarray) -> np.ndarray:
    """The rows that are readable."""
    readable = np.asarray(readable)
    check_same_rows(labels=labels, readable=readable)
    if readable.ndim != 1 or readable.dtype != bool:
        raise InputError(
            f"readable: a one-dimensional boolean array is needed, found {readable.dtype} {readable.shape}"
        )
    if not readable.any():
        raise InputError("readable: found no readable row; at least one is needed")
    return np.flatnonzero(readable)


def _quality(
    features: Any, labels: np.ndarray, n_classes: int, settings: Settings, evidence: str, known: Known
) -> dict[str, np.ndarray]:
    """label_quality, relevance, in_classes, suggested and suggested_prob of rows that are all readable."""
    if evidence == "head":
        head = scored(features, labels, n_classes, settings, **known.of_heads)
        relevance, suggested, prob = _of_head(head, labels, n_classes)
    else:
        both = heads_and_votes(features, labels, n_classes, settings, known)
        head, relevance, (best, best_prob) = both.head, both.relevance, both.best(1)
        suggested, prob = best[:, 0], best_prob[:, 0].astype(np.float32)
    if known.inside is None:
        inside = off_topic(features, labels=labels, groups=known.groups, seed=settings.seed)["in_classes"]
    else:
        inside = known.inside
    if known.certain is not None:
        relevance, prob, inside = (np.where(known.certain, np.float32(1), part) for part in (relevance, prob, inside))
        suggested = np.where(known.certain, labels, suggested)
    return {
        "relevance": relevance,
        "suggested": np.where(head.seen, suggested, labels).astype(np.int32),
        "suggested_prob": np.where(head.seen, prob, 0).astype(np.float32),
        "in_classes": inside,
        "label_quality": (np.where(head.seen, relevance, UNKNOWN) * inside).astype(np.float32),
    }


def _of_head(head: Scored, labels: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Relevance, suggestion and its probability by the head alone, as a stage has them."""
    index, prob, given = (head.columns[name] for name in ("index", "prob", "given"))
    found = posterior(labels, n_classes, teacher_index=index, teacher_prob=prob, given_prob=given, noise=0.0, k=K)
    return given, found["index"][:, 0], found["prob"][:, 0].astype(np.float32)
