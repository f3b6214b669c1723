"""Level 2: soft targets, mixup, and the weighted cross entropy every training step minimises."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F

from urnet.sampler import MIXUP, draw_key


def soft_targets(labels: paddle.Tensor, n_classes: int, label_smoothing: float = 0.0) -> paddle.Tensor:
    """Labels (B,) integer -> target distributions (B, n_classes) float32.

    With smoothing e a row is (1 - e) onehot + e / n_classes (Szegedy et al. 2016).
    """
    targets = F.one_hot(labels, n_classes)
    if label_smoothing:
        targets = targets * (1 - label_smoothing) + label_smoothing / n_classes
    return targets


def weighted_cross_entropy(
    logits: paddle.Tensor, weighted_targets: paddle.Tensor, total_weight: float
) -> paddle.Tensor:
    """Scalar float32: -Σ_i Σ_c T_ic log softmax(logits_i)_c / W.

    ``logits`` (B, C), any float type; ``weighted_targets`` T (B, C): each row's target distribution times
    its weight, so that T_i sums to w_i. ``total_weight`` W: Σ w over the *whole* update, all micro-batches
    and processes, so that micro-batches' gradients add up to the large batch's. W = 0 gives 0, gradient 0.
    """
    log_p = F.log_softmax(logits.astype("float32"), axis=-1)
    return -(weighted_targets * log_p).sum() / (total_weight if total_weight > 0 else 1.0)


class Mixup:
    """One update's mixup (Zhang et al. 2018): row i becomes lam * row i + (1 - lam) * row partner[i].

    ``lam`` ~ Beta(alpha, alpha), one an update, and ``partner``, a permutation of the update's rows, are a
    function of (seed, stage, step). Images and weighted targets w_i t_i are mixed alike. So a weight goes
    with its own label and a row without weight (an unreadable image) lends none; Σ w is unchanged.
    """

    def __init__(self, alpha: float, n_rows: int, *, seed: int, stage: str, step: int) -> None:
        rng = np.random.default_rng([MIXUP, seed, draw_key(stage, step)])
        self.lam = float(rng.beta(alpha, alpha))
        self.partner = rng.permutation(n_rows)

    def mix(self, own: paddle.Tensor, partners: paddle.Tensor) -> paddle.Tensor:
        """lam * own + (1 - lam) * partners, float32."""
        return self.lam * own.astype("float32") + (1 - self.lam) * partners.astype("float32")
