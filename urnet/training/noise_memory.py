"""The variables u and v of every row, in which SOP keeps what it takes for its label's noise."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from urnet.config.remedies import Sop
from urnet.nn.sparse_noise import MOST, NoiseSlope
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from urnet.training.late_rows import LateRows, Rows

START = 1e-8  # of every u and v; the paper draws them with this deviation, ours are alike


class NoiseMemory:
    """u of each row, and v of k = min(top_k, n_classes) classes of it (``urnet.nn.sparse_noise`` has the formulas).

    After a step, with U = min(u², 1 - 1e-4), V likewise, h the likeliest class, s = w_i / W:

        u <- u + lr_u · 2 u · pull,  v_c <- v_c + lr_v · 4 s ([c = h] - V_c) v_c for c ≠ y

    (a square above 1 - 1e-4 stands still). The paper keeps all C numbers per row, 322 GB for 16 million rows and 5,000
    classes. Here a class that the network takes a row for makes room for itself at the smallest v, and one that is
    not kept has v = START (ours); with k = C it is the paper's. 4 + 8 k bytes per row. A row that is in a step twice
    moves by both. Rows of weight 0 and certain ones do not move. Without ``sop`` it is empty and ``of`` gives None. All
    processes of ``group`` hold the same memory. ``labels`` (N,): the given ones.
    """

    def __init__(
        self, sop: Sop | None, labels: np.ndarray, n_classes: int, group: ProcessGroup = SINGLE_PROCESS
    ) -> None:
        self._late, self._sop, self._labels = LateRows(group), sop, labels
        self._arrays: dict[str, np.ndarray] = {}
        if sop is not None:
            shape = len(labels), min(sop.top_k, n_classes)
            classes = np.full(shape, -1, np.int32)  # none yet
            if shape[1] == n_classes:
                classes[:] = np.arange(n_classes)
            u, v = np.full(len(labels), START, np.float32), np.full(shape, START, np.float32)
            self._arrays = {"u": u, "classes": classes, "v": v}

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """u (B,), classes and v (B, k) of some rows; a place without a class has class 0 and v = START.

        Waits for the step before where one of them was in it.
        """
        if not self._arrays:
            return None
        self._fetch(all_steps=self._late.newest(rows) is not None)
        a = self._arrays
        return a["u"][rows], np.maximum(a["classes"][rows], 0), a["v"][rows]

    def take(self, rows: Rows, slope: NoiseSlope | None) -> None:
        """Keep what a step found out about its rows, read when it is needed; None is passed over. ``rows``: those of
        all processes."""
        if slope is not None:
            self._fetch(all_steps=True)
            self._late.add(rows, slope.share, slope.pull, slope.predicted)

    def _fetch(self, *, all_steps: bool = False) -> None:
        for rows, found in self._late.arrived(all_steps=all_steps):
            share, pull = found[:, :2].T.astype(np.float32)
            self._move(rows, share, pull, found[:, 2].astype(np.int64))

    def _move(self, rows: np.ndarray, share: np.ndarray, pull: np.ndarray, predicted: np.ndarray) -> None:
        """One gradient step of the variables of ``rows`` (B,); ``share``, ``pull``, ``predicted`` (B,)."""
        assert self._sop is not None
        a, label = self._arrays, self._labels[rows]
        np.add.at(a["u"], rows, 2 * self._sop.lr_u * pull * a["u"][rows])
        wrong = (share > 0) & (predicted != label)
        self._make_room(rows[wrong], predicted[wrong])
        classes, v = a["classes"][rows], a["v"][rows]
        square = v * v
        slope = 4 * share[:, None] * ((classes == predicted[:, None]) - square) * v
        slope[(classes == label[:, None]) | (square > MOST)] = 0
        np.add.at(a["v"], rows, self._sop.lr_v * slope)

    def _make_room(self, rows: np.ndarray, wanted: np.ndarray) -> None:
        """Each of ``rows`` keeps the class ``wanted`` of it from now on; the smallest v of the row makes room."""
        classes, v = self._arrays["classes"], self._arrays["v"]
        missing = ~(classes[rows] == wanted[:, None]).any(axis=1)
        rows, wanted = rows[missing], wanted[missing]
        while len(rows):  # more than once for rows that are in the step more than once
            first = np.unique(rows, return_index=True)[1]
            row = rows[first]
            place = np.where(classes[row] < 0, -1, np.abs(v[row])).argmin(axis=1)
            known = (classes[row] == wanted[first, None]).any(axis=1)
            classes[row[~known], place[~known]] = wanted[first][~known]
            v[row[~known], place[~known]] = START
            rows, wanted = np.delete(rows, first), np.delete(wanted, first)

    def state(self) -> dict[str, dict[str, np.ndarray]]:
        """What a checkpoint keeps, as a set of arrays by its name."""
        self._fetch(all_steps=True)
        return {"noise": self._arrays} if self._arrays else {}

    def load(self, sets: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Restore what ``state`` gave."""
        for name, values in sets.get("noise", {}).items():
            self._arrays[name] = np.array(values)
