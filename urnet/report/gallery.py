"""Pictures of rows for the page, as many as its size allows, and how many were not to be had."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import numpy as np

from urnet.report.photos import Rows
from urnet.report.text import NAME, TITLE, clean, escape

SMALL, LARGE = 112, 256  # pixels of a picture's longer side: in strips, of suspects
MISSING = "image missing or unreadable"
LEFT_OUT = '<span class="none">left out: the page is full</span>'


class Thumbnails(Protocol):
    """Makes pictures of at most ``size`` pixels from files: data: addresses, ``NoPicture`` for an unreadable one."""

    def __call__(self, files: Sequence[str], size: int = SMALL) -> list[str | NoPicture]: ...


@dataclass(frozen=True)
class NoPicture:
    """Why a file has none."""

    reason: str


class Gallery:
    """Makes pictures until they fill ``budget`` bytes; ``shown`` and ``left_out`` count them.

    ``missing`` counts the files, each once, that cannot be read. ``page`` is the file that the page will be: its
    pictures are linked relative to it (None: not at all).
    """

    def __init__(self, source: Rows, thumbnails: Thumbnails, budget: int, page: Path | None = None) -> None:
        self.source, self._thumbnails, self._left = source, thumbnails, budget
        self._folder = None if page is None else page.absolute().parent
        self.shown = self.left_out = 0
        self._gone: set[str] = set()

    @property
    def missing(self) -> int:
        return len(self._gone)

    def pictures(self, rows: np.ndarray, *, size: int = SMALL, tooltip: bool = False) -> list[str]:
        """An <img> for each row, or the words in its place.

        The alternative text is the beginning of the row's title; ``tooltip`` shows it under the pointer.
        """
        return self.of_files(self.source.files(rows), self.titles(rows, NAME), size=size, tooltip=tooltip)

    def of_files(
        self, files: Sequence[str], titles: Sequence[str], *, size: int = SMALL, tooltip: bool = False
    ) -> list[str]:
        """As ``pictures``, of files with their escaped titles."""
        if self._left <= 0:
            self.left_out += len(files)
            return [LEFT_OUT] * len(files)
        addresses = self._thumbnails(files, size)
        self._gone.update(
            file for file, address in zip(files, addresses, strict=True) if isinstance(address, NoPicture)
        )
        return [
            self._picture(file, address, title, size, tooltip)
            for file, address, title in zip(files, addresses, titles, strict=True)
        ]

    def titles(self, rows: np.ndarray, limit: int = TITLE) -> list[str]:
        """The rows' texts, cleaned and escaped; the end of the path where a row has none."""
        return [
            escape(text if clean(text, 8) else path[-limit:], limit)
            for text, path in zip(self.source.titles(rows), self.source.paths_of(rows), strict=True)
        ]

    def _picture(self, file: str, address: str | NoPicture, title: str, size: int, tooltip: bool) -> str:
        if isinstance(address, NoPicture):
            reason = escape(address.reason)
            return f'<span class="none" title="{reason}">{MISSING}{f": {reason}" if size >= LARGE else ""}</span>'
        if len(address) > self._left:
            self._left = 0
            self.left_out += 1
            return LEFT_OUT
        self._left -= len(address)
        self.shown += 1
        hint = f' title="{title}"' if tooltip else ""
        link = f' data-file="{self._link(file)}"' if size >= LARGE and self._folder is not None else ""
        return f'<img src="{address}" alt="{title}"{hint}{link} loading="lazy" decoding="async">'

    def _link(self, file: str) -> str:
        """The file's address from the page, which holds while both lie where they are; "" on another drive."""
        try:
            relative = os.path.relpath(file, self._folder)
        except ValueError:
            return ""
        return quote("./" + relative.replace(os.sep, "/"), errors="replace")
