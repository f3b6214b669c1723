"""Out-of-fold class probabilities on frozen features: no row is scored by a head trained on it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from urnet.core.blocks import blocks
from urnet.core.checks import InputError, check_labels, check_same_rows
from urnet.core.top_k import topk
from urnet.reweight.evidence.calibration import FAR, Calibration, calibrate
from urnet.reweight.evidence.decided import certain_rows, one_hot
from urnet.reweight.evidence.folds import BLOCK_CELLS, block_of, check_features, fold_of_rows, hashes_and_mean, joined
from urnet.reweight.evidence.linear_head import Head, Sums, head_of, quick_head, sums_without, total_of

SAMPLE_CELLS, SAMPLE_ROWS = 1 << 22, 20_000  # rows x classes, and rows, that it is fitted to at most
SHRINKAGES = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.97)  # that "auto" chooses among
FIRST = SHRINKAGES.index(0.8)  # where it begins


class Scored(NamedTuple):
    """What ``out_of_fold`` returns, the shrinkage it used, and (N,) bool: whether a row's class could be scored."""

    columns: dict[str, np.ndarray]
    shrinkage: float
    seen: np.ndarray


class Settings(NamedTuple):
    """The settings of ``out_of_fold`` that are not arrays; ``quick``: single precision is enough (``quick_head``)."""

    folds: int = 5
    balanced: bool = True
    shrinkage: float | Literal["auto"] = 0.1
    k: int = 5
    seed: int = 0
    block_cells: int = BLOCK_CELLS
    quick: bool = False


def out_of_fold(
    features: Any,
    labels: np.ndarray,
    n_classes: int,
    *,
    folds: int = 5,
    sample_weight: np.ndarray | None = None,
    targets: tuple[np.ndarray, np.ndarray] | None = None,
    groups: np.ndarray | None = None,
    decided: np.ndarray | None = None,
    balanced: bool = True,
    shrinkage: float | Literal["auto"] = 0.1,
    k: int = 5,
    seed: int = 0,
    block_cells: int = BLOCK_CELLS,
) -> dict[str, np.ndarray]:
    """Probabilities of each row's class by a linear head that was trained without the row's fold (ours).

    The head is linear discriminant analysis, the Gaussian form of the multinomial linear model: logits
    x'Σ⁻¹μ_c - ½ μ_c'Σ⁻¹μ_c (+ ln π_c unless ``balanced``), Σ the pooled within-class covariance, (1 - s) Σ +
    s diag Σ with s = ``shrinkage``. It is chosen over gradient descent because it is exact, has no rate or
    number of steps, and all folds come from one pass: sums of the other folds are the total less the fold's
    own. μ_c of n_c rows inflates the second term by tr(Σ⁻¹Σ̂)/n_c, which is taken off, or small classes would
    lose. A scale and class biases are fitted to the held-out likelihood of a sample of rows (``calibrate``).
    ``shrinkage="auto"`` climbs from 0.8 through ``SHRINKAGES`` to where that likelihood is greatest: of the given
    labels, no truth is needed. Wide features of few rows want more than those of many.

    Args: ``features`` (N, d), array or array-like read by slices; ``labels`` (N,); ``sample_weight`` (N,)
    >= 0, how much a row counts in training; ``targets`` (index, prob), each (N, m), soft targets to train on
    in place of the labels (the rows are still scored by their labels); ``groups`` (N,) integers: rows of one
    group >= 0 show the same picture and share a fold, as equal rows do; ``decided`` (N,) integers, 1: the label is
    certain, a person has decided it, 0: not. Certain rows are in no fold: they teach all heads with weight 1, and
    are scored 1 for their label, one-hot. ``block_cells``: rows x (classes or features) at a time.
    Returns ``given`` (N,) float32, p_i(y_i); ``index`` (N, k) int32 and ``prob`` (N, k) float16, best first,
    k cut to n_classes. A row whose class has no row outside its fold cannot be scored: ``given`` is 1 over
    the number of classes with rows. Memory: folds x (C d + d²) numbers and a block. Folds: ``fold_of_rows``.
    Raises InputError for shapes that differ, values that are not finite, and settings out of range.
    """
    settings = Settings(folds, balanced, shrinkage, k, seed, block_cells)
    return scored(
        features,
        labels,
        n_classes,
        settings,
        sample_weight=sample_weight,
        targets=targets,
        groups=groups,
        decided=decided,
    ).columns


