"""Pictures of rows for the page, as many as its size allows, and how many were not to be had."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from urnet.data.table.table import Table
from urnet.report.text import NAME, TITLE, clean, escape

Thumbnails = Callable[[Sequence[str]], list[str | None]]  # paths -> data: addresses, None if unreadable
MISSING = '<span class="none">image missing or unreadable</span>'
LEFT_OUT = '<span class="none">left out: the page is full</span>'


class Gallery:
    """Makes pictures until they fill ``budget`` bytes; ``shown`` and ``left_out`` count them.

    ``missing`` counts the rows, each once, whose image cannot be read.
    """

    def __init__(self, table: Table, thumbnails: Thumbnails, budget: int) -> None:
        self.table, self._thumbnails, self._left = table, thumbnails, budget
        self.shown = self.left_out = 0
        self._gone: set[int] = set()

    @property
    def missing(self) -> int:
        return len(self._gone)

    def pictures(self, rows: np.ndarray, *, tooltip: bool = False) -> list[str]:
        """An <img> for each row, or the words in its place.

        The alternative text is the beginning of the row's title; ``tooltip`` shows it under the pointer.
        """
        if self._left <= 0:
            self.left_out += len(rows)
            return [LEFT_OUT] * len(rows)
        addresses, titles = self._thumbnails(self.table.paths(rows)), self.titles(rows, NAME)
        self._gone.update(row for row, address in zip(rows.tolist(), addresses, strict=True) if address is None)
        return [self._picture(address, title, tooltip) for address, title in zip(addresses, titles, strict=True)]

    def titles(self, rows: np.ndarray, limit: int = TITLE) -> list[str]:
        """The rows' texts, cleaned and escaped; the end of the path where a row has none."""
        texts, paths = self.table.strings("text", rows), self.table.strings("path", rows)
        return [
            escape(text if clean(text, 8) else path[-limit:], limit) for text, path in zip(texts, paths, strict=True)
        ]

    def _picture(self, address: str | None, title: str, tooltip: bool) -> str:
        if address is None:
            return MISSING
        if len(address) > self._left:
            self._left = 0
            self.left_out += 1
            return LEFT_OUT
        self._left -= len(address)
        self.shown += 1
        hint = f' title="{title}"' if tooltip else ""
        return f'<img src="{address}" alt="{title}"{hint} loading="lazy" decoding="async">'
