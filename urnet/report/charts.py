"""Drawings: SVG for the shapes, HTML for the words, so that both fit a phone and a wide screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from urnet.report.aggregates import Histogram
from urnet.report.text import decimal, escape, percent, short

POINTS = 300  # points of a line at most, whatever the number of classes


@dataclass(frozen=True)
class Axis:
    """``ticks`` are values; ``place`` turns values into 0..1 along the axis."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, values: np.ndarray) -> np.ndarray:
        low, high, at = self.low, self.high, np.asarray(values, np.float64)
        if self.log:
            low, high, at = math.log(low), math.log(high), np.log(np.maximum(at, self.low))
        return np.clip((at - low) / (high - low), 0, 1)


def log_axis(values: np.ndarray) -> Axis:
    """From a round number (1, 2, 5 times a power of ten) below the values to one above them."""
    rounds = [m * 10.0**e for e in range(-12, 13) for m in (1, 2, 5)]
    low = max(r for r in rounds if r <= max(float(values.min()), 1e-12))
    high = min(r for r in rounds if r >= min(float(values.max()), 5e12))
    if low == high:
        low, high = low / 2, high * 2
    inside = [r for r in rounds if low <= r <= high]
    tens = [r for r in inside if math.log10(r).is_integer()]
    return Axis(low, high, tuple(tens if len(tens) > 2 else inside), log=True)


