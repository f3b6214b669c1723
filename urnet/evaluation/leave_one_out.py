"""The accuracies of an ensemble, of its members, and of the ensemble without each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from urnet.evaluation.accuracy import ClassAccuracy
from urnet.evaluation.ensemble import Ensemble, Sums, largest, pack
from urnet.evaluation.prediction_reader import Predictions

SEEN = 10  # best classes of a row that bound its five best without a member; any number from 5 is exact


class Judgement:
    """Accuracies by labels, counted block by block.

    ``members``, ``without``: a ClassAccuracy each; ``together``: the ensemble's. Rows without a prediction
    count nowhere. Without a member means: with the other members' weights as they are.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        m, c = len(ensemble.weights), ensemble.n_classes
        self.members = [ClassAccuracy(c) for _ in range(m)]
        self.without = [ClassAccuracy(c) for _ in range(m if m > 1 else 0)]
        self.together = ClassAccuracy(c)
        self._weights = ensemble.weights

    def update(self, blocks: Sequence[Predictions], sums: Sums, labels: np.ndarray) -> None:
        """Count a block: the members' rows, their sums, and the labels (B,)."""
        width = min(5, self.together.n_classes)
        for accuracy, block in zip(self.members, blocks, strict=True):
            block.check_width(width, "for top-5")
            if block.readable.any():
                accuracy.update(block.classes[block.readable], labels[block.readable])
        seen = _Some(sums, *largest(sums, min(SEEN, sums.totals.shape[1])))
        least = np.full(len(labels), np.inf)
        for left in seen.without_each(sums) if self.without else [seen.sums]:
            least = np.minimum(least, -np.partition(-left, width - 1, axis=1)[:, width - 1])
        packed, number = pack(sums.totals, np.where(sums.answered, least, np.inf), width)
        some = _Some(sums, number, packed)
        _count(self.together, some.rank(some.sums, labels), labels, sums.answered)
        left_over = some.without_each(sums) if self.without else ()
        for accuracy, weight, readable, left in zip(self.without, self._weights, sums.readable, left_over, strict=True):
            others = sums.mass - np.where(readable, weight, 0) > 1e-9 * weight  # not 0 but for rounding
            _count(accuracy, some.rank(left, labels), labels, others)


class _Some:
    """Some classes' sums (B, W), and their class numbers (B, W); a negative sum fills a row up.

    For the ranks below 5 to be right without a member too, all classes must be there that may be among the
    five best then. A class's sum without a member is at most its whole sum, and the five best without it are
    at least the fifth of any classes' sums without it: so they are among the classes whose whole sum is that
    or more, which is what ``Judgement`` packs.
    """

    def __init__(self, sums: Sums, number: np.ndarray, values: np.ndarray) -> None:
        n, n_classes = sums.totals.shape
        self.number, self.sums = number, values
        self._start = n_classes * np.arange(n)[:, None]
        self._place = np.full(n * n_classes, values.size)  # of a class that is not among them: one beyond
        filled = values >= 0
        self._place[(self._start + number)[filled]] = np.flatnonzero(filled)

    def without_each(self, sums: Sums) -> Iterator[np.ndarray]:
        """Yield the sums (B, W) without each member in turn."""
        for flat, part in zip(sums.flat, sums.parts, strict=True):
            own = np.zeros(self.sums.size + 1)
            own[self._place[flat]] = part
            yield self.sums - own[:-1].reshape(self.sums.shape)

    def rank(self, values: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """How many classes stand before each label (B,), right below 5; equal ones in order of number."""
        place = self._place[self._start[:, 0] + labels]
        own = np.append(values, -2.0)[place][:, None]  # a label that is not among them comes last
        before = (values > own) | ((values == own) & (self.number < labels[:, None]))
        return np.count_nonzero(before, axis=1)


def _count(accuracy: ClassAccuracy, rank: np.ndarray, labels: np.ndarray, answered: np.ndarray) -> None:
    """Count the rows that are answered, by the rank of their label."""
    for counter, chosen in (
        (accuracy.count, answered),
        (accuracy.hit1, answered & (rank < 1)),
        (accuracy.hit5, answered & (rank < 5)),
    ):
        counter += np.bincount(labels[chosen], minlength=accuracy.n_classes)
