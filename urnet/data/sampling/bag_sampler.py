"""An epoch's order made of whole bags: groups of rows of one class (multi-instance learning)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from urnet.core.blocks import blocks
from urnet.core.checks import InputError
from urnet.core.seeds import ORDER
from urnet.data.sampling.epoch_sampler import EpochSampler, all_rows, rank_parts


class BagSampler(EpochSampler):
    """The bags of every epoch of a stage: ``size`` consecutive rows of one class each, bags shuffled.

    An epoch has max(N // size, 1) bags. Class c gets its share of them, ``sampled_share``, rounded up or down
    without bias, so in some epochs a class with few rows gets none. The rows of its k_c bags are a systematic
    sample of the class by ``sampling_weight``: row i is expected e_i = k_c size w_i / W_c times, W_c the
    weight of its class, and drawn floor(e_i) or ceil(e_i) times (ours; as in EpochSampler, bags in place of
    rows).

    The copies of a row go to different bags as long as there are enough: a bag's rows are distinct unless one
    has more than 1 / size of its class's weight, and then it comes at most ceil(size w_i / W_c) times in a
    bag. So a class of equal weights repeats rows inside a bag only if it has fewer than ``size`` of them.
    Drawing such rows less often would be a bias, so they repeat.

    Raises InputError for ``size`` < 1 and wherever EpochSampler does.
    """

    def __init__(self, labels: np.ndarray, *, size: int, **drawing: Any) -> None:
        """``drawing``: EpochSampler's other arguments."""
        if size < 1:
            raise InputError(f"bags.size: 1 or more is accepted, found {size}")
        super().__init__(labels, **drawing)
        self._plain = False  # never a permutation: its bags would be of several classes
        self.size, self.n_bags = size, max(self.n_rows // size, 1)
        self.n_drawn = self.n_bags * size

    def order(self, epoch: int) -> np.ndarray:
        """(n_bags * size,) int64: the rows of one epoch, bag after bag. O(N) time and memory."""
        return super().order(epoch).ravel()

    def _order(self, epoch: int) -> np.ndarray:
        """(n_bags, size), of as few bytes as do."""
        rng = np.random.default_rng([ORDER, *self._stream, epoch])
        places = self.size * self._bags_of_classes(rng)
        rows = self._by_class(rng)
        drawn = self._draw(rows, int(places.sum()), self._edges(places, rng.random()))
        del rows
        shuffled = all_rows(self.n_bags)
        rng.shuffle(shuffled)
        bags = np.empty((self.n_bags, self.size), drawn.dtype)
        for part in blocks(self.n_bags, max(self._block // self.size, 1)):
            bags[part] = drawn[deal(places, self.size, shuffled[part])]
        return bags

    def _bags_of_classes(self, rng: np.random.Generator) -> np.ndarray:
        """(C,) int64: bags of each class, floor or ceil of its share of them; they sum to ``n_bags``."""
        classes = rng.permutation(np.flatnonzero(self._share))
        edges = np.floor(np.cumsum(self._share[classes]) * self.n_bags + rng.random()).astype(np.int64)
        np.minimum(edges, self.n_bags, out=edges)  # the shares sum to 1 but for rounding
        edges[-1] = self.n_bags
        bags = np.zeros(self.n_classes, np.int64)
        bags[classes] = np.diff(edges, prepend=0)
        return bags

    def _edges(self, places: np.ndarray, shift: float) -> Callable[..., np.ndarray]:
        """Where each row's draws end (``_draw``), so that each class gets its ``places`` (C,) exactly."""
        total = self.n_rows * self._share  # of each class's expectations
        before, first, last = np.cumsum(total) - total, np.cumsum(places) - places, np.cumsum(self._counts)

        def edges(part: slice, label: np.ndarray, sums: np.ndarray) -> np.ndarray:
            share = (sums - before[label]) / total[label]
            found = np.floor(share * places[label] + shift).astype(np.int64)
            np.clip(found, 0, places[label], out=found)  # rounding must not move a place to another class
            ends = np.arange(part.start + 1, part.stop + 1) == last[label]  # the last row of a class
            found[ends] = places[label[ends]]
            return found + first[label]

        return edges

    def batches(
        self, epoch: int, batch_size: int, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterator[np.ndarray]:
        """As EpochSampler's, in whole bags: every batch and every rank's part of it.

        Raises InputError unless ``batch_size`` is a multiple of size * world_size.
        """
        check_bag_batch(batch_size, self.size, world_size=world_size)
        bags = batch_size // self.size
        for part in rank_parts(self._order(epoch), bags, start, rank, world_size):
            yield part.ravel().astype(np.int64)


def deal(places: np.ndarray, size: int, bags: np.ndarray) -> np.ndarray:
    """(bags, size) int64: which draws ``bags`` get, when a class's draws are dealt out like cards.

    ``places`` (C,): draws of each class, multiples of ``size``; draws and bags are numbered in order of
    class. Of the k bags of a class, bag b gets as number p of its rows the class's draw p k + b:
    neighbouring draws, the copies of a row, go to different bags.
    """
    n_bags = places // size
    ends = np.cumsum(n_bags)
    c = np.searchsorted(ends, bags, side="right")
    first = size * (ends - n_bags)[c] + (bags - (ends - n_bags)[c])
    return first[:, None] + n_bags[c][:, None] * np.arange(size)


def check_bag_batch(batch_size: int, size: int, *, world_size: int = 1) -> None:
    """Raise InputError unless each process's part of a batch is whole bags."""
    unit = size * world_size
    if batch_size % unit:
        raise InputError(
            f"batch_size {batch_size}: a multiple of {unit} is accepted, as {world_size} process(es) "
            f"each take whole bags of {size} rows"
        )
