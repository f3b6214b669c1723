"""Pictures that are there twice: near duplicates within a set, and leaks of validation pictures into training."""

from __future__ import annotations

from typing import Any

import numpy as np

from urnet.core.checks import InputError, check_same_rows
from urnet.reweight.evidence.same_picture import SamePicture, Witnesses


def near_duplicates(features: Any, hashes: np.ndarray | None, *, thumbnails: Any = None) -> np.ndarray:
    """Groups of rows that show the same picture: int32 (N,), numbered by their first rows; -1 for a row that is alone.

    Args, of N pictures: ``features`` (N, d) of a network, float16 or float32, or None; ``hashes`` (N,) uint64 of
    ``urnet.data.images.perceptual_hash``, or None (one of both is needed); ``thumbnails`` (N, 64, 64) uint8, of
    ``perceptual_hash.thumbnail``, an array or anything that gives row i's by ``[i]``: asked only for candidates.
    A row of zeros with the hash 0 is alone: give those to unreadable images.

    Candidates are, of each row, the 4 nearest by features that are nearer than is usual (the median distance of rows
    to their second nearest) and the 4 nearest by hash (8 of 64 bits or less differ). With ``thumbnails`` a pair counts
    when its details fit (``evidence.overlay``: 0.9, or 0.6 under a mark if features and hash agree); without, when
    both witnesses agree, and then half of the cut copies are missed (docs/data.md). Copies that were mirrored count. A
    group is a connected component in which every picture was found to be the same as one of them (its centre), so that
    a chain of merely similar pictures is not a group. All ours.

    Memory: blocks of 1024 x 4096 cosines and some pairs a row, never N x N. Raises InputError for arrays that do not
    fit each other.
    """
    witnesses = _checked(features, hashes, thumbnails, "")
    same = SamePicture(witnesses)
    pairs, _ = same.pairs()
    return _groups(_rows(witnesses), pairs, same)


def leaks(
    features: Any,
    hashes: np.ndarray | None,
    val_features: Any,
    val_hashes: np.ndarray | None,
    *,
    thumbnails: Any = None,
    val_thumbnails: Any = None,
) -> np.ndarray:
    """The validation row that each training row shows the same picture as: int32 (N,), -1 for none.

    Arguments and rules as ``near_duplicates``, of the N training and the M validation pictures; of several the one that
    fits best. Raises InputError.
    """
    a, b = _checked(features, hashes, thumbnails, ""), _checked(val_features, val_hashes, val_thumbnails, "val_")
    for name, one, other in (("features", features, val_features), ("hashes", hashes, val_hashes)):
        if (one is None) != (other is None):
            raise InputError(f"{name} and val_{name}: one is None; both or none are accepted")
    if features is not None and features.shape[1] != val_features.shape[1]:
        raise InputError(f"features has {features.shape[1]} columns but val_features has {val_features.shape[1]}")
    found = np.full(_rows(a), -1, np.int32)
    if _rows(b):
        pairs, fit = SamePicture(a, b).pairs()
        order = np.lexsort((-pairs[:, 1], fit))  # the last one written is the best, of equal ones the first
        found[pairs[order, 0]] = pairs[order, 1]
    return found


def _rows(witnesses: Witnesses) -> int:
    return len(witnesses.features if witnesses.hashes is None else witnesses.hashes)


def _checked(features: Any, hashes: np.ndarray | None, thumbnails: Any, prefix: str) -> Witnesses:
    """The arrays, once they are seen to fit each other."""
    given = {"features": features, "hashes": hashes, "thumbnails": thumbnails}
    if features is None and hashes is None:
        raise InputError(f"{prefix}features, {prefix}hashes: found None; one of both is needed")
    check_same_rows(**{prefix + name: value for name, value in given.items() if hasattr(value, "__len__")})
    if features is not None and len(features.shape) != 2:
        raise InputError(f"{prefix}features: found shape {tuple(features.shape)}; (rows, columns) is accepted")
    if hashes is not None and (np.ndim(hashes) != 1 or np.asarray(hashes).dtype != np.uint64):
        found = np.asarray(hashes)
        raise InputError(f"{prefix}hashes: found {found.dtype} {found.shape}; uint64 (rows,) is accepted")
    return Witnesses(features, hashes, thumbnails)


def _groups(n_rows: int, pairs: np.ndarray, same: SamePicture) -> np.ndarray:
    """Components of pairs (P, 2), each reduced to what its centre shows; the rest again, until all are placed."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    member = np.full(n_rows, -1, np.int64)  # the centre of a row's group
    while len(pairs):
        links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n_rows, n_rows))
        _, component = connected_components(links, directed=False)
        degree = np.bincount(pairs.ravel(), minlength=n_rows)
        rows = np.flatnonzero(degree)
        order = rows[np.lexsort((rows, -degree[rows], component[rows]))]
        first = np.flatnonzero(np.diff(component[order], prepend=-1))
        centre = np.repeat(order[first], np.diff(first, append=len(order)))
        linked = np.isin(order * n_rows + centre, _keys(pairs, n_rows))
        unsure = np.flatnonzero(~linked & (order != centre))
        asked = np.sort(np.stack([order[unsure], centre[unsure]], 1), axis=1)
        linked[unsure] = same.judge(asked) > 0
        kept = linked | (order == centre)
        member[order[kept]] = centre[kept]
        pairs = pairs[(member[pairs] < 0).all(axis=1)]
    grouped = np.flatnonzero(member >= 0)
    _, first, number = np.unique(member[grouped], return_index=True, return_inverse=True)
    group = np.full(n_rows, -1, np.int32)
    group[grouped] = np.argsort(np.argsort(first))[number.ravel()]
    return group


def _keys(pairs: np.ndarray, n_rows: int) -> np.ndarray:
    """Both directions of pairs as single numbers."""
    return np.concatenate([pairs[:, 0] * n_rows + pairs[:, 1], pairs[:, 1] * n_rows + pairs[:, 0]])