def line_chart(values: np.ndarray, axis: Axis, *, x_name: str, label: str) -> str:
    """``values`` (n,) from left to right, thinned out to ``POINTS`` points; ``label`` is read aloud."""
    at = np.unique(np.linspace(0, len(values) - 1, POINTS).round().astype(np.int64))
    x = 100 * at / max(len(values) - 1, 1)
    y = 100 * (1 - axis.place(values[at]))
    points = " ".join(f"{a:.2f},{b:.2f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    shape = f'<polygon class="area" points="0,100 {points} 100,100"/><polyline class="line" points="{points}"/>'
    ends = [1, (len(values) + 1) // 2, len(values)]
    x_ticks = [(0.0, short(ends[0])), (0.5, short(ends[1])), (1.0, f"{short(ends[2])} {x_name}")]
    return _plot(shape, axis, x_ticks, label)


def histogram_chart(histogram: Histogram, *, label: str) -> str:
    """Bars of a Histogram, heights linear."""
    counts = histogram.counts
    top = max(int(counts.max()), 1)
    width = 100 / len(counts)
    bars = "".join(
        f'<rect class="bar" x="{i * width + 0.08 * width:.2f}" y="{100 * (1 - n / top):.2f}" '
        f'width="{0.84 * width:.2f}" height="{100 * n / top:.2f}"/>'
        for i, n in enumerate(counts.tolist())
        if n
    )
    return _plot(bars, Axis(0, top, _round_ticks(top)), _bin_ticks(histogram), label)


def _round_ticks(top: int) -> tuple[float, ...]:
    """0 and one to three round numbers up to ``top``."""
    unit = 10.0 ** math.floor(math.log10(top))
    step = next(m * unit for m in (5, 2, 1, 0.5) if m * unit <= top / 1.5 or m == 0.5)
    return tuple(step * k for k in range(int(top / step) + 1))


def _bin_ticks(histogram: Histogram) -> list[tuple[float, str]]:
    """Five edges of a linear histogram; the middles of the bins at powers of two of a logarithmic one."""
    edges, n = histogram.edges, len(histogram.counts)
    if not histogram.log:
        return [(i / 4, short(float(edges[0] + i / 4 * (edges[-1] - edges[0])))) for i in range(5)]
    middles = np.sqrt(edges[:-1] * edges[1:])
    powers = [i for i, m in enumerate(middles.tolist()) if abs(math.log2(m) - round(math.log2(m))) < 0.1] or [0]
    step = math.ceil(len(powers) / 6)
    return [((i + 0.5) / n, short_edge(float(middles[i]))) for i in powers[::step]]


def short_edge(value: float) -> str:
    """A bin's middle for people: 1/16, 1/2, 8."""
    if 0 < value < 0.6 and abs(1 / value - round(1 / value)) < 1e-6:
        return f"1/{round(1 / value)}"
    return f"{value:.3g}"


def _plot(shape: str, y: Axis, x_ticks: Sequence[tuple[float, str]], label: str) -> str:
    """The frame around a shape drawn in a square of 100 x 100 that is stretched to the place there is."""
    lines, words = [], []
    for tick in y.ticks:
        at = 100 * (1 - float(y.place(np.array(tick))))
        lines.append(f'<line class="grid" x1="0" x2="100" y1="{at:.2f}" y2="{at:.2f}"/>')
        words.append(f'<span class="y" style="top:{at:.2f}%">{short(tick)}</span>')
    for place, word in x_ticks:
        side = " first" if place == 0 else " last" if place == 1 else ""
        words.append(f'<span class="x{side}" style="left:{100 * place:.2f}%">{escape(word)}</span>')
    return (
        f'<div class="plot" role="img" aria-label="{escape(label, 300)}">'
        '<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(lines)}{shape}</svg>"
        f'<div class="words" aria-hidden="true">{"".join(words)}</div></div>'
    )


def bar(share: float, text: str) -> str:
    """A horizontal bar of ``share`` 0..1 with its number next to it."""
    filled = 100 * min(max(share, 0.0), 1.0) if math.isfinite(share) else 0
    return (
        f'<span class="track" aria-hidden="true"><b style="width:{filled:.2f}%"></b></span>'
        f'<span class="value">{escape(text)}</span>'
    )


def linear_axis(values: Sequence[float]) -> Axis:
    """Around shares 0..1: from a round number below the smallest to one above the largest."""
    low, high = min(values), max(values)
    step = next(s for s in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if high - low <= 4 * s)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if first == last:
        first, last = first - 1, last + 1
    first, last = max(first, 0), min(last, round(1 / step))
    return Axis(first * step, last * step, tuple(k * step for k in range(first, last + 1)))


def dots(axis: Axis, points: Sequence[tuple[float, str]], *, deviation: float = math.nan) -> str:
    """Points (value, CSS class) on a horizontal line; ``deviation`` is drawn on both sides of the first."""
    whisker = ""
    if math.isfinite(deviation):
        middle = points[0][0]
        low, high = (100 * axis.place(np.array([middle - deviation, middle + deviation]))).tolist()
        whisker = f'<em style="left:{low:.2f}%;width:{high - low:.2f}%"></em>'
    marks = "".join(
        f'<i class="{kind}" style="left:{100 * float(axis.place(np.array(value))):.2f}%"></i>'
        for value, kind in reversed(points)  # the first lies on top
    )
    lines = "".join(f'<s style="left:{100 * float(axis.place(np.array(t))):.2f}%"></s>' for t in axis.ticks)
    return f'<span class="dots" aria-hidden="true">{lines}{whisker}{marks}</span>'


def dots_axis(axis: Axis) -> str:
    """The words under a column of ``dots``."""
    ends = (axis.ticks[0], axis.ticks[-1])
    words = "".join(f"<span>{percent(tick)}</span>" for tick in ends)
    return f'<span class="ends" aria-hidden="true">{words}</span>'


def range_words(histogram: Histogram) -> str:
    """One line of what a histogram's bars do not say."""
    low, high, mean = (decimal(value) for value in (histogram.low, histogram.high, histogram.mean))
    parts = [f"{low} to {high}, mean {mean}" if histogram.low < histogram.high else f"all {low}"]
    if histogram.zeros:
        parts.append(f"{histogram.zeros:,} of exactly 0")
    if histogram.unknown:
        parts.append(f"{histogram.unknown:,} unknown")
    return "; ".join(parts)
