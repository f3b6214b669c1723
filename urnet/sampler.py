"""Level 2: which rows an epoch shows, in which order: a pure function of (seed, stage, epoch)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Optional

import numpy as np

from urnet.checks import InputError, check_labels, check_same_rows

ORDER, MIXUP = 0, 1  # what a random stream is for; the first number after the seed


def stage_key(stage: str) -> int:
    """A number of 32 bits for a stage's name, the same in every process and Python."""
    return zlib.crc32(stage.encode())


def draw_key(stage: str, step: int) -> int:
    """The key of one update's random choices: 32 bits of the stage's name, then the step (< 2^32)."""
    return stage_key(stage) << 32 | step


def full_batches(n_rows: int, batch_size: int) -> int:
    """Updates an epoch of ``n_rows`` drawn rows: full batches only, but at least one."""
    return max(n_rows // batch_size, 1)


def check_world(batch_size: int, world: int) -> None:
    """Raise InputError unless every process gets as many rows of a batch."""
    if batch_size % world:
        raise InputError(f"batch_size {batch_size} cannot be divided among {world} processes")


class EpochOrder:
    """The rows of every epoch of a stage; N rows in, N rows (drawn, perhaps repeatedly) out.

    Without weights an epoch is a plain permutation. With ``sampling_weight`` (N,) >= 0 or ``balance`` in
    0..1, class c has the share (1 - balance) n_c / N + balance / C of the drawn rows, C the number of classes
    that have rows, and inside the class a row's share is proportional to its weight. Row i is expected e_i
    times an epoch and drawn floor(e_i) or ceil(e_i) times, a class as often as its share says, give or take
    one: systematic resampling of rows that are shuffled, then ordered by class. Weight 0 is never drawn.

    Raises InputError when a class with rows has no weight at all: no class may vanish.
    """

    def __init__(
        self,
        labels: np.ndarray,
        *,
        sampling_weight: Optional[np.ndarray] = None,
        balance: float = 0.0,
        seed: int,
        stage: str,
        n_classes: Optional[int] = None,
    ) -> None:
        if not len(labels):
            raise InputError("labels: found no rows; there is nothing to draw")
        self.n_classes = int(labels.max()) + 1 if n_classes is None else n_classes
        check_labels(labels, self.n_classes)
        self.n_rows, self._stream = len(labels), [seed, stage_key(stage)]
        counts = np.bincount(labels, minlength=self.n_classes)
        even = (counts > 0) / np.count_nonzero(counts)
        self._share = (1 - balance) * counts / self.n_rows + balance * even
        self._labels: Optional[np.ndarray] = None  # None: plain permutations
        if sampling_weight is not None or balance > 0:
            self._prepare(labels, sampling_weight, counts)

    def _prepare(self, labels: np.ndarray, weight: Optional[np.ndarray], counts: np.ndarray) -> None:
        """Keep the rows that can be drawn, their classes and how often an epoch expects them."""
        if weight is None:
            weight = np.ones(self.n_rows, np.float32)
        check_same_rows(labels=labels, sampling_weight=weight)
        if not (np.isfinite(weight).all() and (weight >= 0).all()):
            row = int(np.argmin(np.isfinite(weight) & (weight >= 0)))
            raise InputError(f"sampling_weight: row {row} has {weight[row]}; finite and >= 0 is accepted")
        mass = np.bincount(labels, weights=weight, minlength=self.n_classes)
        empty = np.flatnonzero((counts > 0) & (mass == 0))
        if len(empty):
            raise InputError(
                f"sampling_weight: class {empty[0]} has {counts[empty[0]]} rows, all of weight 0; "
                "every class needs a row of weight > 0"
            )
        self._rows = np.flatnonzero(weight > 0)
        # 16-bit labels are sorted by radix, five times as fast as by comparison
        self._labels = labels[self._rows].astype(np.uint16 if self.n_classes <= 1 << 16 else np.int32)
        per_mass = self.n_rows * self._share / np.where(mass > 0, mass, 1)
        self._expected = per_mass[self._labels] * weight[self._rows]

    def sampled_share(self) -> np.ndarray:
        """(n_classes,) float64: the share of each class among the drawn rows, in expectation; sums to 1."""
        return self._share.copy()

    def expected_draws(self) -> np.ndarray:
        """(N,) float64: how often an epoch is expected to show each row; sums to N."""
        if self._labels is None:
            return np.ones(self.n_rows)
        draws = np.zeros(self.n_rows)
        draws[self._rows] = self._expected
        return draws

    def order(self, epoch: int) -> np.ndarray:
        """(N,) int64: the rows of one epoch in the order they are shown. O(N) time and memory."""
        rng = np.random.default_rng([ORDER, *self._stream, epoch])
        if self._labels is None:
            return rng.permutation(self.n_rows)
        # Shuffled inside each class, or neighbours in the list could never be drawn in one epoch.
        shuffled = rng.permutation(len(self._rows))
        by_class = shuffled[np.argsort(self._labels[shuffled], kind="stable")]
        edges = np.floor(np.cumsum(self._expected[by_class]) + rng.random()).astype(np.int64)
        np.minimum(edges, self.n_rows, out=edges)  # the sum is N but for rounding
        edges[-1] = self.n_rows
        drawn = self._rows[np.repeat(by_class, np.diff(edges, prepend=0))]
        rng.shuffle(drawn)
        return drawn

    def steps_per_epoch(self, batch_size: int) -> int:
        """Updates an epoch: full batches only, but at least one."""
        return full_batches(self.n_rows, batch_size)

    def batches(
        self, epoch: int, batch_size: int, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[np.ndarray]:
        """The epoch's batches from number ``start`` on, each cut to this ``rank``'s part.

        ``batch_size`` counts the rows of all ranks. A last batch that is not full is dropped (another epoch
        shows its rows), unless it is the only one. Nothing before ``start`` is drawn again.
        """
        check_world(batch_size, world)
        order = self.order(epoch)
        for number in range(start, self.steps_per_epoch(batch_size)):
            batch = order[number * batch_size : (number + 1) * batch_size]
            part = -(-len(batch) // world)
            yield batch[rank * part : (rank + 1) * part]
