"""A sampler of some of the rows: the others are never drawn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from urnet.data.sampling.sampler import Sampler


class SomeRows(Sampler):
    """What ``inner`` draws of m rows, as ``rows`` (m,) of the N there are.

    An epoch is as long as the inner one's: the other rows count nowhere.
    """

    def __init__(self, inner: Sampler, rows: np.ndarray, n_rows: int) -> None:
        self._inner, self._rows = inner, rows
        self.n_rows, self.n_drawn = n_rows, inner.n_drawn

    def batches(
        self, epoch: int, batch_size: int, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterator[np.ndarray]:
        """The inner sampler's batches."""
        for batch in self._inner.batches(epoch, batch_size, start, rank, world_size):
            yield self._rows[batch]

    def sampled_share(self) -> np.ndarray:
        """(n_classes,) float64: the share of each class among the drawn rows, in expectation; sums to 1."""
        return self._inner.sampled_share()

    def expected_draws(self) -> np.ndarray:
        """(N,) float64: how often an epoch is expected to show each row; sums to m, 0 for rows that are not drawn."""
        draws = np.zeros(self.n_rows)
        draws[self._rows] = self._inner.expected_draws()
        return draws
