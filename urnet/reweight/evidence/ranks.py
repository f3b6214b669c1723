"""Ranks: of values inside a class, and of images in the results of their search."""

from __future__ import annotations

import numpy as np

from urnet.core.checks import check_same_rows


def class_ranks(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) float64 in (0, 1): share of the rows of a row's class below it, equal ones counting half."""
    if not len(values):
        return np.zeros(0)
    order = np.lexsort((values, labels))
    lab, val = labels[order], values[order]
    new_class = np.r_[True, lab[1:] != lab[:-1]]
    new_value = new_class | np.r_[True, val[1:] != val[:-1]]
    first, size = _runs(new_class)
    low, ties = _runs(new_value)
    out = np.empty(len(values))
    out[order] = (low - first + ties / 2) / size
    return out


def decided_ranks(values: np.ndarray, labels: np.ndarray, certain: np.ndarray | None) -> np.ndarray:
    """``class_ranks``, in which rows whose label is ``certain``, bool (N,), are above all others and have 1."""
    if certain is None:
        return class_ranks(values, labels)
    ranks = class_ranks(np.where(certain, np.inf, values), labels)
    return np.where(certain, 1.0, ranks)


def rank_evidence(rank: np.ndarray, query: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How high a row stands in its query's results: (N,) float32 evidence in [0, 1], and (N,) bool, known.

    1 - rank / (largest rank of the same source and query): 1 for the first result, 0 for the last. A rank of
    -1, or a query of -1, is not known. Ranks are compared inside a query because result lists differ in
    length ("top-ranked google images": URNet; relative position: ours).
    """
    check_same_rows(rank=rank, query=query, source=source)
    rank, known = np.asarray(rank), (np.asarray(rank) >= 0) & (np.asarray(query) >= 0)
    evidence = np.zeros(len(rank), np.float32)
    if known.any():
        key = np.asarray(query)[known].astype(np.int64) * 128 + np.asarray(source)[known]
        lists, place = np.unique(key, return_inverse=True)
        last = np.zeros(len(lists), np.int64)
        np.maximum.at(last, place, rank[known])
        evidence[known] = 1 - rank[known] / np.maximum(last, 1)[place]
    return evidence, known


def _runs(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each element, where its run begins and how long it is; ``starts`` marks first elements."""
    first = np.flatnonzero(starts)
    size = np.diff(np.r_[first, len(starts)])
    return np.repeat(first, size), np.repeat(size, size)
