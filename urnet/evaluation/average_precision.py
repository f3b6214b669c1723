"""Average precision of a ranking: PASCAL VOC's two measures of classification, and scikit-learn's.

Rows of equal score count as one place of the ranking: all of them or none are above a threshold. So the
values do not depend on the order of the rows. VOC's development kit takes such rows one by one, as they come;
without equal scores nothing differs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from urnet.core.checks import InputError, check_same_rows

KINDS = ("eleven_point", "area", "exact")


class AveragePrecision(NamedTuple):
    """0 to 1, the more the better; a float each, or arrays (C,) of C classes."""

    eleven_point: np.ndarray
    area: np.ndarray
    exact: np.ndarray


def average_precision(labels: np.ndarray, scores: np.ndarray, where: str = "labels") -> AveragePrecision:
    """How well ``scores`` put the positive rows before the negative ones.

    ``labels``: integers (n,), 1 positive, -1 negative, 0 left out (VOC's difficult ones: neither right nor
    wrong wherever they stand). ``scores``: (n,), finite; only their order counts. With P(k) and R(k) the
    precision and recall of the rows that score at least as high as the k-th:

    - ``eleven_point``: mean over t = 0, 0.1 … 1 of max P(k) with R(k) >= t (VOC 2007: Everingham et al. 2010,
      "The PASCAL Visual Object Classes Challenge"). R >= t is compared in whole numbers; the kit compares
      binary fractions and may call a recall of exactly 0.3 less than 0.3.
    - ``area``: Σ (R(k) - R(k-1)) max over j >= k of P(j), the area under the precision made monotonous (VOC
      from 2010 on).
    - ``exact``: Σ (R(k) - R(k-1)) P(k), precision as it is: scikit-learn's ``average_precision_score``, equal
      scores included.

    ``exact`` <= ``area``. Raises InputError, which begins with ``where``, for other labels, for scores that
    are not finite, and where no row is positive.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    _check(labels, scores, where)
    kept = labels != 0
    labels, scores = labels[kept], scores[kept]
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # of the runs of equal scores
    hits = np.cumsum(labels[order] == 1, dtype=np.int64)[ends]
    precision, n = hits / (ends + 1), int(hits[-1])
    best = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or a higher one
    gained = np.diff(hits, prepend=0)
    tenths = np.searchsorted(10 * hits, np.arange(11) * n)  # the first k with R(k) >= t
    return AveragePrecision(best[tenths].mean(), (gained * best).sum() / n, (gained * precision).sum() / n)


def class_average_precision(
    labels: np.ndarray, scores: np.ndarray, names: list[str], where: str = "labels"
) -> AveragePrecision:
    """``average_precision`` of each class: labels and scores (n, C), C ``names`` for messages."""
    check_same_rows(labels=labels, scores=scores)
    if labels.shape != scores.shape or labels.ndim != 2 or labels.shape[1] != len(names):
        raise InputError(
            f"{where}: labels {labels.shape}, scores {scores.shape} and {len(names)} classes; rows x classes is needed"
        )
    each = [average_precision(labels[:, c], scores[:, c], f"{where}: class {name}") for c, name in enumerate(names)]
    return AveragePrecision(*(np.array(values) for values in zip(*each, strict=True)))


def _check(labels: np.ndarray, scores: np.ndarray, where: str) -> None:
    check_same_rows(labels=labels, scores=scores)
    if labels.ndim != 1 or scores.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"{where}: found {labels.dtype} {labels.shape} and scores {scores.shape}; two arrays of one "
            "dimension are needed, the labels integers"
        )
    odd = np.flatnonzero((labels < -1) | (labels > 1))
    if len(odd):
        raise InputError(f"{where}: found {labels[odd[0]]} in row {odd[0]}; -1, 0 or 1 is accepted")
    if not np.isfinite(scores).all():
        raise InputError(f"{where}: the score of row {int(np.argmin(np.isfinite(scores)))} is not finite")
    if not (labels == 1).any():
        raise InputError(f"{where}: has no positive row; one or more is needed")
