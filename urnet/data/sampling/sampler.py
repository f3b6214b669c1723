"""What a stage asks of its sampler: which rows make each batch, and how often rows and classes are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np


def full_batches(n_rows: int, batch_size: int) -> int:
    """Steps an epoch of ``n_rows`` drawn rows: full batches only, but at least one."""
    return max(n_rows // batch_size, 1)


class Sampler(Protocol):
    """EpochSampler, BagSampler and CurriculumSampler: every batch is a function of (seed, stage, epoch, number)."""

    n_rows: int
    n_drawn: int  # rows that an epoch draws, before it is cut into full batches

    def steps_per_epoch(self, batch_size: int) -> int:
        """Steps an epoch: full batches only, but at least one."""
        return full_batches(self.n_drawn, batch_size)

    def batches(
        self, epoch: int, batch_size: int, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterator[np.ndarray]:
        """The epoch's batches from number ``start`` on, each cut to this ``rank``'s part, rows as int64."""

    def sampled_share(self) -> np.ndarray:
        """(n_classes,) float64: the share of each class among the drawn rows, in expectation; sums to 1."""

    def expected_draws(self) -> np.ndarray:
        """(N,) float64: how often an epoch is expected to show each row; sums to N."""
