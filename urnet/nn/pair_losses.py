"""What each of two networks that teach one another minimises: co-teaching, and DivideMix's parts."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F

from urnet.nn.losses import divisor


def smallest(values: paddle.Tensor, keep: int) -> paddle.Tensor:
    """(B,) float32: 1 for the ``keep`` rows with the smallest values, else 0; of equal ones the earlier."""
    order = paddle.argsort(values, stable=True)
    chosen = paddle.zeros(values.shape, "float32")
    return paddle.scatter(chosen, order[:keep], paddle.ones([keep], "float32")) if keep else chosen


def co_teaching_loss(
    logits: tuple[paddle.Tensor, paddle.Tensor],
    labels: paddle.Tensor,
    weight: paddle.Tensor,
    forget_rate: float,
    certain: paddle.Tensor | None = None,
    *,
    n: int | None = None,
) -> paddle.Tensor:
    """Scalar float32: the sum of what both networks minimise (Han et al. 2018).

    With l_k the cross entropies (B,) of network k and R the floor((1 - forget_rate) n) rows, at least one, with the
    smallest l_k among the n of weight above 0, each network learns from the rows that the *other* chose:

        L = Σ_{i in R_2} w_i l_1i / Σ_{R_2} w_i  +  Σ_{i in R_1} w_i l_2i / Σ_{R_1} w_i

    ``weight`` (B,) >= 0. ``certain`` (B,) bool: rows that are chosen before all others, as their labels are known
    (ours). ``n``: who knows it spares the device a wait for its host. Without a row of weight the loss is 0.
    """
    losses = [F.cross_entropy(each.astype("float32"), labels, reduction="none").reshape([-1]) for each in logits]
    n = int((weight > 0).sum()) if n is None else n
    keep = max(int((1 - forget_rate) * n + 1e-9), min(n, 1))
    chosen = []
    for each in losses:
        rank = each.detach()
        if certain is not None:
            rank = paddle.where(certain, paddle.full_like(rank, -1.0), rank)
        chosen.append(smallest(paddle.where(weight > 0, rank, paddle.full_like(rank, float("inf"))), keep) * weight)
    parts = [(chosen[1 - k] * losses[k]).sum() / divisor(chosen[1 - k].sum()) for k in (0, 1)]
    return parts[0] + parts[1]


def sharpened(p: paddle.Tensor, temperature: float) -> paddle.Tensor:
    """p^(1/T) / Σ_c p_c^(1/T), rows (B, C) of probabilities; T above 0, 1 changes nothing (MixMatch)."""
    top = p / p.max(axis=1, keepdim=True)  # before the power: small ones would all become 0
    powered = top ** (1 / temperature)
    return powered / powered.sum(axis=1, keepdim=True)


def dividemix_targets(
    labels: paddle.Tensor,
    clean: paddle.Tensor,
    labelled: paddle.Tensor,
    own: paddle.Tensor,
    both: paddle.Tensor,
    temperature: float,
) -> paddle.Tensor:
    """(B, C) float32: what a network is trained towards before mixing (Li, Socher and Hoi 2020).

    A ``labelled`` row's label y is refined by the network's ``own`` mean prediction over the views, the others are
    guessed by the mean of ``both`` networks' predictions; both are sharpened:

        labelled      sharpen(w onehot(y) + (1 - w) own)
        unlabelled    sharpen(both)

    ``clean`` w (B,): the probability that the label is right, as the other network's losses say; ``labelled``
    (B,) bool; ``own``, ``both`` (B, C) probabilities.
    """
    w = clean.unsqueeze(1)
    refined = w * F.one_hot(labels, own.shape[1]) + (1 - w) * own
    return sharpened(paddle.where(labelled.unsqueeze(1), refined, both), temperature)


def dividemix_loss(
    logits: paddle.Tensor,
    targets: paddle.Tensor,
    labelled: paddle.Tensor,
    unlabelled: paddle.Tensor,
    unlabelled_weight: float,
) -> paddle.Tensor:
    """Scalar float32: what one network minimises on mixed rows (Li, Socher and Hoi 2020).

        L = Lx + λ_u Lu + Σ_c (1/C) log((1/C) / mean_c)
        Lx = -mean over labelled rows of Σ_c t_c log p_c
        Lu = mean over unlabelled rows and classes of (p_c - t_c)²

    p = softmax(logits), mean_c the mean of p_c over all rows of both kinds. ``logits``, ``targets`` (B, C);
    ``labelled``, ``unlabelled`` (B,) bool, rows of neither (unreadable images) count nowhere. A kind without a row
    adds 0.
    """
    log_p = F.log_softmax(logits.astype("float32"), axis=-1)
    p, n_classes = log_p.exp(), logits.shape[1]
    x, u = labelled.astype("float32"), unlabelled.astype("float32")
    entropy = -(x * (targets * log_p).sum(axis=1)).sum() / divisor(x.sum())
    square = (u * ((p - targets) ** 2).mean(axis=1)).sum() / divisor(u.sum())
    used = x + u
    mean = (used.unsqueeze(1) * p).sum(axis=0) / divisor(used.sum())
    mean = paddle.where(used.sum() > 0, mean, paddle.full_like(mean, 1 / n_classes))
    penalty = -(paddle.log(n_classes * mean.clip(min=1e-12))).mean()
    return entropy + unlabelled_weight * square + penalty


def negative_entropy(logits: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
    """Σ_i w_i Σ_c p_ic log p_ic, a scalar: DivideMix's warm-up adds it where classes are mistaken for one another."""
    log_p = F.log_softmax(logits.astype("float32"), axis=-1)
    return (weight * (log_p.exp() * log_p).sum(axis=1)).sum()
