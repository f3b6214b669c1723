"""One progress display: a bar on a terminal, a line at intervals elsewhere, always on stderr."""

from __future__ import annotations

import math
import os
import sys
import time
from typing import Any

from tqdm import tqdm

LINE_SECONDS = 15.0


class Progress:
    """Counts ``unit`` s towards ``total``, with rate and time left.

    On a terminal this is a tqdm bar. Otherwise one line every ``line_seconds`` and one at the end, so that
    a log file stays short; work that ends before the first interval stays silent. With ``show`` False nothing
    is shown: another process reports the same work.
    """

    def __init__(
        self,
        title: str,
        total: int | None,
        unit: str = "images",
        *,
        show: bool = True,
        line_seconds: float = LINE_SECONDS,
    ) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.count, self.start = 0, time.monotonic()
        self._line_seconds = line_seconds
        self._next, self._note = self.start + line_seconds if show else math.inf, ""
        self._bar: Any = None
        self._show = show
        if show and sys.stderr.isatty():
            known = os.get_terminal_size(sys.stderr.fileno()).columns > 0  # a container's may be 0 wide
            width: Any = {"dynamic_ncols": True} if known else {"ncols": 80}
            self._bar = tqdm(desc=title, total=total, unit=f" {unit}", leave=False, **width)

    def update(self, n: int = 1, **notes: str) -> None:
        """Count ``n`` more; ``notes`` (name=text) are shown next to the count."""
        self.count += n
        if notes:
            self._note = "  ".join(f"{name} {text}" for name, text in notes.items())
        if self._bar is not None:
            if notes:
                self._bar.set_postfix_str(self._note, refresh=False)
            self._bar.update(n)
        elif time.monotonic() >= self._next:
            self._line()
            self._next = time.monotonic() + self._line_seconds

    def say(self, text: str) -> None:
        """Print a line on stderr that the bar does not run into."""
        if not self._show:
            return
        if self._bar is not None:
            self._bar.clear()
        print(text, file=sys.stderr, flush=True)
        if self._bar is not None:
            self._bar.refresh()

    def close(self) -> None:
        """End the display."""
        if self._bar is not None:
            self._bar.close()
        elif self._show and time.monotonic() - self.start >= self._line_seconds:
            self._line()

    def _line(self) -> None:
        rate = self.count / max(time.monotonic() - self.start, 1e-9)
        text = f"{self.title}: {self.count}"
        if self.total:
            left = max(self.total - self.count, 0) / max(rate, 1e-9)
            text += f"/{self.total} ({100 * self.count / self.total:.0f} %), {left:.0f} s left"
        print(f"{text}, {rate:.1f} {self.unit}/s {self._note}".rstrip(), file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
