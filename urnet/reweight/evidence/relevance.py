"""The relevance model: does an image's feature vector fit the text it was found by?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import log_softmax

from urnet.core.checks import InputError, check_labels, check_same_rows
from urnet.reweight.evidence.folds import BLOCK_CELLS, block_of, check_features, fold_of_rows, hashes_and_mean
from urnet.reweight.evidence.ranks import class_ranks, rank_evidence

TINY = 1e-12  # added to norms
MIN_STEPS = 200  # however few the rows
ADAM = (0.9, 0.999, 1e-8)


@dataclass(frozen=True)
class RelevanceSettings:
    """How the relevance model is trained; every number is above 0, ``weight_decay`` 0 or more."""

    dim: int = 256  # of the space that features and texts are mapped to
    folds: int = 2  # 2 or more
    epochs: float = 20.0
    batch_size: int = 512
    lr: float = 2e-3
    temperature: float = 0.1  # cosines are divided by it
    weight_decay: float = 1e-4

    def check(self) -> None:
        """Raise InputError for a number out of range."""
        positive = (self.dim, self.epochs, self.batch_size, self.lr, self.temperature)
        if self.folds < 2 or self.weight_decay < 0 or not all(0 < value < np.inf for value in positive):
            raise InputError(f"relevance model: found {self}; folds >= 2, others > 0 are accepted")


DEFAULTS = RelevanceSettings()


class _Texts(NamedTuple):
    vectors: np.ndarray  # (T, t) float32
    of_row: np.ndarray  # (N,) int64, -1 none


class Pair(NamedTuple):
    """The model: ``a`` (d, h) maps features, ``b`` (t, h) text vectors."""

    a: np.ndarray
    b: np.ndarray


def reliable_rows(
    labels: np.ndarray,
    n_classes: int,
    *,
    source: np.ndarray,
    query: np.ndarray,
    rank: np.ndarray,
    sources: Sequence[int],
    quantile: float = 0.5,
) -> np.ndarray:
    """(N,) bool: rows of the ``sources`` in the first ``quantile`` of their query's results.

    "Top-ranked google images": URNet; the quantile and what follows are ours. A class without such a row
    takes the same share of its rows of any source; one without any rank takes all its rows: every class must
    be among the others' negatives. ``source`` (N,) and ``sources`` are codes of one kind. Raises InputError.
    """
    labels = check_labels(np.asarray(labels), n_classes)
    check_same_rows(labels=labels, source=source, query=query, rank=rank)
    if not 0 < quantile <= 1 or not len(sources):
        raise InputError(f"quantile {quantile}, sources {sources}: 0..1 and at least one code are accepted")
    high, known = rank_evidence(rank, query, source)
    ranked = known & (high >= 1 - quantile)
    chosen = ranked & np.isin(source, list(sources))
    for fallback in (ranked, np.ones(len(labels), bool)):
        without = np.bincount(labels[chosen], minlength=n_classes) == 0
        chosen = chosen | (fallback & without[labels])
    return chosen


def relevance_model(
    features: Any,
    labels: np.ndarray,
    n_classes: int,
    *,
    text_vectors: np.ndarray,
    text_of: np.ndarray,
    reliable: np.ndarray,
    settings: RelevanceSettings = DEFAULTS,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """cos(A f, B t) of each row's features f and its query's or class's text t, after a contrastive training.

    Word vectors of the query, learned with top-ranked google images: URNet. The loss and all else: ours.
    A and B are linear maps to ``dim``. A batch holds reliable rows, drawn evenly from the classes; its loss
    is InfoNCE from image to text, -ln(e^{s_ii} / Σ_j e^{s_ij}), s = cosine / ``temperature``, over the texts
    of the rows j of *other* classes and row i's own. Adam with decoupled weight decay, rate falling linearly
    to 0, ``epochs`` passes' worth of rows but at least 200 steps. ``folds`` models, each trained without
    the fold it scores (``fold_of_rows``), for a row that trained the model fits it.

    Args: ``features`` (N, d) array-like; ``text_vectors`` (T, t), dense, zeros: no text; ``text_of`` (N,)
    each row's text, -1 none; ``reliable`` (N,) bool.
    Returns ``cosine`` (N,) float32 in [-1, 1], 0 where not known; ``relevance`` (N,) float32, its rank inside
    the class, in (0, 1), ½ where not known; ``known`` (N,) bool, the row has a text. Raises InputError for
    shapes that differ, numbers that are not finite, settings out of range, or fewer than two classes with
    reliable rows.
    """
    labels = check_labels(np.asarray(labels), n_classes)
    check_features(features, labels)
    texts, known = _checked_texts(labels, text_vectors, text_of)
    check_same_rows(labels=labels, reliable=reliable)
    settings.check()
    if np.asarray(reliable).dtype != bool or len(np.unique(labels[reliable & known])) < 2:
        raise InputError("reliable: a bool array with rows, with a text, of two classes or more is needed")
    hashes, mean = hashes_and_mean(features, seed)
    fold = fold_of_rows(hashes, labels, settings.folds)
    order = np.lexsort((hashes, labels))  # draws then do not depend on the order of the rows
    trained = order[(reliable & known)[order]]
    scale = _scale(features, trained, mean)
    dim = min(settings.dim, max(len(mean), texts.vectors.shape[1]))

    pairs = []
    for f in range(settings.folds):
        rows = trained[fold[trained] != f]
        rows = rows if len(np.unique(labels[rows])) > 1 else trained  # too few rows to keep a fold out
        rng = np.random.default_rng([seed, f])
        pair = _start(len(mean), texts.vectors.shape[1], dim, rng)
        moments = [np.zeros_like(part) for part in (*pair, *pair)]
        steps = max(round(settings.epochs * len(rows) / settings.batch_size), MIN_STEPS)
        for step in range(steps):
            chosen = rows[_batch(labels[rows], settings.batch_size, rng)]
            x = (block_of(features, chosen) - mean) * scale
            t = texts.vectors[texts.of_row[chosen]]
            _, grads = loss_and_gradients(pair, x, t, labels[chosen], settings.temperature)
            _adam(pair, grads, moments, step + 1, settings.lr * (1 - step / steps), settings.weight_decay)
        pairs.append(pair)
    cosine = _cosines(features, texts, known, fold, pairs, mean, scale)
    relevance = np.full(len(labels), 0.5, np.float32)
    relevance[known] = class_ranks(cosine[known], labels[known])
    return {"cosine": cosine, "relevance": relevance, "known": known}


def loss_and_gradients(
    pair: Pair, x: np.ndarray, t: np.ndarray, labels: np.ndarray, temperature: float
) -> tuple[float, Pair]:
    """Mean InfoNCE of rows ``x`` (n, d) with their texts ``t`` (n, t); its gradients by ``a`` and ``b``."""
    n = len(x)
    u, u_norm = _unit(x @ pair.a)
    v, v_norm = _unit(t @ pair.b)
    logits = u @ v.T / temperature
    logits[(labels[:, None] == labels[None]) & ~np.eye(n, dtype=bool)] = -np.inf
    log_p = log_softmax(logits, axis=1)
    g = (np.exp(log_p) - np.eye(n, dtype=x.dtype)) / (n * temperature)  # by the cosines
    a = x.T @ _through_norm(g @ v, u, u_norm)
    b = t.T @ _through_norm(g.T @ u, v, v_norm)
    return -float(np.diag(log_p).mean()), Pair(a, b)


def _unit(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    norm = np.linalg.norm(rows, axis=1, keepdims=True) + TINY
    return rows / norm, norm


def _through_norm(gradient: np.ndarray, unit: np.ndarray, norm: np.ndarray) -> np.ndarray:
    """From the gradient by x / |x| to that by x."""
    return (gradient - (gradient * unit).sum(axis=1, keepdims=True) * unit) / norm


def _start(d: int, t: int, dim: int, rng: np.random.Generator) -> Pair:
    a, b = (rng.standard_normal((size, dim), np.float32) / np.float32(size**0.5) for size in (d, t))
    return Pair(a, b)


def _adam(pair: Pair, grads: Pair, moments: list[np.ndarray], step: int, lr: float, weight_decay: float) -> None:
    """One step: ``pair`` changes in place; ``moments``: the two first moments, then the two second ones."""
    first_decay, second_decay, tiny = ADAM
    rate = lr * (1 - second_decay**step) ** 0.5 / (1 - first_decay**step)
    for value, gradient, first, second in zip(pair, grads, moments[:2], moments[2:], strict=True):
        first += (1 - first_decay) * (gradient - first)
        second += (1 - second_decay) * (gradient * gradient - second)
        value -= np.float32(rate) * first / (np.sqrt(second) + np.float32(tiny)) + np.float32(lr * weight_decay) * value


def _batch(labels: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Places of ``size`` rows, every class as likely as any other; ``labels`` ascending."""
    _, starts, counts = np.unique(labels, return_index=True, return_counts=True)
    drawn = rng.integers(len(starts), size=size)
    return starts[drawn] + rng.integers(counts[drawn])


