"""An epoch's order in batches of fixed parts from the subsets of a curriculum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from urnet.core.blocks import blocks
from urnet.core.checks import InputError, check_labels, check_same_rows
from urnet.core.seeds import ORDER, stage_key
from urnet.data.sampling.epoch_sampler import ROWS, check_world_size, ordered_by_class, rows_where
from urnet.data.sampling.sampler import Sampler

BATCH, PASS = 0, 1  # what a random stream of this order is for; the number after the stage's


class CurriculumSampler(Sampler):
    """The batches of every epoch of a stage: fixed parts of each come from the subsets 0, 1, ….

    CurriculumNet (Guo et al. 2018) makes a batch of 256 of 128 + 64 + 64 rows of its clean, noisy and highly
    noisy subset, ``parts`` (2, 1, 1), the classes balanced in the first subset only: 128 different classes,
    one image each. For other batch sizes the parts are ``part_sizes`` (ours). Of m rows from subset 0, with K
    classes that have rows there, each class gets floor(m / K) or ceil(m / K), chosen evenly; inside a class
    rows are drawn evenly and come twice in a batch only when all of them are in it (ours). The rows of a
    later subset come as they are: in a new random order every pass, each once before any comes again, passes
    continuing from batch to batch and from epoch to epoch. A batch's rows are shuffled, so ranks and
    micro-batches get a mix.

    An epoch draws as many rows as there are in total, in full batches, as with every sampler, so that lengths
    of training can be compared. Rows of subsets without a part are never drawn. Batch b of epoch e is a
    function of (seed, stage, e, b) and the batch size alone; none before it needs to be drawn.

    Args: ``labels`` (N,) integers in 0..n_classes - 1; ``subset`` (N,) integers; ``parts``, one number >= 1
    for each subset used, from 0; ``block``: rows computed at a time.
    Raises InputError for arrays that do not fit each other, a part without rows, or a class that has rows
    but none in the subsets used: no class may vanish.
    """

    def __init__(
        self,
        labels: np.ndarray,
        *,
        subset: np.ndarray,
        parts: Sequence[int],
        seed: int,
        stage: str,
        n_classes: int | None = None,
        block: int = ROWS,
    ) -> None:
        if not len(labels):
            raise InputError("labels: found no rows; there is nothing to draw")
        self.n_classes = int(labels.max()) + 1 if n_classes is None else n_classes
        self.n_rows, self.parts = len(labels), tuple(parts)
        self.n_drawn = self.n_rows
        self._block = block
        self._stream = [ORDER, seed, stage_key(stage)]
        _check(labels, subset, self.parts, self.n_classes)
        counts = _count(labels, subset, len(self.parts), self.n_classes, block)
        _check_counts(labels, counts, self.parts)
        self._subset_rows = counts.sum(axis=1)
        even = (counts[0] > 0) / np.count_nonzero(counts[0])
        share = np.stack([even, *(own / own.sum() for own in counts[1:])])
        self._share = np.array(self.parts) / sum(self.parts) @ share
        self._labels, self._subset = labels, subset
        self._prepare_first(counts[0])

    def _prepare_first(self, counts: np.ndarray) -> None:
        """Keep the rows of subset 0 in order of class, and where each class that has any begins."""
        self._first_rows = ordered_by_class(self._rows_of(0), self._labels, counts, self._block)
        filled = counts > 0
        self._size = counts[filled]
        self._begin = (np.cumsum(counts) - counts)[filled]

    def _rows_of(self, s: int) -> np.ndarray:
        return rows_where(lambda part: self._subset[part] == s, self.n_rows, int(self._subset_rows[s]), self._block)

    def sampled_share(self) -> np.ndarray:
        """(n_classes,) float64: the share of each class among the drawn rows, in expectation; sums to 1.

        With π_s the share of subset s in ``parts``: π_0 / K + Σ_{s > 0} π_s n_sc / n_s.
        """
        return self._share.copy()

    def expected_draws(self) -> np.ndarray:
        """(N,) float64: how often an epoch is expected to show each row; sums to N.

        π_s as in ``sampled_share``, whatever a batch size rounds it to in every batch. As in EpochSampler
        the rows that an epoch's full batches leave over are not counted off.
        """
        draws, total = np.zeros(self.n_rows), sum(self.parts)
        for s, part in enumerate(self.parts):
            draws[self._subset == s] = self.n_rows * part / total / self._subset_rows[s]
        class_size = np.zeros(self.n_classes)
        first = self._labels[self._first_rows]
        class_size[first[self._begin]] = self._size
        draws[self._first_rows] *= len(self._first_rows) / len(self._size) / class_size[first]
        return draws

    def batches(
        self, epoch: int, batch_size: int, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterator[np.ndarray]:
        """The epoch's batches from number ``start`` on, each cut to this ``rank``'s part, rows as int64.

        ``batch_size`` counts the rows of all ranks. A batch is always full: of a subset with fewer rows than
        its part some rows come several times. Nothing before ``start`` is drawn again.

        Raises InputError for a batch that cannot be divided among the ranks, or too small for its parts.
        """
        check_world_size(batch_size, world_size)
        sizes, steps = part_sizes(batch_size, self.parts), self.steps_per_epoch(batch_size)
        later = [self._in_passes(s, sizes[s], epoch * steps + start) for s in range(1, len(sizes))]
        for number in range(start, steps):
            rng = np.random.default_rng([*self._stream, BATCH, epoch, number])
            batch = np.concatenate([self._of_first(sizes[0], rng), *(next(rows) for rows in later)])
            yield rng.permutation(batch).reshape(world_size, -1)[rank].astype(np.int64)

    def _of_first(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """(size,) rows of subset 0, classes in equal numbers, give or take one."""
        each, more = divmod(size, len(self._size))
        times = np.full(len(self._size), each)
        times[rng.choice(len(times), more, replace=False)] += 1
        once, often = np.flatnonzero(times == 1), np.flatnonzero(times > 1)
        places = [self._begin[once] + rng.integers(0, self._size[once])]
        for c in often:  # only where a batch has more rows than there are classes
            n = self._size[c]
            all_of_them = np.arange(times[c] // n * n) % n
            some = rng.choice(n, times[c] % n, replace=False, shuffle=False)
            places += [self._begin[c] + all_of_them, self._begin[c] + some]
        return self._first_rows[np.concatenate(places)]

    def _in_passes(self, s: int, size: int, number: int) -> Iterator[np.ndarray]:
        """Subset ``s``'s part, (size,) rows, of the stage's batch ``number`` and of all after it."""
        n, known, order = int(self._subset_rows[s]), -1, np.empty(0, np.int64)
        while True:
            place, end, pieces = number * size, (number + 1) * size, []
            while place < end:
                lap, first = divmod(place, n)
                if lap != known:
                    rng = np.random.default_rng([*self._stream, PASS, s, lap])
                    known, order = lap, self._rows_of(s)
                    rng.shuffle(order)
                pieces.append(order[first : first + end - place])
                place += len(pieces[-1])
            yield np.concatenate(pieces)
            number += 1


def part_sizes(batch_size: int, parts: Sequence[int]) -> list[int]:
    """Rows of each part in a batch: ∝ ``parts``, rounded by largest remainder, of equal ones the first.

    Raises InputError where a part would have no row.
    """
    total = sum(parts)
    sizes = [batch_size * part // total for part in parts]
    lacking = sorted(range(len(parts)), key=lambda s: -(batch_size * parts[s] % total))  # stable
    for s in lacking[: batch_size - sum(sizes)]:
        sizes[s] += 1
    if 0 in sizes:
        enough = -(-total // min(parts))
        raise InputError(
            f"batch_size {batch_size} leaves no row for subset {sizes.index(0)} in the parts "
            f"{':'.join(map(str, parts))}; {enough} or more is accepted"
        )
    return sizes


def _check(labels: np.ndarray, subset: np.ndarray, parts: tuple[int, ...], n_classes: int) -> None:
    check_labels(labels, n_classes)
    check_same_rows(labels=labels, subset=subset)
    if subset.ndim != 1 or not np.issubdtype(subset.dtype, np.integer):
        raise InputError(f"subset: a one-dimensional integer array is needed, found {subset.dtype} {subset.shape}")
    if not parts or min(parts) < 1:
        raise InputError(f"parts: found {list(parts)}; a number >= 1 for each subset used is accepted")


def _count(labels: np.ndarray, subset: np.ndarray, n_subsets: int, n_classes: int, block: int) -> np.ndarray:
    """(n_subsets, C) rows of each class in each of the subsets 0, 1, …"""
    counts = np.zeros(n_subsets * n_classes, np.int64)
    for part in blocks(len(labels), block):
        label, own = labels[part], subset[part]
        used = (own >= 0) & (own < n_subsets)
        counts += np.bincount(own[used].astype(np.int64) * n_classes + label[used], minlength=len(counts))
    return counts.reshape(n_subsets, n_classes)


def _check_counts(labels: np.ndarray, counts: np.ndarray, parts: tuple[int, ...]) -> None:
    """Raise InputError for a subset (counts (subsets, C)) or a class that has no row to draw."""
    empty = np.flatnonzero(counts.sum(axis=1) == 0)
    if len(empty):
        raise InputError(
            f"subset: no row is in subset {empty[0]}, which has part {parts[empty[0]]} of every batch; parts "
            "for subsets with rows are accepted"
        )
    rows = np.bincount(labels, minlength=counts.shape[1])
    gone = np.flatnonzero((rows > 0) & (counts.sum(axis=0) == 0))
    if len(gone):
        raise InputError(
            f"subset: class {gone[0]} has {rows[gone[0]]} rows, none in subsets 0 to {len(parts) - 1}; every "
            "class needs a row that is drawn"
        )