def scored(
    features: Any,
    labels: np.ndarray,
    n_classes: int,
    settings: Settings,
    *,
    sample_weight: np.ndarray | None = None,
    targets: tuple[np.ndarray, np.ndarray] | None = None,
    groups: np.ndarray | None = None,
    decided: np.ndarray | None = None,
) -> Scored:
    """``out_of_fold``, and what it found on the way."""
    folds, balanced, shrinkage, k = settings.folds, settings.balanced, settings.shrinkage, settings.k
    labels, weight = _checked(features, labels, n_classes, folds, sample_weight, targets, shrinkage, k)
    certain = certain_rows(decided, labels)
    hashes, centre = hashes_and_mean(features, settings.seed)
    fold = fold_of_rows(joined(hashes, groups), labels, folds)
    order = np.argsort(hashes, kind="stable")
    if certain is not None:
        fold, weight = np.where(certain, folds, fold), np.where(certain, 1, weight)  # a part that no head leaves out
        order = order[~certain[order]]
    size = max(settings.block_cells // max(n_classes, features.shape[1]), 1)
    parts = folds if certain is None else folds + 1
    sums = _sums(features, labels, weight, targets, fold, parts, n_classes, centre, size)
    present = np.bincount(labels, minlength=n_classes) > 0
    sampled = min(max(SAMPLE_CELLS // n_classes, 1), SAMPLE_ROWS)  # a sample free of the rows' order
    sample = np.sort(order[:sampled])
    total = total_of(sums)

    @functools.lru_cache(3)  # the best one is asked for again
    def quick(tried: float) -> list[Head]:
        return [quick_head(sums_without(sums, total, f), balanced, tried) for f in range(folds)]

    if shrinkage == "auto":
        shrinkage = _likeliest(
            lambda tried: _calibrated(features, labels, targets, fold, quick(tried), centre, sample, balanced)[1]
        )
    if settings.quick and SHRINKAGES[0] <= shrinkage <= SHRINKAGES[-1]:
        heads = quick(shrinkage)
    else:
        heads = [head_of([*sums[:f], *sums[f + 1 :]], balanced, shrinkage) for f in range(folds)]
    calibration, _ = _calibrated(features, labels, targets, fold, heads, centre, sample, balanced)

    n, k = len(labels), min(k, n_classes)
    given, index, prob = np.empty(n, np.float32), np.empty((n, k), np.int32), np.empty((n, k), np.float16)
    seen = np.empty(n, bool)
    for start in range(0, n, size):
        rows = np.arange(start, min(start + size, n))
        own_fold = np.minimum(fold[rows], folds - 1)  # that of certain rows: what is found of them goes
        p = np.exp(calibration.apply(_logits(block_of(features, rows) - centre, own_fold, heads)))
        own = p[np.arange(len(rows)), labels[rows]]
        seen[rows] = _class_seen(heads, own_fold, labels[rows])
        given[rows] = np.where(seen[rows], own, 1 / present.sum())
        index[rows], prob[rows] = topk(p, k)
    if certain is not None:
        given[certain], seen[certain] = 1, True
        one_hot(labels, np.flatnonzero(certain), index, prob)
    return Scored({"given": given, "index": index, "prob": prob}, shrinkage, seen)


def _likeliest(likelihood: Callable[[float], float]) -> float:
    """The one of ``SHRINKAGES`` of the greatest likelihood, climbing from ``FIRST`` as long as it grows."""
    found = {FIRST: likelihood(SHRINKAGES[FIRST])}
    best = FIRST
    for step in (-1, 1):
        while 0 <= best + step < len(SHRINKAGES) and best + step not in found:
            found[best + step] = likelihood(SHRINKAGES[best + step])
            if found[best + step] <= found[best]:
                break
            best += step
    return SHRINKAGES[best]


def _checked(
    features: Any, labels: Any, n_classes: int, folds: int, weight: Any, targets: Any, shrinkage: Any, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """labels and float64 weights, after all checks but that of the features' values."""
    labels = check_labels(np.asarray(labels), n_classes)
    check_features(features, labels)
    weight = np.ones(len(labels)) if weight is None else np.asarray(weight, np.float64)
    check_same_rows(labels=labels, sample_weight=weight)
    if weight.ndim != 1 or not (np.isfinite(weight).all() and (weight >= 0).all() and weight.any()):
        raise InputError("sample_weight: (N,) finite numbers >= 0, not all 0, are accepted")
    if targets is not None:
        index, prob = targets
        check_same_rows(labels=labels, target_index=index, target_prob=prob)
        if index.ndim != 2 or index.shape != prob.shape:
            raise InputError(f"targets: index {index.shape} and prob {prob.shape}; (N, m) each is accepted")
        check_labels(index.reshape(-1), n_classes, "targets")
        if not (np.isfinite(prob).all() and (prob >= 0).all()):
            raise InputError("targets: finite probabilities >= 0 are accepted")
    good = shrinkage == "auto" or (not isinstance(shrinkage, str) and 0 <= shrinkage <= 1)
    if not (folds >= 2 and good and k >= 1):
        raise InputError(
            f"folds {folds}, shrinkage {shrinkage}, k {k}: folds >= 2, 0 <= shrinkage <= 1 or 'auto', k >= 1 are "
            "accepted"
        )
    return labels, weight


def _sums(
    features: Any, labels: Any, weight: Any, targets: Any, fold: Any, folds: int, n_classes: int, centre: Any, size: int
) -> list[Sums]:
    """One pass over the rows; features are centred, so that the second moments keep their digits."""
    d = len(centre)
    sums = [
        Sums(np.zeros(n_classes), np.zeros(n_classes), np.zeros((n_classes, d)), np.zeros((d, d))) for _ in range(folds)
    ]
    index, prob = (labels[:, None], np.ones((len(labels), 1))) if targets is None else targets
    for rows in blocks(len(labels), size):
        x = block_of(features, rows) - centre
        share = prob[rows] * weight[rows, None]
        for f in np.unique(fold[rows]):
            mine = fold[rows] == f
            xf, root = x[mine], np.sqrt(share[mine].sum(axis=1))[:, None].astype(np.float32)
            sums[f].second[...] += (xf * root).T @ (xf * root)
            for column in range(index.shape[1]):
                _add_by_class(sums[f], xf, index[rows][mine, column], share[mine, column])
    return sums


def _add_by_class(sums: Sums, x: np.ndarray, classes: np.ndarray, w: np.ndarray) -> None:
    np.add(sums.mass, np.bincount(classes, w, len(sums.mass)), out=sums.mass)
    np.add(sums.square, np.bincount(classes, w * w, len(sums.mass)), out=sums.square)
    order = np.argsort(classes, kind="stable")
    there, first = np.unique(classes[order], return_index=True)
    sums.first[there] += np.add.reduceat(x[order] * w[order, None], first, axis=0)


def _logits(x: np.ndarray, fold: np.ndarray, heads: list[Head]) -> np.ndarray:
    """(rows, C) by each row's own head; a head without any class gives 0 throughout."""
    out = np.zeros((len(x), len(heads[0].bias)), np.float32)
    for f in np.unique(fold):
        if np.isfinite(heads[f].bias).any():
            mine = fold == f
            out[mine] = x[mine] @ heads[f].weight + heads[f].bias
    return out


def _class_seen(heads: list[Head], fold: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of which rows the head has seen the class."""
    return np.isfinite(np.stack([head.bias for head in heads]))[fold, labels]


def _calibrated(
    features: Any,
    labels: np.ndarray,
    targets: tuple[np.ndarray, np.ndarray] | None,
    fold: np.ndarray,
    heads: list[Head],
    centre: np.ndarray,
    rows: np.ndarray,
    balanced: bool,
) -> tuple[Calibration, float]:
    """Scale and biases of the least held-out loss of the sampled rows, and their mean log-likelihood.

    The loss is that of what the heads learned from: with soft targets a head is as sure as those are, not as
    unsure as wrong labels would have it. ``balanced``: every class counts the same.
    """
    rows = rows[_class_seen(heads, fold[rows], labels[rows])]
    logits = _logits(block_of(features, rows) - centre, fold[rows], heads)
    index, prob = (labels[:, None], np.ones((len(labels), 1))) if targets is None else targets
    index, weight = index[rows].astype(np.int64), prob[rows].astype(np.float64)
    if balanced:
        mass = np.bincount(index.ravel(), weight.ravel(), minlength=logits.shape[1])
        weight = weight / np.where(mass > 0, mass, 1)[index]
    fitted = calibrate(logits, index, weight)
    log_p = np.take_along_axis(np.maximum(fitted.apply(logits), FAR), index, 1)
    return fitted, float((weight * log_p).sum() / max(weight.sum(), np.finfo(float).tiny))
