"""Lines of fields with a separator between them, quoted as in CSV (RFC 4180), split with array operations.

pyarrow.csv reads tables, but neither numbers lines nor takes comments, blanks in runs or missing last fields.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc

from urnet.data.lists.lines import BLANKS, Rows, byte_mask, integers, strings_between, trimmed_ends

_QUOTE = ord('"')
_BLANK = byte_mask(BLANKS)


class Fields:
    """The fields of n lines: ``count`` (n,), without empty ones at the end. ``separator`` " ": runs of blanks.

    ``unclosed`` bool (n,): a quote is opened and not closed, so the line's fields mean nothing.
    """

    def __init__(self, rows: Rows, separator: str) -> None:
        data = self._data = rows.data
        self._starts = _trimmed_starts(data, rows.starts, rows.ends)
        self._ends = trimmed_ends(data, self._starts, rows.ends, byte_mask(BLANKS + separator.encode()))
        if separator == " ":
            at = _BLANK[data]
            at[1:] &= ~at[:-1]
        else:
            at = data == ord(separator)
        places = np.flatnonzero(at)
        row = np.searchsorted(self._starts, places, "right") - 1
        inside = (row >= 0) & (places < self._ends[row])
        places, row = places[inside], row[inside]
        self._quotes = np.flatnonzero(data == _QUOTE) if b'"' in rows.block else np.empty(0, np.int64)
        opened = np.searchsorted(self._quotes, self._starts)
        self.unclosed = (np.searchsorted(self._quotes, self._ends) - opened) % 2 == 1
        if len(self._quotes):
            places = places[(np.searchsorted(self._quotes, places) - opened[row]) % 2 == 0]
        self._first = np.searchsorted(places, self._starts)
        self.count = np.searchsorted(places, self._ends) - self._first + 1
        self._places = np.append(places, len(data))

    def field(self, place: int) -> Field:
        """The field at this place of every line, empty where a line has none."""
        last = len(self._places) - 1
        before = self._places[np.clip(self._first + place - 1, 0, last)] + 1
        after = self._places[np.minimum(self._first + place, last)]
        starts = self._starts if place == 0 else np.where(self.count > place, before, self._ends)
        ends = np.where(self.count > place + 1, after, self._ends)
        starts = _trimmed_starts(self._data, starts, ends)
        return Field(self._data, starts, trimmed_ends(self._data, starts, ends), self._quotes)


class Field:
    """One field of n lines, quotes around it taken off.

    ``empty`` bool (n,); ``misquoted`` bool (n,): a quote that is neither around the field nor doubled inside quotes.
    """

    def __init__(self, data: np.ndarray, starts: np.ndarray, ends: np.ndarray, quotes: np.ndarray) -> None:
        self._data, self._starts, self._ends = data, starts, ends
        self.misquoted = np.zeros(len(starts), bool)
        self.text: Any = None
        if len(quotes):
            around = (ends - starts >= 2) & (data[starts] == _QUOTE) & (data[ends - 1] == _QUOTE)
            self._starts, self._ends = starts + around, ends - around
            inside = np.searchsorted(quotes, self._ends) - np.searchsorted(quotes, self._starts)
            self.text = strings_between(data, self._starts, self._ends)
            doubled = pc.count_substring(self.text, '""').to_numpy(zero_copy_only=False)
            self.misquoted = inside != np.where(around, 2 * doubled, 0)
            self.text = pc.replace_substring(self.text, '""', '"')
        else:
            self.text = strings_between(data, starts, ends)
        self.empty = self._ends <= self._starts

    def integers(self) -> tuple[np.ndarray, np.ndarray]:
        """The values of decimal numbers, and bool (n,) which fields are such."""
        return integers(self._data, self._starts, self._ends)


def _trimmed_starts(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """``starts`` moved on over blanks, not further than ``ends``."""
    starts = starts.copy()
    active = np.arange(len(starts))
    while len(active):
        left = starts[active]
        active = active[(left < ends[active]) & _BLANK[data[np.minimum(left, len(data) - 1)]]]
        starts[active] += 1
    return starts