def _scale(features: Any, rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(d,) 1 / standard deviation over the rows; 0 for a constant feature."""
    square = np.zeros(len(mean))
    size = max(BLOCK_CELLS // len(mean), 1)
    for start in range(0, len(rows), size):
        block = block_of(features, np.sort(rows[start : start + size])) - mean
        square += np.einsum("nd,nd->d", block, block, dtype=np.float64)
    spread = np.sqrt(square / len(rows))
    return np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0).astype(np.float32)


def _cosines(
    features: Any, texts: _Texts, known: np.ndarray, fold: np.ndarray, pairs: list[Pair], mean: Any, scale: Any
) -> np.ndarray:
    """(N,) float32, each row by the model that was trained without its fold."""
    out = np.zeros(len(known), np.float32)
    sides = [_unit(texts.vectors @ pair.b)[0] for pair in pairs]
    size = max(BLOCK_CELLS // max(len(mean), pairs[0].a.shape[1]), 1)
    for start in range(0, len(known), size):
        rows = np.arange(start, min(start + size, len(known)))
        x = (block_of(features, slice(start, rows[-1] + 1)) - mean) * scale
        for f, pair in enumerate(pairs):
            mine = known[rows] & (fold[rows] == f)
            u = _unit(x[mine] @ pair.a)[0]
            out[rows[mine]] = np.einsum("nh,nh->n", u, sides[f][texts.of_row[rows[mine]]])
    return np.clip(out, -1, 1)


def _checked_texts(labels: np.ndarray, vectors: Any, of_row: Any) -> tuple[_Texts, np.ndarray]:
    """The texts, and which rows have one."""
    vectors, of_row = np.asarray(vectors, np.float32), np.asarray(of_row)
    if vectors.ndim != 2 or not len(vectors) or not np.isfinite(vectors).all():
        raise InputError(f"text_vectors {vectors.shape}: a finite array (texts, dimensions) is accepted")
    check_same_rows(labels=labels, text_of=of_row)
    check_labels(of_row + 1, len(vectors) + 1, "text_of + 1")  # -1 is none
    has_text = np.r_[vectors.any(axis=1), False]  # the last place is that of -1
    return _Texts(vectors, of_row.astype(np.int64)), has_text[of_row]
