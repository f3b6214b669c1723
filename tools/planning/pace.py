"""How fast something went: seconds an image, with the fastest and the slowest part of what was timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

PARTS = 5  # of what was timed, whose fastest and slowest are the spread


@dataclass(frozen=True)
class Pace:
    """Seconds an image on the average, of the fastest and of the slowest part; from so many ``images``."""

    seconds: float
    least: float
    most: float
    images: int

    @classmethod
    def of(cls, seconds: Sequence[float], images: Sequence[int]) -> Pace:
        """From the seconds of steps or batches and the images of each, in the order in which they were timed."""
        edges = [round(i * len(seconds) / min(PARTS, len(seconds))) for i in range(min(PARTS, len(seconds)) + 1)]
        parts = [sum(seconds[a:b]) / sum(images[a:b]) for a, b in pairwise(edges)]
        return cls(sum(seconds) / sum(images), min(parts), max(parts), sum(images))

    def text(self) -> str:
        """Images a second: 203 (180 to 240)."""
        return f"{shown(1 / self.seconds)} ({shown(1 / self.most)} to {shown(1 / self.least)})"


def shown(rate: float) -> str:
    """A rate with three digits: 0.123, 12.3, 1,230."""
    return f"{float(f'{rate:.3g}'):,g}"


@dataclass(frozen=True)
class Pass:
    """A pass over images, batch by batch: seconds until its first batch is there, then a pace."""

    begin: float
    pace: Pace

    def seconds(self, images: float, which: str = "seconds") -> float:
        """Of a pass over so many images, by the average pace or ``which``: its "least" or "most"."""
        return self.begin + images * float(getattr(self.pace, which)) if images else 0.0


def timed_pass(begin: float, stamps: Sequence[float], end: float, sizes: Sequence[int]) -> Pass:
    """Of moments: when the pass began, when each batch of these sizes was there, when the last was done.

    The first of three or more batches does not count, as the network meets its shape for the first time.
    """
    seconds = [b - a for a, b in zip(stamps, [*stamps[1:], end], strict=True)]
    skipped = 1 if len(seconds) > 2 else 0
    return Pass(stamps[0] - begin, Pace.of(seconds[skipped:], sizes[skipped:]))
