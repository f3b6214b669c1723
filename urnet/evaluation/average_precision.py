"""Average precision of a ranking: PASCAL VOC's two measures of classification, and scikit-learn's.

Rows of equal score count as one place of the ranking: all of them or none are above a threshold. So the
values do not depend on the order of the rows. VOC's development kit takes such rows one by one, as they come;
without equal scores nothing differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve

from urnet.core.checks import InputError

KINDS = ("eleven_point", "area", "exact")


class AveragePrecision(NamedTuple):
    """Of each of C classes, float64 (C,), 0 to 1, the more the better."""

    eleven_point: np.ndarray
    area: np.ndarray
    exact: np.ndarray


def average_precision(
    labels: np.ndarray, scores: np.ndarray, names: Sequence[str], where: str = "labels"
) -> AveragePrecision:
    """How well each class's ``scores`` put its positive rows before the negative ones.

    ``labels``: integers (n, C), 1 positive, -1 negative, 0 left out (VOC's difficult ones: neither right nor
    wrong wherever they are). ``scores``: (n, C), finite; only their order counts. With P(k) and R(k) the
    precision and recall of the rows that score at least as high as the k-th:

    - ``eleven_point``: mean over t = 0, 0.1 … 1 of max P(k) with R(k) >= t (VOC 2007: Everingham et al. 2010,
      "The PASCAL Visual Object Classes Challenge"). A recall of 3 in 10 is 0.3; the kit compares binary
      fractions and may call it less than 0.3.
    - ``area``: Σ (R(k) - R(k-1)) max over j >= k of P(j), the area under the precision made monotonous (VOC
      from 2010 on).
    - ``exact``: Σ (R(k) - R(k-1)) P(k), scikit-learn's ``average_precision_score``.

    ``exact`` <= ``area``. Raises InputError, which begins with ``where`` and names the class, for other labels,
    for scores that are not finite, and where no row of a class is positive.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    shape = len(scores), len(names)
    if labels.shape != shape or scores.shape != shape or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"{where}: found labels {labels.dtype} {labels.shape}, scores {scores.shape} and {len(names)} classes; "
            "integer labels and scores of rows x classes are needed"
        )
    each = [_of_class(labels[:, c], scores[:, c], f"{where}: class {name}") for c, name in enumerate(names)]
    return AveragePrecision(*np.array(each).T)


def _of_class(labels: np.ndarray, scores: np.ndarray, where: str) -> tuple[float, float, float]:
    for values, valid, accepted in (
        (labels, (labels >= -1) & (labels <= 1), "-1, 0 or 1 is"),
        (scores, np.isfinite(scores), "finite scores are"),
    ):
        if not valid.all():
            row = int(np.argmin(valid))
            raise InputError(f"{where}: found {values[row]} in row {row}; {accepted} accepted")
    kept = labels != 0
    positive, scores = labels[kept] == 1, scores[kept]
    if not positive.any():
        raise InputError(f"{where}: has no positive row; one or more is needed")
    precision, recall, _ = precision_recall_curve(positive, scores)  # recall 1 first; the last point is none of a row
    best = np.maximum.accumulate(precision[:-1])  # at this recall or a higher one
    # k/n and t/10 are rounded to the nearest float, so equal fractions compare as equal
    eleven = np.mean([precision[:-1][recall[:-1] >= t].max() for t in np.arange(11) / 10])
    area = -np.sum(np.diff(recall) * best)
    return float(eleven), float(area), float(average_precision_score(positive, scores))
