"""Soft targets, and the losses a training step minimises: cross entropy, or that of bags."""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F

from urnet.core.checks import InputError

Weight = Any  # a number, or a scalar tensor where several processes add theirs up


def soft_targets(labels: paddle.Tensor, n_classes: int, label_smoothing: float = 0.0) -> paddle.Tensor:
    """Labels (B,) integer -> target distributions (B, n_classes) float32.

    With smoothing e a row is (1 - e) onehot + e / n_classes (Szegedy et al. 2016).
    """
    targets = F.one_hot(labels, n_classes)
    if label_smoothing:
        targets = targets * (1 - label_smoothing) + label_smoothing / n_classes
    return targets


def sparse_targets(
    index: paddle.Tensor, prob: paddle.Tensor, n_classes: int, label_smoothing: float = 0.0
) -> paddle.Tensor:
    """Classes (B, k) integer and their probabilities (B, k) -> target distributions (B, n_classes) float32.

    The rows of ``prob`` are taken as they are; what wrote them made them sum to 1. A class that is in a row twice
    gets the sum (so unused places may hold any class with probability 0). Smoothing as in ``soft_targets``:
    (1 - e) t + e / n_classes.
    """
    targets = paddle.zeros([index.shape[0], n_classes])
    targets = paddle.put_along_axis(targets, index, prob.astype("float32"), 1, reduce="add")
    if label_smoothing:
        targets = targets * (1 - label_smoothing) + label_smoothing / n_classes
    return targets


def weighted_cross_entropy(
    logits: paddle.Tensor, weighted_targets: paddle.Tensor, total_weight: Weight
) -> paddle.Tensor:
    """Scalar float32: -Σ_i Σ_c T_ic log softmax(logits_i)_c / W.

    ``logits`` (B, C), any float type; ``weighted_targets`` T (B, C): each row's target distribution times
    its weight, so that T_i sums to w_i. ``total_weight`` W: Σ w over the *whole* step, all micro-batches
    and processes, so that micro-batches' gradients add up to the large batch's. W = 0 gives 0, gradient 0.
    """
    log_p = F.log_softmax(logits.astype("float32"), axis=-1)
    return -(weighted_targets * log_p).sum() / divisor(total_weight)


def divisor(total_weight: Weight) -> Weight:
    """What a sum over rows is divided by: the total weight, or 1 where no row has any."""
    if isinstance(total_weight, paddle.Tensor):  # not read: the device may still be at work on it
        return paddle.where(total_weight > 0, total_weight, paddle.ones_like(total_weight))
    return total_weight if total_weight > 0 else 1.0


def bag_loss(
    logits: paddle.Tensor,
    labels: paddle.Tensor,
    weight: paddle.Tensor,
    total_weight: Weight,
    *,
    size: int,
    temperature: float = 1.0,
    bag_term: float = 1.0,
    instance_term: float = 1.0,
    label_smoothing: float = 0.0,
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Multi-instance loss of bags, each ``size`` consecutive rows of one label; and every row's attention.

    With p_j = softmax(logits_j), l_j the cross entropy of row j and y the bag's label:

        a_j = w_j p_j(y)^(1/T) / Σ_bag w_i p_i(y)^(1/T), no gradient flows through it
        P   = Σ_bag a_j p_j(y)
        L   = Σ_bags W (-bag_term log P + instance_term Σ_bag a_j l_j) / total_weight, W = Σ_bag w_j

    "Bag loss + instance loss" is URNet's; the attention is ours, after Attend in Groups (Zhuang et al. 2017).
    A row of weight 0 (an unreadable image) gets attention 0, a bag of such rows adds nothing. As T grows, a_j
    tends to w_j / W, and the instance term alone is ``weighted_cross_entropy``. ``total_weight`` as there:
    micro-batches of whole bags add up to the large batch.

    Args: ``logits`` (B, C), any float type; ``labels`` (B,) integers, one value per bag; ``weight`` (B,) float,
    >= 0; ``temperature`` T > 0; ``label_smoothing`` as in ``soft_targets``, for l_j.
    Returns L, a scalar, and a (B,), 1 summed over a bag, both float32 (float64 for logits of float64).
    Raises InputError when B is not a multiple of ``size``.
    """
    if logits.shape[0] % size:
        raise InputError(f"bag_loss: {logits.shape[0]} rows cannot be cut into bags of {size}")
    log_p = F.log_softmax(logits if logits.dtype == paddle.float64 else logits.astype("float32"), axis=-1)
    targets = soft_targets(labels, logits.shape[1], label_smoothing)
    instance = -(targets.astype(log_p.dtype) * log_p).sum(axis=-1).reshape([-1, size])
    log_given = paddle.take_along_axis(log_p, labels.unsqueeze(1), 1).reshape([-1, size])
    weight = weight.astype(log_p.dtype).reshape([-1, size])
    readable = (weight > 0).astype(log_p.dtype)
    scores = log_given.detach() / temperature + paddle.log(weight + (1 - readable))
    scores = _masked(scores, readable)
    scores = scores - scores.max(axis=1, keepdim=True)  # before any sum: large ones would lose its digits
    log_attention = scores - _log_sum(scores, readable)
    attention = log_attention.exp() * readable
    bag = -_log_sum(log_attention + log_given, readable).squeeze(1)
    rows = bag_term * bag + instance_term * (attention * instance).sum(axis=1)
    return (weight.sum(axis=1) * rows).sum() / divisor(total_weight), attention.reshape([-1])


def _masked(x: paddle.Tensor, used: paddle.Tensor) -> paddle.Tensor:
    """x where ``used`` is 1; where it is 0 a number whose exponential is nothing."""
    return paddle.where(used > 0, x, paddle.full_like(x, -1e30))


def _log_sum(x: paddle.Tensor, used: paddle.Tensor) -> paddle.Tensor:
    """log Σ e^x (bags, 1) over the places of a bag that are ``used`` (1, else 0); 0 without any.

    Unlike paddle.logsumexp of masked values it gives the other places a gradient of exactly 0.
    """
    x = _masked(x, used)
    top = x.detach().max(axis=1, keepdim=True)
    total = ((x - top).exp() * used).sum(axis=1, keepdim=True)
    none = (total == 0).astype(x.dtype)
    return top * (1 - none) + paddle.log(total + none)
