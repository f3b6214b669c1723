"""The cross entropy of a network's probabilities plus what is taken for each label's noise (SOP)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import paddle
import paddle.nn.functional as F

from urnet.nn.losses import Weight, divisor
from urnet.nn.robust_losses import LEAST

MOST = 1 - LEAST  # u² and v² stay below it, and stand still above


@dataclass(frozen=True)
class Noise:
    """Variables of a step's rows: u (B,), and v (B, k) of the ``classes`` (B, k) int64, float32 both; v of all others
    is so small that it counts as 0, and so does that of a row's own label. A class twice in a row adds up."""

    u: paddle.Tensor
    classes: paddle.Tensor
    v: paddle.Tensor


@dataclass(frozen=True)
class NoiseSlope:
    """From what u and v move: (B,) each, without a gradient.

    ``share``: w_i / W, 0 for rows without noise. ``pull``: -dL/d(u²), >= 0. ``predicted`` int64: the likeliest class.
    """

    share: paddle.Tensor
    pull: paddle.Tensor
    predicted: paddle.Tensor

    @staticmethod
    def joined(parts: Sequence[NoiseSlope]) -> NoiseSlope:
        """Those of micro-batches, as those of all their rows."""
        names = ("share", "pull", "predicted")
        return NoiseSlope(*(paddle.concat([getattr(part, name) for part in parts]) for name in names))


def sparse_noise_loss(
    logits: paddle.Tensor,
    labels: paddle.Tensor,
    weight: paddle.Tensor,
    total_weight: Weight,
    noise: Noise,
    certain: paddle.Tensor | None = None,
) -> tuple[paddle.Tensor, NoiseSlope]:
    """Σ_i w_i l_i / W of sparse over-parameterisation (Liu, Zhu, Qu and You 2022), a scalar, and what u and v need.

    With p = softmax(logits), y the label and clipped squares U = min(u², 1 - 1e-4), V = min(v², 1 - 1e-4):

        a_c = max(p_c + U [c = y] - V_c [c ≠ y], 1e-4),  l = -log max(a_y / Σ_c a_c, 1e-4)

    A row whose label is wrong can be fitted by U and V, which grow for rows that keep disagreeing, in place of the
    network. u follows the gradient of L. v follows that of Σ_c (h_c + U [c = y] - V_c [c ≠ y] - [c = y])², h the
    one-hot likeliest class, which has no gradient for the network and is not part of L
    (``urnet.training.noise_memory`` moves both). So the paper; in later code of its authors that square moves u too.
    ``certain`` bool (B,), ours: rows without noise, whose l is the plain cross entropy.

    Args: ``logits`` (B, C), any float type; ``labels`` (B,) int64; ``weight`` (B,) >= 0; ``total_weight`` W as in
    ``urnet.nn.losses.weighted_cross_entropy``: micro-batches add up to the large batch.
    """
    log_p = F.log_softmax(logits.astype("float32"), axis=-1)
    p, label = log_p.exp(), F.one_hot(labels, logits.shape[1])
    own = noise.u.square()
    shift = label * own.clip(max=MOST).unsqueeze(1)
    others = paddle.put_along_axis(
        paddle.zeros_like(p), noise.classes, noise.v.square().clip(max=MOST), 1, reduce="add"
    )
    moved = p + shift - others * (1 - label)
    bounded = moved.clip(min=LEAST)
    total, given = bounded.sum(axis=1), (bounded * label).sum(axis=1)
    ratio = given / total
    rows = -paddle.log(ratio.clip(min=LEAST))
    share = weight / divisor(total_weight)
    loss = rows * share
    if certain is not None:
        loss = paddle.where(certain, -(label * log_p).sum(axis=1) * share, loss)
        share = paddle.where(certain, paddle.zeros_like(share), share)
    free = (given > LEAST) & (ratio > LEAST) & (own <= MOST)  # else something is clipped, and the slope is 0
    pull = paddle.where(free, 1 / given - 1 / total, paddle.zeros_like(given)) * share
    return loss.sum(), NoiseSlope(share.detach(), pull.detach(), log_p.detach().argmax(axis=1))
