"""Which pairs of rows show the same picture: three witnesses, none of which is believed alone while others can speak.

A network's features hold against cuts, recompression and mirroring, but find two trousers on the same wall as like as
two copies of one photograph. A perceptual hash holds against smaller sizes and grey, and not against cuts. Small
copies of the pictures, laid over each other, tell what the two cannot. All thresholds are ours; docs/data.md has the
figures they were chosen by.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from urnet.core.cpus import usable_cores
from urnet.reweight.evidence.nearest_pairs import UnitRows, nearest_pairs, second_nearest
from urnet.reweight.evidence.overlay import overlay

NEAREST = 4  # candidates of a row, by either witness
SAMPLE = 2000  # rows that the usual distance is measured on
MIRRORED = np.uint64(0x5555555555555555)  # bits of a hash that change when its picture is mirrored
# Bits in which hashes differ. Unrelated pictures: 32 on average, 8 or less in 1 of 100,000 pairs (of clothes).
EQUAL, CLOSE, NEAR, WIDE, FAR = 2, 4, 8, 12, 24
MANY = 1000  # pairs that are always looked at where hashes alone propose them, or half as many as there are rows
USUAL = 1e-4, 0.3  # the usual distance, at least and at most: sets of copies, sets of three pictures
EQUAL_FEATURES = 1e-5  # 1 - cosine: one picture in two batches
OVERLAY, HALF_COVERED = 0.9, 0.6  # correlations: the same; the same under a mark or a caption, if the others agree
_HASH_BITS = 64
_PATTERN = 24  # bits that are set in a hash of a picture with a pattern, at least


@dataclass(frozen=True)
class Witnesses:
    """What is known of N pictures: ``features`` (N, d), ``hashes`` (N,) uint64, ``thumbnails`` (N, S, S) uint8 grey."""

    features: Any = None
    hashes: np.ndarray | None = None
    thumbnails: Any = None


class SamePicture:
    """Judges pairs (row of ``a``, row of ``b``); ``b`` None: pairs within ``a``.

    ``usual``: the median distance (1 - cosine) of a row of ``a`` to its second nearest, of 2,000 rows: what "near"
    means for this network and these pictures. No truth and no labels are asked.
    """

    def __init__(self, a: Witnesses, b: Witnesses | None = None) -> None:
        self.a, self.b = a, a if b is None else b
        self._within = b is None
        self._features = None if a.features is None else (UnitRows(a.features), UnitRows(self.b.features))
        self.usual = 0.0
        if self._features is not None and len(a.features):
            rows = np.unique(np.linspace(0, len(a.features) - 1, SAMPLE).astype(np.int64))
            self.usual = float(np.clip(np.median(1 - second_nearest(self._features[0], rows)), *USUAL))

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """The pairs that show the same, int64 (P, 2), and how well they fit, (P,); within one table i < j."""
        found = [np.empty((0, 2), np.int64)]
        if self._features is not None and self.usual > 0:
            a, b = self._features
            found.append(nearest_pairs(a, None if self._within else b, 1 - self.usual, NEAREST)[0])
        if self.a.hashes is not None and self.b.hashes is not None:
            found += self._near_hashes(self.a.hashes, self.b.hashes)
        candidates = np.unique(np.concatenate(found), axis=0)
        if self._features is None:
            candidates = self._affordable(candidates)
        fit = self.judge(candidates)
        return candidates[fit > 0], fit[fit > 0]

    def _affordable(self, candidates: np.ndarray) -> np.ndarray:
        """The candidates of hashes alone: up to NEAR bits, and up to WIDE as far as there are not too many of them."""
        bits, _ = self._bits(candidates)
        levels = np.cumsum(np.bincount(bits, minlength=WIDE + 1))
        most = max(MANY, len(self.a.hashes) // 2) if self.a.hashes is not None else 0
        return candidates[bits <= max(NEAR, np.count_nonzero(levels <= most) - 1)]

    def judge(self, pairs: np.ndarray) -> np.ndarray:
        """How well each pair (P, 2) fits, 0 to 2; 0: not the same picture."""
        bits, mirrored = self._bits(pairs)
        distance = self._distance(pairs)
        alike = distance <= self.usual / 5  # by chance in a space of 5 dimensions: (1/5)^5 of the rows
        if self._features is None:
            alike = np.zeros(len(pairs), bool)
        equal = alike & (bits == 0) & ~mirrored & (distance <= EQUAL_FEATURES)
        if self.a.thumbnails is None or self.b.thumbnails is None:
            same = equal | self._without_pictures(bits, distance, alike)
            return np.where(same, 2 - np.minimum(distance, 1) - bits / _HASH_BITS / 2, 0)
        fit = np.where(equal, 2.0, 0.0)
        asked = np.flatnonzero(~equal & ((bits <= FAR) | alike))
        with ThreadPoolExecutor(usable_cores()) as pool:
            fit[asked] = list(pool.map(self._laid_over, pairs[asked, 0], pairs[asked, 1], mirrored[asked]))
        covered = alike & (bits <= WIDE) & (fit >= HALF_COVERED)
        return np.where((fit >= OVERLAY) | covered, fit, 0)

    def _laid_over(self, i: int, j: int, mirrored: bool) -> float:
        first, second = np.asarray(self.a.thumbnails[i]), np.asarray(self.b.thumbnails[j])
        fit = overlay(first, second, OVERLAY)
        return max(fit, overlay(first, second[:, ::-1], OVERLAY)) if mirrored and fit < OVERLAY else fit

    def _without_pictures(self, bits: np.ndarray, distance: np.ndarray, alike: np.ndarray) -> np.ndarray:
        if self._features is None:
            return bits <= EQUAL
        if self.a.hashes is None:
            return alike
        near, half = distance <= self.usual, distance <= self.usual / 2
        return (near & (bits <= CLOSE)) | (half & (bits <= NEAR)) | (alike & (bits <= 2 * NEAR))

    def _bits(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bits in which the hashes differ, and whether the one is nearer to the mirrored other; 0 without hashes."""
        if self.a.hashes is None or self.b.hashes is None:
            return np.zeros(len(pairs), np.int64), np.zeros(len(pairs), bool)
        differ = self.a.hashes[pairs[:, 0]] ^ self.b.hashes[pairs[:, 1]]
        straight, mirrored = _ones(differ), _ones(differ ^ MIRRORED)
        return np.minimum(straight, mirrored), mirrored < straight

    def _distance(self, pairs: np.ndarray) -> np.ndarray:
        """1 - cosine of the features; 0 without them."""
        if self._features is None:
            return np.zeros(len(pairs), np.float32)
        a, b = self._features
        parts = [pairs[at : at + 4096] for at in range(0, len(pairs), 4096)]
        return np.concatenate([1 - np.einsum("pd,pd->p", a[p[:, 0]], b[p[:, 1]]) for p in parts] or [np.zeros(0)])

    def _near_hashes(self, a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
        """Pairs whose hashes differ by few bits, mirrored or not; of equal hashes each with the first."""
        rows, columns = (np.flatnonzero(_ones(hashes) >= _PATTERN) for hashes in (a, b))
        x, y, flipped = (UnitRows(_signs(h)) for h in (a[rows], b[columns], b[columns] ^ MIRRORED))
        most = NEAR if self._features is not None or self.a.thumbnails is None else WIDE
        least = 1 - 2 * most / _HASH_BITS - 1e-4
        found = [nearest_pairs(x, None if self._within else y, least, NEAREST)[0]]
        found.append(nearest_pairs(x, flipped, least, NEAREST)[0])
        pairs = [np.stack([rows[p[:, 0]], columns[p[:, 1]]], 1) for p in found]
        if self._within:
            pairs = [np.sort(p[p[:, 0] != p[:, 1]], axis=1) for p in pairs]
            _, first, number = np.unique(a[rows], return_index=True, return_inverse=True)
            again = rows[first[number.ravel()]] < rows
            pairs.append(np.stack([rows[first[number.ravel()]], rows], 1)[again])
        return pairs


def _ones(numbers: np.ndarray) -> np.ndarray:
    """How many bits of uint64 (N,) are set, int64. (NumPy's own bitwise_count came with 2.0.)"""
    return np.unpackbits(np.ascontiguousarray(numbers).view(np.uint8).reshape(-1, 8), axis=1).sum(1, dtype=np.int64)


def _signs(hashes: np.ndarray) -> np.ndarray:
    """Hashes (N,) as vectors of -1 and 1, int8 (N, 64): bits that differ are 32 (1 - cosine)."""
    bits = np.unpackbits(np.ascontiguousarray(hashes).view(np.uint8).reshape(-1, 8), axis=1)
    return 2 * bits.astype(np.int8) - 1
