"""Which rows an epoch shows, in which order: a pure function of (seed, stage, epoch).

Every process makes the order of all rows for itself, so memory counts: rows are int32 where they fit, an order of N
rows takes 8 N bytes while it is made and 4 N / world_size afterwards, and what is computed of a row is computed a
block at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from urnet.core.blocks import blocks, class_sizes
from urnet.core.checks import InputError, check_labels, check_same_rows
from urnet.core.seeds import ORDER, stage_key
from urnet.data.sampling.sampler import Sampler, full_batches

ROWS = 1 << 17  # rows computed at a time


def check_world_size(batch_size: int, world_size: int) -> None:
    """Raise InputError unless every process gets as many rows of a batch."""
    if batch_size % world_size:
        raise InputError(f"batch_size {batch_size} cannot be divided among {world_size} processes")


class EpochSampler(Sampler):
    """The rows of every epoch of a stage; N rows in, N rows (drawn, perhaps repeatedly) out.

    Without weights an epoch is a plain permutation. With ``sampling_weight`` (N,) >= 0 or ``balance`` in
    0..1, class c has the share (1 - balance) n_c / N + balance / C of the drawn rows, C the number of classes
    that have rows, and inside the class a row's share is proportional to its weight. Row i is expected e_i
    times per epoch and drawn floor(e_i) or ceil(e_i) times, a class as often as its share says, give or take
    one: systematic resampling of rows that are shuffled, then ordered by class. Weight 0 is never drawn.

    Both arrays are kept as they are, not copied (they may be mapped files): they must not change afterwards.
    ``block``: rows computed at a time, which changes no byte.
    Raises InputError when a class with rows has no weight at all: no class may vanish.
    """

    def __init__(
        self,
        labels: np.ndarray,
        *,
        sampling_weight: np.ndarray | None = None,
        balance: float = 0.0,
        seed: int,
        stage: str,
        n_classes: int | None = None,
        block: int = ROWS,
    ) -> None:
        if not len(labels):
            raise InputError("labels: found no rows; there is nothing to draw")
        self.n_classes = int(labels.max()) + 1 if n_classes is None else n_classes
        check_labels(labels, self.n_classes)
        self.n_rows, self._stream, self._block = len(labels), [seed, stage_key(stage)], block
        self.n_drawn = self.n_rows
        self._labels, self._weight = labels, sampling_weight
        self._counts = class_sizes(labels, self.n_classes)  # of the rows that can be drawn
        even = (self._counts > 0) / np.count_nonzero(self._counts)
        self._share = (1 - balance) * self._counts / self.n_rows + balance * even
        self._plain = sampling_weight is None and balance <= 0  # an epoch is a permutation
        mass = self._counts if sampling_weight is None else self._weigh(sampling_weight)
        self._per_mass = self.n_rows * self._share / np.where(mass > 0, mass, 1)

    def _weigh(self, weight: np.ndarray) -> np.ndarray:
        """(C,) each class's weight, checked; rows of weight 0 no longer count as rows that can be drawn."""
        check_same_rows(labels=self._labels, sampling_weight=weight)
        mass, counts, classes = np.zeros(self.n_classes), self._counts, np.arange(self.n_classes)
        self._counts = np.zeros_like(counts)
        for part in blocks(self.n_rows, self._block):
            label, value = self._labels[part], weight[part]
            good = np.isfinite(value) & (value >= 0)
            if not good.all():
                row = part.start + int(np.argmin(good))
                raise InputError(f"sampling_weight: row {row} has {weight[row]}; finite and >= 0 is accepted")
            # each class's sum continues from where it was, to the bits of a sum over all rows in one go
            label_or_class, value_or_mass = np.concatenate([classes, label]), np.concatenate([mass, value])
            mass = np.bincount(label_or_class, value_or_mass, self.n_classes).astype(np.float64, copy=False)
            self._counts += np.bincount(label[value > 0], minlength=self.n_classes)
        empty = np.flatnonzero((counts > 0) & (mass == 0))
        if len(empty):
            raise InputError(
                f"sampling_weight: class {empty[0]} has {counts[empty[0]]} rows, all of weight 0; "
                "every class needs a row of weight > 0"
            )
        return mass

    def sampled_share(self) -> np.ndarray:
        """(n_classes,) float64: the share of each class among the drawn rows, in expectation; sums to 1."""
        return self._share.copy()

    def expected_draws(self) -> np.ndarray:
        """(N,) float64: how often an epoch is expected to show each row; sums to N."""
        draws = np.ones(self.n_rows)
        if not self._plain:
            for part in blocks(self.n_rows, self._block):
                draws[part] = self._expected(part, self._labels[part])
        return draws

    def _expected(self, rows: slice | np.ndarray, label: np.ndarray) -> np.ndarray:
        """How often an epoch is expected to show each of ``rows``, of classes ``label``."""
        each = self._per_mass[label]
        return each if self._weight is None else each * self._weight[rows]

    def order(self, epoch: int) -> np.ndarray:
        """(N,) int64: the rows of one epoch in the order they are shown. O(N) time and memory."""
        return self._order(epoch).astype(np.int64)

    def _order(self, epoch: int) -> np.ndarray:
        """``order`` in a type of as few bytes as do."""
        rng = np.random.default_rng([ORDER, *self._stream, epoch])
        if self._plain:
            rows = all_rows(self.n_rows)
            rng.shuffle(rows)
            return rows
        rows = self._by_class(rng)
        shift, last = rng.random(), len(rows)

        def edges(part: slice, label: np.ndarray, sums: np.ndarray) -> np.ndarray:
            found = np.floor(sums + shift).astype(np.int64)
            np.minimum(found, self.n_rows, out=found)  # the sum is N but for rounding
            if part.stop == last:
                found[-1] = self.n_rows
            return found

        drawn = self._draw(rows, self.n_rows, edges)
        del rows
        rng.shuffle(drawn)
        return drawn

    def _by_class(self, rng: np.random.Generator) -> np.ndarray:
        """The rows that can be drawn, ordered by class and shuffled inside each class.

        Shuffled, or neighbours in the list could never be drawn in one epoch.
        """
        weight = self._weight
        if weight is None:
            rows = all_rows(self.n_rows)
        else:
            rows = rows_where(lambda part: weight[part] > 0, self.n_rows, int(self._counts.sum()), self._block)
        rng.shuffle(rows)
        return ordered_by_class(rows, self._labels, self._counts, self._block)

    def _draw(self, rows: np.ndarray, n: int, edges: Callable[..., np.ndarray]) -> np.ndarray:
        """(n,) each of ``rows``, all that can be drawn by class, as often as the edges rise there, 0 to n.

        ``edges(part, label, sums)``, of a block rows[part], its classes and the sums of the expected draws up
        to each of its rows, gives ascending whole numbers.
        """
        drawn, total, filled = np.empty(n, rows.dtype), np.zeros(1), 0
        classes, class_ends = np.arange(self.n_classes), np.cumsum(self._counts)
        for part in blocks(len(rows), self._block):
            inside = np.diff(np.clip(class_ends, part.start, part.stop), prepend=part.start)
            some, label = rows[part], np.repeat(classes, inside)
            expected = self._expected(some, label)
            sums = np.cumsum(np.concatenate([total, expected]))[1:]  # continues from the last block
            ends = edges(part, label, sums)
            drawn[filled : ends[-1]] = np.repeat(some, np.diff(ends, prepend=filled))
            total, filled = sums[-1:], int(ends[-1])
        return drawn

    def batches(
        self, epoch: int, batch_size: int, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterator[np.ndarray]:
        """The epoch's batches from number ``start`` on, each cut to this ``rank``'s part, rows as int64.

        ``batch_size`` counts the rows of all ranks. A last batch that is not full is dropped (another epoch
        shows its rows), unless it is the only one. Nothing before ``start`` is drawn again.
        """
        check_world_size(batch_size, world_size)
        for part in rank_parts(self._order(epoch)[:, None], batch_size, start, rank, world_size):
            yield part.ravel().astype(np.int64)


def row_type(n_rows: int) -> np.dtype:
    """The smallest signed integers that can number ``n_rows`` rows: int32 or int64."""
    return np.dtype(np.int32 if n_rows <= np.iinfo(np.int32).max else np.int64)


def all_rows(n_rows: int) -> np.ndarray:
    """0 to ``n_rows`` - 1, ``row_type``."""
    return np.arange(n_rows, dtype=row_type(n_rows))


def rows_where(keep: Callable[[slice], np.ndarray], n_rows: int, n_found: int, block: int = ROWS) -> np.ndarray:
    """(n_found,) the rows, ascending, where ``keep(part)``, a block's booleans, is true ``n_found`` times."""
    rows, filled = np.empty(n_found, row_type(n_rows)), 0
    for part in blocks(n_rows, block):
        found = np.flatnonzero(keep(part))
        rows[filled : filled + len(found)] = found + part.start
        filled += len(found)
    return rows


def ordered_by_class(rows: np.ndarray, labels: np.ndarray, counts: np.ndarray, block: int = ROWS) -> np.ndarray:
    """``rows`` by class, those of one class in the order in which they come: a stable counting sort.

    ``labels`` (N,) of all rows; ``counts`` (C,): how many of ``rows`` each class has.
    """
    # 16-bit labels are sorted by radix, five times as fast as by comparison
    kind = np.uint16 if len(counts) <= 1 << 16 else np.int32
    found, place = np.empty_like(rows), np.cumsum(counts) - counts
    for part in blocks(len(rows), block):
        some = rows[part]
        label = labels[some].astype(kind)
        order = np.argsort(label, kind="stable")
        n = np.bincount(label, minlength=len(counts))
        first = place - (np.cumsum(n) - n)  # where a class continues, less where the block has it
        found[first[label[order]] + np.arange(len(some))] = some[order]
        place += n
    return found


def rank_parts(units: np.ndarray, size: int, start: int, rank: int, world_size: int) -> np.ndarray:
    """(batches from ``start`` on, units of a part, k): this rank's parts of batches of ``size`` units.

    ``units`` (n, k): rows that stay together. A copy, so that the order of all ranks can go.
    """
    steps, each = full_batches(len(units), size), min(size, len(units))
    part = -(-each // world_size)
    batches = units[: steps * each].reshape(steps, each, -1)
    return batches[start:, rank * part : (rank + 1) * part].copy()
