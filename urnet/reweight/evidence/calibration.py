"""Calibrates logits against targets that they were not trained on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

SCALES = (0.01, 10.0)  # where the scale, 1 / temperature, is looked for
PRIOR_ROWS = 10.0  # how firmly a class's bias is held at 0, in rows
FAR = -1e4  # stands for a logit of -inf, a class that cannot be


class Calibration(NamedTuple):
    """Probabilities are softmax(scale * logits + bias)."""

    scale: float
    bias: np.ndarray  # (C,) float64

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """(n, C) float32 log-probabilities."""
        found: np.ndarray = log_softmax(self.scale * logits + self.bias.astype(np.float32), axis=1)
        return found


def calibrate(logits: np.ndarray, index: np.ndarray, weight: np.ndarray) -> Calibration:
    """Bias-corrected temperature scaling (Alexandari et al. 2020): scale and biases of the least loss.

        -Σ_i Σ_j weight_ij log p_i(index_ij) / Σ weight + PRIOR_ROWS / 2n Σ_c bias_c²

    ``logits`` (n, C), held out, -inf for a class that cannot be; ``index`` (n, m) classes and ``weight``
    (n, m) >= 0: the targets, times what each row or class counts. The second term is ours: in a sample of few
    rows per class, biases would learn the sample by heart. Without any weight: scale 1, no bias.
    """
    n, n_classes = logits.shape
    total = weight.sum()
    if not total > 0:
        return Calibration(1.0, np.zeros(n_classes))
    logits = np.where(np.isfinite(logits), logits, FAR).astype(np.float64)
    target = np.zeros_like(logits)
    np.add.at(target, (np.arange(n)[:, None], index), weight / total)
    mass = target.sum(axis=1, keepdims=True)

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        scale, bias = np.exp(point[0]), point[1:]
        log_p = log_softmax(scale * logits + bias, axis=1)
        excess = mass * np.exp(log_p) - target
        value = -(target * np.maximum(log_p, FAR)).sum() + PRIOR_ROWS / (2 * n) * (bias @ bias)
        slope = excess.sum(axis=0) + PRIOR_ROWS / n * bias
        return value, np.concatenate([[scale * (excess * logits).sum()], slope])

    bounds = [tuple(np.log(SCALES)), *[(None, None)] * n_classes]
    found = minimize(loss, np.zeros(1 + n_classes), jac=True, method="L-BFGS-B", bounds=bounds).x
    return Calibration(float(np.exp(found[0])), found[1:])
