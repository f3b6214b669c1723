"""Losses that wrong labels move less than they move the cross entropy.

``T`` (B, C) are weighted targets everywhere: each row's target distribution t_i times its weight w_i.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import paddle
import paddle.nn.functional as F

from urnet.config.remedies import Loss
from urnet.nn.losses import Weight, divisor, weighted_cross_entropy

LEAST = 1e-4  # probabilities stay this far from 0 and 1 where a logarithm of them is taken (ELR)


def weighted_loss(
    logits: paddle.Tensor, weighted_targets: paddle.Tensor, total_weight: Weight, loss: Loss
) -> paddle.Tensor:
    """Scalar float32: the loss a stage names, Σ_i w_i l_i / W. ``total_weight`` W as in the cross entropy."""
    if loss.name == "generalised":
        return generalised_cross_entropy(logits, weighted_targets, total_weight, q=loss.q)
    if loss.name == "symmetric":
        return symmetric_cross_entropy(
            logits, weighted_targets, total_weight, alpha=loss.alpha, beta=loss.beta, log_zero=loss.log_zero
        )
    return weighted_cross_entropy(logits, weighted_targets, total_weight)


def generalised_cross_entropy(
    logits: paddle.Tensor, weighted_targets: paddle.Tensor, total_weight: Weight, *, q: float
) -> paddle.Tensor:
    """Σ_i Σ_c T_ic (1 - p_ic^q) / q / W, p = softmax(logits), 0 < q <= 1 (Zhang and Sabuncu 2018).

    q = 1 is the mean absolute error (halved), q towards 0 the cross entropy. Soft targets enter as the mean
    over their classes (ours; for a label it is the paper's formula).
    """
    log_p = F.log_softmax(logits.astype("float32"), axis=-1)
    return (weighted_targets * (1 - (q * log_p).exp())).sum() / (q * divisor(total_weight))


def symmetric_cross_entropy(
    logits: paddle.Tensor,
    weighted_targets: paddle.Tensor,
    total_weight: Weight,
    *,
    alpha: float,
    beta: float,
    log_zero: float,
) -> paddle.Tensor:
    """Σ_i w_i (alpha CE_i + beta RCE_i) / W (Wang et al. 2019).

    RCE_i = -Σ_c p_ic max(log t_ic, log_zero): prediction and target change places. ``log_zero`` < 0 is the
    paper's A.
    """
    log_p = F.log_softmax(logits.astype("float32"), axis=-1)
    weight = weighted_targets.sum(axis=1, keepdim=True)
    targets = weighted_targets / (weight + (weight == 0).astype("float32"))
    surprise = -paddle.log(paddle.clip(targets, min=math.exp(log_zero)))
    rows = -alpha * weighted_targets * log_p + beta * weight * log_p.exp() * surprise
    return rows.sum() / divisor(total_weight)


def early_learning(
    logits: paddle.Tensor,
    weight: paddle.Tensor,
    total_weight: Weight,
    memory: tuple[paddle.Tensor, paddle.Tensor],
    *,
    momentum: float,
) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
    """Early-learning regularisation (Liu et al. 2020), Σ_i w_i log(1 - Σ_c m_ic p_ic) / W, and the memory.

    p = softmax(logits), clipped to 1e-4 .. 1 - 1e-4. The memory m_i, an average of what the network predicted of
    row i, moves first, without a gradient: m <- momentum m + (1 - momentum) p / Σ p. Where m agrees with p
    the term falls, so a row is held at what was learned of it early, before the wrong labels were.

    The paper keeps all C numbers per row, 322 GB for 16 million rows and 5,000 classes. Here the k largest stay
    and the others count as 0 (ours); with k = C it is the paper's.

    Args: ``logits`` (B, C); ``weight`` (B,) >= 0; ``memory``: classes (B, k) int64 and their values (B, k)
    float32, 0 where nothing is known yet; ``momentum`` in [0, 1).
    Returns the term, a scalar (the caller multiplies it), and the new classes and values, (B, k) both.
    """
    p = _bounded(F.softmax(logits.astype("float32"), axis=-1))
    classes, values = remembered(p.detach(), memory, momentum=momentum)
    return _held(p, total_weight, [(weight, classes, values)]), classes, values


def remembered(
    p: paddle.Tensor, memory: tuple[paddle.Tensor, paddle.Tensor], *, momentum: float
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """The memory of rows, as ``early_learning`` takes it, after the probabilities ``p`` (B, C) have moved it."""
    index, kept = memory
    predicted = _bounded(p)
    moved = (1 - momentum) * predicted / predicted.sum(axis=1, keepdim=True)
    moved = paddle.put_along_axis(moved, index, momentum * kept, 1, reduce="add")
    values, classes = paddle.topk(moved, index.shape[1], axis=1)
    return classes, values


Held = tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]  # weights (B,), classes and values (B, k) of rows


def early_learning_mixed(logits: paddle.Tensor, total_weight: Weight, mixed: Sequence[Held]) -> paddle.Tensor:
    """The term of rows that are mixed of others (ELR+, Liu et al. 2020), a scalar: Σ_i w_i log(1 - Σ_c m_ic p_ic) / W.

    ``logits`` (B, C) are of the mixed images. ``mixed`` has the rows that went into them: weights w_ij (B,) >= 0, their
    share of the mix times their own weight, and their memory, which has moved already (``remembered``).
    w_i = Σ_j w_ij and m_i = Σ_j w_ij m_ij / w_i (weights: ours): a row without weight lends no memory. With equal
    weights and shares lam and 1 - lam it is the paper's; of one row each it is the term of ``early_learning``.
    """
    return _held(_bounded(F.softmax(logits.astype("float32"), axis=-1)), total_weight, mixed)


def _held(p: paddle.Tensor, total_weight: Weight, mixed: Sequence[Held]) -> paddle.Tensor:
    agreements = [(values * paddle.take_along_axis(p, classes, 1)).sum(axis=1) for _, classes, values in mixed]
    weight, agreement = mixed[0][0], agreements[0]
    if len(mixed) > 1:
        weights = paddle.stack([w for w, _, _ in mixed])
        weight = weights.sum(axis=0)
        shares = weights / paddle.where(weight > 0, weight, paddle.ones_like(weight))
        agreement = (shares * paddle.stack(agreements)).sum(axis=0)
    return (weight * paddle.log(1 - agreement.clip(max=1 - LEAST))).sum() / divisor(total_weight)


def _bounded(p: paddle.Tensor) -> paddle.Tensor:
    return p.clip(LEAST, 1 - LEAST)
