"""Features of millions of rows: read by block, checked, put in an order of their own, projected.

The projection does not depend on the order of the rows or on the number of threads, down to the last bit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from urnet.core.blocks import blocks
from urnet.core.checks import InputError, check_labels, check_same_rows

SAMPLE = 0  # what a random stream is for; the first number before the seed
PCA_ROWS = 1 << 15  # rows the projection is fitted on
BLOCK_BYTES = 1 << 22  # features read at a time in the pass over all rows
CONVERT_ROWS = 1 << 12  # rows converted to float32 at a time
LIMIT = 1e15  # of a feature's magnitude: far from where float32 squares and sums overflow


class Projection(NamedTuple):
    """PCA: z = (f - mean) @ components; ``mean`` (D,), ``components`` (D, d) of norm 1; float32."""

    mean: np.ndarray
    components: np.ndarray


def fit_projection(
    features: Any, *, pca: int = 256, seed: int = 0, sample_rows: int = PCA_ROWS, block_bytes: int = BLOCK_BYTES
) -> Projection:
    """The first min(pca, D, rows) principal components of at most ``sample_rows`` of ``features`` (N, D).

    One pass over all rows, ``block_bytes`` of features at a time, finds those with the smallest hash of their
    bytes, a sample that does not depend on their order (ours). Processes may fit it once and pass it round: it
    is a function of (features, pca, seed).
    Raises InputError for features that are not finite or of a magnitude >= 1e15, naming the row.
    """
    from scipy.linalg import eigh
    from threadpoolctl import threadpool_limits

    if pca < 1:
        raise InputError(f"pca: found {pca}; 1 or more is accepted")
    rows = _sample(features, seed, sample_rows, block_bytes)
    sample = read_rows(features, rows)
    sample = sample[byte_order(sample)].astype(np.float32)
    width = sample.shape[1]
    kept = min(pca, width, len(sample))
    with threadpool_limits(1):
        mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        sample -= mean
        largest = max(sample.max(), -sample.min(), np.finfo(np.float32).tiny)
        sample /= largest  # small features must not square to 0
        covariance = np.zeros((width, width))
        for part in blocks(len(sample), CONVERT_ROWS):
            covariance += sample[part].T @ sample[part]
        vectors = eigh(covariance, subset_by_index=(width - kept, width - 1))[1]
    return Projection(mean, np.ascontiguousarray(vectors[:, ::-1], np.float32))


def check_features(features: Any, labels: np.ndarray, n_classes: int) -> None:
    """Raise InputError unless ``features`` is (N, D) of floats, D >= 1, for N >= 1 valid labels."""
    check_labels(labels, n_classes)
    if not len(labels):
        raise InputError("labels: found no rows; at least one is needed")
    shape, dtype = tuple(features.shape), np.dtype(features.dtype)
    if len(shape) != 2 or not shape[1] or dtype.kind != "f" or dtype.itemsize > 8:
        raise InputError(f"features: (N, D) of float16, 32 or 64 is accepted; found {shape} of {dtype}")
    check_same_rows(labels=labels, features=range(shape[0]))


def _sample(features: Any, seed: int, sample_rows: int, block_bytes: int) -> np.ndarray:
    """The rows, ascending, of the ``sample_rows`` smallest hashes; equal rows have equal hashes."""
    n_rows, width = features.shape
    if n_rows <= sample_rows:
        return np.arange(n_rows)
    itemsize = np.dtype(features.dtype).itemsize
    # Σ m_j u_j mod 2^64 over words u of 16 bits, m random: two rows that differ agree with chance < 2^-47
    factors = np.random.default_rng([SAMPLE, seed]).integers(0, 1 << 64, width * itemsize // 2, dtype=np.uint64)
    keys = np.empty(n_rows, np.uint64)
    step = max(block_bytes // (width * itemsize), 1)
    for part in blocks(n_rows, step):
        keys[part] = read_rows(features, part).view(np.uint16).astype(np.uint64) @ factors
    return np.sort(np.argpartition(keys, sample_rows)[:sample_rows])


def read_rows(features: Any, rows: slice | np.ndarray) -> np.ndarray:
    """Gather rows as they are stored, contiguous; raises InputError unless all are finite and below LIMIT."""
    block = np.ascontiguousarray(features[rows])
    if block.dtype == np.float16:  # all of its finite numbers are sane; its maximum is slow to find
        sane = bool(np.isfinite(block).all())
    else:
        sane = bool(block.max() < LIMIT and block.min() > -LIMIT)
    if not sane:
        place, column = np.argwhere(~(np.abs(block.astype(np.float64)) < LIMIT))[0]
        row = rows.start + place if isinstance(rows, slice) else rows[place]
        raise InputError(
            f"features: row {row} has {block[place, column]!s} in column {column}; "
            f"finite numbers of a magnitude below {LIMIT:g} are accepted"
        )
    return block


def byte_order(block: np.ndarray) -> np.ndarray:
    """The order of rows by their bytes: any order of the same rows ends in the same sequence."""
    return np.argsort(block.view(f"V{block.shape[1] * block.itemsize}").ravel(), kind="stable")


def project(raw: np.ndarray, rows: np.ndarray, projection: Projection) -> np.ndarray:
    """Some rows of ``raw`` (n, D) projected: (rows, d) float32 of norm 1; one at the mean itself stays 0."""
    projected = np.empty((len(rows), projection.components.shape[1]), np.float32)
    for part in blocks(len(rows), CONVERT_ROWS):
        block = raw[rows[part]].astype(np.float32) - projection.mean
        z = block @ projection.components
        z /= np.maximum(np.abs(z).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        z /= np.maximum(np.sqrt(np.square(z).sum(axis=1, keepdims=True)), 1)  # 1 at least, but for z = 0
        projected[part] = z
    return projected
