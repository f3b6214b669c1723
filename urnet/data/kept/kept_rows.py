"""The kept activations of a list of pictures: some rows of them, in some view, are a batch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from urnet.data.kept.kept_features import KeptFeatures
from urnet.data.loading.loader import Batch, RowRandom
from urnet.data.loading.prefetch import Job


class KeptView:
    """One view's activations of N pictures, float16 (N, *shape), an array-like that is mapped, never read as a whole.

    ``view[rows]`` (a slice, integers or booleans) is a NumPy array; 0 for a picture that cannot be read. ``rows`` (N,)
    int64: the record of each in the file, -1 for none. Can be pickled: another process maps the same file.
    """

    def __init__(self, kept: KeptFeatures, rows: np.ndarray, shape: Sequence[int]) -> None:
        self._file, self._rows = kept, rows
        self.shape, self.dtype = (len(rows), *shape), np.dtype(np.float16)
        self.ndim = len(self.shape)
        self._mapped: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def readable(self) -> np.ndarray:
        """bool (N,)."""
        return self._rows >= 0

    def part(self, begin: int, end: int) -> KeptView:
        """The pictures ``begin`` to before ``end``."""
        return KeptView(self._file, self._rows[begin:end], self.shape[1:])

    def __getitem__(self, key: Any) -> np.ndarray:
        rows = self._rows[key]
        if rows.ndim == 0:
            found: np.ndarray = self[np.array([key])][0]
            return found
        there = rows >= 0
        out = np.zeros((len(rows), math.prod(self.shape[1:])), self.dtype)
        if there.any():
            out[there] = self._records[rows[there]]
        return out.reshape(len(rows), *self.shape[1:])

    @property
    def _records(self) -> np.ndarray:
        if self._mapped is None:
            self._mapped = self._file.records["features"]
        return self._mapped

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError(f"{self._file.path}: give rows, or [:] to read all of it")

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_mapped": None}


class KeptRows:
    """The kept activations of N pictures in V views, and which of them cannot be read.

    ``reasons``: row -> why; ``path_of(row)`` names the file. ``seed``: of which view a row is shown in.
    """

    def __init__(
        self, views: Sequence[KeptView], reasons: Mapping[int, str], path_of: Callable[[int], str], seed: int
    ) -> None:
        self.views, self.reasons, self.path_of = list(views), dict(reasons), path_of
        self.readable = views[0].readable
        self._random = RowRandom(seed)

    def __len__(self) -> int:
        return len(self.readable)

    def batch(self, rows: np.ndarray, draw: int | None = None) -> Batch:
        """The rows' activations: in the evaluation's view, or each in one that depends on (seed, draw, row) alone."""
        chosen = self._chosen(rows, draw)
        found = np.empty((len(rows), *self.views[0].shape[1:]), np.float16)
        for number in np.unique(chosen).tolist():
            found[chosen == number] = self.views[number][rows[chosen == number]]
        return Batch(rows, found, self.readable[rows])

    def _chosen(self, rows: np.ndarray, draw: int | None) -> np.ndarray:
        """The view of each row, int64 (n,)."""
        n = len(self.views)
        if draw is None or n == 1:
            return np.zeros(len(rows), np.int64)
        return np.array([self._random(draw, row).integers(n) for row in rows.tolist()], np.int64)


class KeptLoader:
    """Batches of kept activations, as a ``Loader`` gives images: the same attributes, but nothing runs ahead.

    ``random``: which view of a row is shown depends on the batch's draw key; else it is the evaluation's.
    """

    def __init__(self, kept: KeptRows, batches: Iterable[Job], *, random: bool = False) -> None:
        self._kept, self._batches, self._random = kept, batches, random
        self.wait_seconds = 0.0
        self.bad: dict[int, tuple[str, str]] = {}

    def __iter__(self) -> Iterator[Batch]:
        for draw, rows in self._batches:
            start = time.perf_counter()
            batch = self._kept.batch(np.asarray(rows, np.int64), draw if self._random else None)
            for row in batch.rows[~batch.readable].tolist():
                self.bad[row] = (self._kept.path_of(row), self._kept.reasons[row])
            self.wait_seconds += time.perf_counter() - start
            yield batch

    def close(self) -> None:
        """Nothing is open."""
