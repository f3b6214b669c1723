"""One call from features and labels to weights and suspects: the instance stage on bare arrays."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from urnet.reweight.evidence.out_of_fold import out_of_fold
from urnet.reweight.evidence.posterior import posterior
from urnet.reweight.evidence.ranks import class_ranks
from urnet.reweight.sampling_weight import sampling_weight

K = 20  # classes of a row that are looked at, as by a stage (measure.top_k)


def label_quality(
    features: Any,
    labels: np.ndarray,
    n_classes: int,
    *,
    folds: int = 5,
    shrinkage: float | Literal["auto"] = 0.1,
    power: float = 1.0,
    floor: float = 0.02,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """The quality of each label, a weight for its row, and a better label where there is one.

    The instance stage with ``evidence: {text: 0, rank_bins: 0, noise: 0}``, and equal to it in every byte:

        relevance        p_i(y_i) of a linear head that was not trained on row i      (``out_of_fold``)
        instance_weight  ∝ max(rank of relevance in its class, floor)^power, mean 1 in each class
                                                                     (``class_ranks``, ``sampling_weight``)
        suggested        the head's most probable class
        score            suggested_prob (1 - relevance) where suggested is not the given label, else 0: the
                         report's suspect score before the label stage (ours; docs/report.md)

    ``noise`` is 0, unlike in a recipe, because the head is the only evidence here. It has learned from the labels, so
    of a row whose true class is c it gives P(label | c); a vote of the label, P(y | c) once more, would bring
    a wrong label level with the right one. It is as good as the features: the classes must be nearly linear
    in them, and a network that was trained on these labels until it fits them has learned the wrong ones too.

    Args: ``features`` (N, d) finite floats, an array or an array-like read by slices; ``labels`` (N,)
    integers in 0..n_classes - 1; ``folds`` >= 2; ``shrinkage`` in 0..1, or "auto" (``out_of_fold``: better for wide
    features of few rows); ``power`` >= 0; 0 < ``floor`` <= 1.
    Returns (N,) arrays: ``relevance`` float32 in 0..1, ``instance_weight`` float32 > 0, ``suggested`` int32,
    ``suggested_prob`` and ``score`` float32 in 0..1. ``most_suspect(score, n)`` are the rows to look at.
    Raises InputError for arrays that do not fit each other, values or settings outside their ranges.
    """
    head = out_of_fold(features, labels, n_classes, folds=folds, shrinkage=shrinkage, k=K, seed=seed)
    found = posterior(
        labels,
        n_classes,
        teacher_index=head["index"],
        teacher_prob=head["prob"],
        given_prob=head["given"],
        noise=0.0,
        k=K,
    )
    relevance, suggested = head["given"], found["index"][:, 0]
    weighed = sampling_weight(labels, n_classes, relevance=class_ranks(relevance, labels), power=power, floor=floor)
    prob = found["prob"][:, 0].astype(np.float32)
    return {
        "relevance": relevance,
        "instance_weight": weighed["instance_weight"],
        "suggested": suggested,
        "suggested_prob": prob,
        "score": np.where(suggested != labels, prob * np.clip(1 - relevance, 0, 1), np.float32(0)),
    }
