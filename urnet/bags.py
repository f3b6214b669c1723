"""Level 2: an epoch's order made of whole bags: groups of rows of one class (multi-instance learning)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

import numpy as np

from urnet.checks import InputError
from urnet.sampler import ORDER, EpochOrder, full_batches


class BagOrder(EpochOrder):
    """The bags of every epoch of a stage: ``size`` consecutive rows of one class each, bags shuffled.

    An epoch has max(N // size, 1) bags. Class c gets its share of them, ``sampled_share``, rounded up or down
    without bias, so in some epochs a class with few rows gets none. The rows of its k_c bags are a systematic
    sample of the class by ``sampling_weight``: row i is expected e_i = k_c size w_i / W_c times, W_c the
    weight of its class, and drawn floor(e_i) or ceil(e_i) times (ours; as in EpochOrder, bags in place of
    rows).

    The copies of a row go to different bags as long as there are enough: a bag's rows are distinct unless one
    has more than 1 / size of its class's weight, and then it comes at most ceil(size w_i / W_c) times in a
    bag. So a class of equal weights repeats rows inside a bag only if it has fewer than ``size`` of them.
    Drawing such rows less often would be a bias, so they repeat.

    Raises InputError for ``size`` < 1 and wherever EpochOrder does.
    """

    def __init__(
        self,
        labels: np.ndarray,
        *,
        size: int,
        sampling_weight: Optional[np.ndarray] = None,
        balance: float = 0.0,
        seed: int,
        stage: str,
        n_classes: Optional[int] = None,
    ) -> None:
        if size < 1:
            raise InputError(f"bags.size: 1 or more is accepted, found {size}")
        if sampling_weight is None:
            sampling_weight = np.ones(len(labels), np.float32)
        super().__init__(
            labels,
            sampling_weight=sampling_weight,
            balance=balance,
            seed=seed,
            stage=stage,
            n_classes=n_classes,
        )
        self.size, self.n_bags = size, max(self.n_rows // size, 1)

    def order(self, epoch: int) -> np.ndarray:
        """(n_bags * size,) int64: the rows of one epoch, bag after bag. O(N) time and memory."""
        assert self._labels is not None  # weights were given
        rng = np.random.default_rng([ORDER, *self._stream, epoch])
        places = self.size * self._bags_of_classes(rng)
        # shuffled inside each class, or neighbours in the list could never be drawn in one epoch
        shuffled = rng.permutation(len(self._rows))
        by_class = shuffled[np.argsort(self._labels[shuffled], kind="stable")]
        drawn = np.repeat(by_class, self._times(by_class, places, rng))
        bags = self._rows[drawn[deal(places, self.size)]].reshape(self.n_bags, self.size)
        return bags[rng.permutation(self.n_bags)].ravel()

    def _bags_of_classes(self, rng: np.random.Generator) -> np.ndarray:
        """(C,) int64: bags of each class, floor or ceil of its share of them; they sum to ``n_bags``."""
        classes = rng.permutation(np.flatnonzero(self._share))
        edges = np.floor(np.cumsum(self._share[classes]) * self.n_bags + rng.random()).astype(np.int64)
        np.minimum(edges, self.n_bags, out=edges)  # the shares sum to 1 but for rounding
        edges[-1] = self.n_bags
        bags = np.zeros(self.n_classes, np.int64)
        bags[classes] = np.diff(edges, prepend=0)
        return bags

    def _times(self, by_class: np.ndarray, places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """How often each of the rows ``by_class``, in order of class, is drawn; a class's places in all."""
        assert self._labels is not None
        labels = self._labels[by_class]
        total = self.n_rows * self._share  # of each class's expectations
        share = (np.cumsum(self._expected[by_class]) - (np.cumsum(total) - total)[labels]) / total[labels]
        edges = np.floor(share * places[labels] + rng.random()).astype(np.int64)
        np.clip(edges, 0, places[labels], out=edges)  # rounding must not move a place to another class
        last = np.flatnonzero(np.diff(labels.astype(np.int32), append=-1))  # of each class that has rows
        edges[last] = places[labels[last]]
        edges += (np.cumsum(places) - places)[labels]
        return np.diff(edges, prepend=0)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Updates an epoch: full batches only, but at least one."""
        return full_batches(self.n_bags * self.size, batch_size)

    def batches(
        self, epoch: int, batch_size: int, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[np.ndarray]:
        """As EpochOrder's, in whole bags: every batch and every rank's part of it.

        Raises InputError unless ``batch_size`` is a multiple of size * world.
        """
        check_bag_batch(batch_size, self.size, world=world)
        order = self.order(epoch).reshape(self.n_bags, self.size)
        bags = batch_size // self.size
        for number in range(start, self.steps_per_epoch(batch_size)):
            batch = order[number * bags : (number + 1) * bags]
            part = -(-len(batch) // world)
            yield batch[rank * part : (rank + 1) * part].ravel()


def deal(places: np.ndarray, size: int) -> np.ndarray:
    """(sum of places,) int64: which draw takes each place, when a class's draws are dealt out like cards.

    ``places`` (C,): draws of each class, multiples of ``size``; draws and places are ordered by class. With
    k bags in a class, place p of its bag b takes the class's draw p k + b: neighbouring draws, the copies of
    a row, go to different bags.
    """
    bags = places // size
    first = np.cumsum(places) - places
    own = np.arange(places.sum()) - np.repeat(first, places)
    bag, place = np.divmod(own, size)
    return np.repeat(first, places) + place * np.repeat(bags, places) + bag


def check_bag_batch(batch_size: int, size: int, *, world: int = 1) -> None:
    """Raise InputError unless each process's part of a batch is whole bags."""
    unit = size * world
    if batch_size % unit:
        raise InputError(
            f"batch_size {batch_size}: a multiple of {unit} is accepted, as {world} process(es) "
            f"each take whole bags of {size} rows"
        )
