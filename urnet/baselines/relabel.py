"""PCI's cleaning: image weights, and other labels, from what a trained network predicts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from urnet.core.blocks import blocks
from urnet.core.checks import InputError
from urnet.reweight.evidence.posterior import BLOCK, check_probabilities
from urnet.reweight.sampling_weight import sampling_weight


def relabel(
    labels: np.ndarray,
    n_classes: int,
    *,
    given: np.ndarray,
    index: Any,
    prob: Any,
    power: float = 1.0,
    floor: float = 0.02,
    drop: float = 0.0,
    adopt: float = math.inf,
) -> dict[str, np.ndarray]:
    """Image weights and labels for the next round of "train, clean, train again" (PCI, WebVision 2020).

    Known of PCI: images are reweighted by a trained network, and training and cleaning alternate. The
    formulas are ours. With y_i the given label, p_i the network's probabilities, n_c the rows of class c:

        relabelled     arg max p_i != y_i and max p_i >= adopt: the label becomes z_i = arg max p_i
        cleaned out    of each class's other rows the floor(drop n_c) with the lowest p_i(y_i): weight 0
        image_weight   ∝ max(p_i(z_i), floor)^power on all other rows, z_i = y_i where the label stays; mean 1
                       over the n_c rows of the class

    Classes are those of the *given* labels throughout, for n_c, ranks and means. Ranks are inside the class,
    as one threshold for all would empty the tail. Ties are cleaned out by row order, the first rows first,
    but never a row with the highest p_i(y_i) of its class's not relabelled rows. So rows with equal probabilities
    get ones; and where all rows of a class would be relabelled, the one with the highest p_i(y_i), the first
    of equals, keeps its label: every class keeps a row of its own with weight > 0.

    Args: ``labels`` (N,) integers in 0..n_classes - 1; ``given`` (N,) = p_i(y_i), in 0..1; ``index`` (N, k)
    integers and ``prob`` (N, k), 0..1, the most probable classes, best first: arrays or array-likes that can
    be sliced, as a ``Measurement`` has them. ``power`` >= 0; 0 < ``floor`` <= 1; 0 <= ``drop`` < 1; ``adopt``
    > 0, compared with ``prob`` as it is stored: float16 holds all above 0.99976 as 1. Infinity: no label
    changes.
    Returns ``image_weight`` (N,) float32 >= 0 and ``clean_label`` (N,) int32.
    Raises InputError for arrays that do not fit each other, values or settings outside their ranges.
    """
    check_probabilities(labels, n_classes, index=index, prob=prob, given=given)
    if not 0 <= drop < 1:
        raise InputError(f"drop: found {drop}; 0 <= drop < 1 is accepted")
    if not adopt > 0:
        raise InputError(f"adopt: found {adopt}; a number above 0 is accepted, inf to keep all labels")
    given = np.minimum(given, np.float32(1))  # softmax may round above it
    counts = np.bincount(labels, minlength=n_classes)
    clean, confidence = _clean_labels(labels, given, counts, index, prob, adopt)
    kept = np.ones(len(labels), bool)
    if drop > 0:
        kept[_lowest(labels, given, counts, np.flatnonzero(clean == labels), drop)] = False
    own = labels[kept]
    weighed = sampling_weight(own, n_classes, relevance=confidence[kept], power=power, floor=floor)["instance_weight"]
    scale = counts / np.maximum(np.bincount(own, minlength=n_classes), 1)
    weight = np.zeros(len(labels), np.float32)
    weight[kept] = weighed * scale[own]
    return {"image_weight": weight, "clean_label": clean}


def _clean_labels(
    labels: np.ndarray, given: np.ndarray, counts: np.ndarray, index: Any, prob: Any, adopt: float
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) int32, the network's first class where it is sure enough, else the given label; (N,) float32, what
    the network believes of it."""
    clean, confidence = labels.astype(np.int32), given.astype(np.float32)
    for rows in blocks(len(labels), BLOCK):
        best, first = np.asarray(index[rows])[:, 0], np.asarray(prob[rows])[:, 0]
        sure = (first >= adopt) & (best != labels[rows])
        clean[rows] = np.where(sure, best, clean[rows])
        confidence[rows] = np.where(sure, np.minimum(first, 1), confidence[rows])
    moved = np.bincount(labels[clean != labels], minlength=len(counts))
    gone = np.flatnonzero(((moved == counts) & (counts > 0))[labels])  # rows of classes that would lose all
    by_class = gone[np.lexsort((-given[gone], labels[gone]))]
    first = by_class[np.unique(labels[by_class], return_index=True)[1]]
    clean[first], confidence[first] = labels[first], given[first]
    return clean, confidence


def _lowest(labels: np.ndarray, given: np.ndarray, counts: np.ndarray, rows: np.ndarray, drop: float) -> np.ndarray:
    """Those of ``rows`` that are cleaned out: floor(drop n_c) of each class, but none of its best."""
    rows = rows[np.lexsort((given[rows], labels[rows]))]  # stable: equal ones in the order of the rows
    label, value = labels[rows], given[rows]
    ends = np.cumsum(np.bincount(label, minlength=len(counts)))
    rank = np.arange(len(rows)) - np.concatenate([[0], ends])[label]
    share = np.floor(np.round(drop * counts, 6))  # 0.29 * 100 is a little less than 29
    chosen: np.ndarray = rows[(rank < share[label]) & (value < value[ends[label] - 1])]
    return chosen
