"""Label, the fifth reweighting: soft targets for labels that overlap in meaning or are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from urnet.core.blocks import blocks
from urnet.core.checks import InputError
from urnet.reweight.evidence.class_similarity import top_of_rows
from urnet.reweight.evidence.posterior import BLOCK, check_probabilities, largest


def label(
    labels: np.ndarray,
    n_classes: int,
    *,
    index: Any,
    prob: Any,
    given: Any,
    rho: float = 1.0,
    sharpness: float = 1.0,
    similarity: Any = None,
    similarity_share: float = 0.0,
    k: int = 10,
    block: int = BLOCK,
) -> dict[str, np.ndarray]:
    """Target distributions from the posterior of each row's class.

    Ours, after SenseTime's self-contained confidence. With q_i the posterior, y_i the given label, m =
    ``similarity_share`` and q'_i ∝ q_i^s the posterior raised to s = ``sharpness``, scaled to 1 over y_i and the
    classes of ``index`` (s > 1 sharpens: entropy minimisation, Grandvalet & Bengio 2005):

        keep_i = q_i(y_i)^rho
        t_i    = keep_i onehot(y_i) + (1 - keep_i) ((1 - m) q'_i + m S_{y_i})

    cut to its ``k`` largest entries and scaled to 1. With rho infinite t_i is the posterior alone, and keep_i 0
    unless q_i is certain of y_i; with rho 0 it is the given label. Where q_i is certain, q_i(y_i) = 1, the
    target is onehot(y_i) and keep 1 exactly.

    Args: ``labels`` (N,) integers in 0..n_classes - 1. ``index`` (N, K) integers, distinct in a row where
    their ``prob`` (N, K) is above 0 (0: an unused place), and ``given`` (N,) = q_i(y_i), in 0..1: of
    ``posterior``, or of any teacher; array-likes that can be sliced. ``similarity`` S (C, C), dense or
    scipy.sparse, rows sum to 1 (``class_similarity``); its rows' k largest entries are used. ``block``: rows
    held at once.
    Returns ``topk_index`` (N, k) int32, largest first; ``topk_prob`` (N, k) float16, rows sum to 1 within its
    rounding, 0 in unused places; ``keep`` (N,) float32 in 0..1.
    Raises InputError for arrays that do not fit each other or hold values outside their ranges.
    """
    check_probabilities(labels, n_classes, index=index, prob=prob, given=given)
    if not 0 < sharpness < np.inf:
        raise InputError(f"sharpness: found {sharpness}; a number above 0 is accepted")
    similar = None
    if similarity is not None and similarity_share > 0:
        similar = top_of_rows(similarity, k)
    n = len(labels)
    topk_index, topk_prob = np.zeros((n, k), np.int32), np.zeros((n, k), np.float16)
    keep = np.zeros(n, np.float32)
    for rows in blocks(n, block):
        classes, q = _belief(labels[rows], index[rows], prob[rows], given[rows])
        own = np.minimum(q[:, 0], 1) ** rho  # 1 ** inf is 1
        q = (q / np.maximum(q.max(1, keepdims=True), 1e-30)) ** sharpness * (q > 0)
        total = q.sum(1)
        none = total == 0  # nothing is known: the given label stays
        own[none], total[none] = 1, 1
        target = ((1 - own) / total)[:, None] * q
        if similar is not None:
            classes, target = _with_similar(classes, target, similar, labels[rows], similarity_share)
        target[:, 0] += own
        topk_index[rows], best = largest(classes, target, k)
        topk_prob[rows] = best / best.sum(1, keepdims=True)
        keep[rows] = own
    return {"topk_index": topk_index, "topk_prob": topk_prob, "keep": keep}


def _belief(
    labels: np.ndarray, index: np.ndarray, prob: np.ndarray, given: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Classes and belief (b, K + 1), the given label first; unused places hold the given label and 0."""
    label = labels.astype(np.int64)[:, None]
    classes, q = np.asarray(index).astype(np.int64), np.asarray(prob).astype(np.float64)
    unused = (q == 0) | (classes == label)
    classes, q = np.where(unused, label, classes), np.where(unused, 0, q)
    own = np.asarray(given).astype(np.float64)[:, None]
    return np.concatenate([label, classes], 1), np.concatenate([own, q], 1)


def _with_similar(
    classes: np.ndarray, target: np.ndarray, similar: tuple[np.ndarray, np.ndarray], labels: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Give ``share`` of each row's target mass to the classes similar to its label; no class comes twice."""
    mass = target.sum(1, keepdims=True)
    added, amount = similar[0][labels], share * mass * similar[1][labels]
    target = (1 - share) * target
    same = added[:, :, None] == classes[:, None, :]
    same[:, :, 1:] &= (classes[:, 1:] != labels[:, None])[:, None]  # unused places repeat the given label
    target += np.einsum("bmk,bm->bk", same, amount)
    amount = np.where(same.any(2), 0, amount)
    return np.concatenate([classes, added], 1), np.concatenate([target, amount], 1)
