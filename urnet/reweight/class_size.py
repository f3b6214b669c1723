"""Class size, the first reweighting: the more rows a class has, the less each of them weighs."""

from __future__ import annotations

import numpy as np

from urnet.core.checks import InputError, check_labels, check_same_rows

SPREAD = 60.0  # log weights are kept this near the median one: exp(±60) is far from float32's limits


def class_size(
    labels: np.ndarray,
    n_classes: int,
    *,
    power: float = 1.0,
    cap: float = 20.0,
    beta: float | None = None,
    sampled_share: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Loss weights in inverse proportion to the size of the class ("inverse proportion": URNet).

    With n_c rows in class c, w_c ∝ n_c^-power. With ``beta`` (0 <= beta < 1), w_c ∝ (1 - beta) / (1 -
    beta^n_c), the effective number of samples (Cui et al. 2019), and ``power`` is not used. Then w_c is
    capped at ``cap`` (>= 1) times the median over the classes that are present, and scaled to a mean of 1
    over the rows (cap and median: ours; without them one row of a tiny class can outweigh a batch).

    ``sampled_share`` (n_classes,): the share of each class among the rows as they are *drawn*, summing to 1
    (``EpochSampler.sampled_share``). The formulas then see N * sampled_share in place of n_c, and the mean of 1
    is the mean over drawn rows: Σ_c share_c w_c = 1. So what the sampler evened out is not corrected a second
    time: drawn evenly, all weights are 1. None: rows are drawn as they come, share_c = n_c / N.

    Args: ``labels`` (N,) integers in 0..n_classes - 1. Returns ``{"class_weight": (N,) float32}``, > 0.
    Raises InputError for labels outside the range, no rows, or a present class that is never drawn.
    """
    check_labels(labels, n_classes)
    if not len(labels):
        raise InputError("labels: found no rows; class sizes need at least one")
    counts = np.bincount(labels, minlength=n_classes)
    share = counts / len(labels) if sampled_share is None else _checked_share(sampled_share, counts)
    present = counts > 0
    weight = _class_weights(share[present] * len(labels), power, cap, beta)
    by_class = np.zeros(n_classes, np.float32)
    by_class[present] = weight / (share[present] @ weight / share[present].sum())
    return {"class_weight": by_class[labels]}


def target_size(
    index: np.ndarray, prob: np.ndarray, n_classes: int, *, drawn: np.ndarray, cap: float = 20.0
) -> dict[str, np.ndarray]:
    """Loss weights that give every class the same mass of soft targets (ours): class size after relabelling.

    M_c = Σ_i drawn_i t_ic is the mass of class c among the rows as they are drawn; w_i ∝ Σ_c t_ic v_c with
    v_c ∝ 1 / M_c, capped at ``cap`` (>= 1) times the median over the classes that have mass. The mean over
    the drawn rows is 1: Σ drawn_i w_i = Σ drawn_i. Targets that are spread evenly over the classes as drawn
    give all ones.

    Args: ``index`` (N, k) integers and ``prob`` (N, k) >= 0, rows sum to about 1: the targets; ``drawn``
    (N,): how often each row is expected in an epoch (``EpochSampler.expected_draws``).
    Returns ``{"target_weight": (N,) float32}``, > 0. Raises InputError for arrays that do not fit each other.
    """
    check_same_rows(index=index, prob=prob, drawn=drawn)
    if index.shape != prob.shape:
        raise InputError(f"index has shape {index.shape} but prob has {prob.shape}")
    check_labels(index.reshape(-1), n_classes, "index")
    prob = prob.astype(np.float64)
    mass = np.bincount(index.ravel(), (prob * drawn[:, None]).ravel(), n_classes)
    present = mass > 0
    if not present.any():
        raise InputError("prob: found no target that is drawn; at least one is needed")
    by_class = np.full(n_classes, 0.0)
    by_class[present] = _class_weights(mass[present], 1.0, cap, None)
    by_class[~present] = by_class[present].max()  # never drawn: of no effect, but of some weight
    weight = (prob * by_class[index]).sum(axis=1)
    weight = np.where(weight > 0, weight, by_class[present].mean())
    return {"target_weight": (weight * drawn.sum() / (weight @ drawn)).astype(np.float32)}


def _class_weights(sizes: np.ndarray, power: float, cap: float, beta: float | None) -> np.ndarray:
    """Weights of the present classes, of any scale, capped; in logarithms, so that no power overflows."""
    if beta is None:
        log_weight = -power * np.log(sizes)
    else:  # beta = 0 gives all classes the same weight
        log_weight = -np.log1p(-(beta**sizes))
    weight = np.exp(np.clip(log_weight - np.median(log_weight), -SPREAD, SPREAD))
    return np.minimum(weight, cap * np.median(weight))


def _checked_share(share: np.ndarray, counts: np.ndarray) -> np.ndarray:
    share = np.asarray(share, np.float64)
    if share.shape != counts.shape:
        raise InputError(f"sampled_share has shape {share.shape} but there are {len(counts)} classes")
    if not (np.isfinite(share).all() and (share >= 0).all() and abs(share.sum() - 1) < 1e-6):
        raise InputError(f"sampled_share: shares >= 0 that sum to 1 are needed, found a sum of {share.sum()}")
    never = np.flatnonzero((counts > 0) & (share == 0))
    if len(never):
        raise InputError(f"sampled_share: class {never[0]} has {counts[never[0]]} rows but is never drawn")
    return share
