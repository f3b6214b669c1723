"""The figure of growth: gains against the number of training rows, and against the share of wrong labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.ablation.plot import GREY, INK, RULE
from tools.ablation.report import BALANCED, BASE, gains, mean_and_deviation

if TYPE_CHECKING:
    from tools.ablation.growth import Measured

COLOURS = ("#0969da", "#bc4c00", "#8250df", "#1a7f37", "#bf3989", "#9a6700", "#6e7781")
ROWS_ALIKE, WRONG_ALIKE = math.log(1.05), 2.0  # sets of one line: rows within 5 %, wrong labels within 2 points


def alike(measured: Sequence[Measured], of: Callable[[Measured], float], within: float) -> list[Measured]:
    """The most sets of which no two differ by more than ``within``; the first of equally many."""
    groups = ([other for other in measured if 0 <= of(other) - of(one) <= within] for one in measured)
    return max(groups, key=len, default=[])


def panels(measured: Sequence[Measured]) -> dict[str, list[Measured]]:
    """The sets of both panels: as many wrong labels and other rows, as many rows and other wrong labels.

    A panel in which nothing would vary is left out. Sets of which nobody knows the wrong labels are taken as alike.
    """
    known = [one for one in measured if one.wrong is not None]
    unknown = [one for one in measured if one.wrong is None]
    by_rows = max(alike(known, lambda one: one.wrong or 0.0, WRONG_ALIKE), unknown, key=len)
    by_wrong = alike(known, lambda one: math.log(one.rows), ROWS_ALIKE)
    found = {}
    if len({one.rows for one in by_rows}) > 1:
        found["rows"] = sorted(by_rows, key=lambda one: one.rows)
    if len({round(one.wrong or 0.0) for one in by_wrong}) > 1:
        found["wrong"] = sorted(by_wrong, key=lambda one: one.wrong or 0.0)
    return found


def draw(
    measured: Sequence[Measured], methods: Sequence[str], path: Path, bases: Sequence[str] = (BASE, BALANCED)
) -> None:
    """Write the figure as PNG to ``path``: a column a panel, a row each of ``bases``. matplotlib is needed.

    `ce_equal` has no line, as `balanced_equal` over it says the same. Where neither rows nor wrong labels differ, the
    sets are shown at their number of rows. Sets without a gain are left out, and a single seed has no bar of deviation.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    gaining = [m for m in methods if m != BASE]
    measured = [one for one in measured if any(gains(one.entries, m, base) for m in gaining for base in bases)]
    shown = panels(measured) or {"rows": list(measured)}
    size = (1.2 + 4.6 * len(shown), 0.4 + 3.4 * len(bases))
    figure = Figure(figsize=size, dpi=160, facecolor="white", layout="constrained")
    grid = figure.subplots(len(bases), len(shown), squeeze=False, sharex="col", sharey="row")
    for line, base in enumerate(bases):
        for column, (what, chosen) in enumerate(shown.items()):
            axes = grid[line][column]
            axes.axhline(0, color=GREY, linewidth=1)
            axes.grid(axis="y", color=RULE, linewidth=0.8)
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.tick_params(length=0, labelcolor=INK)
            places = [float(one.rows) if what == "rows" else float(one.wrong or 0.0) for one in chosen]
            for number, method in enumerate(gaining):
                points = [(x, gains(one.entries, method, base)) for x, one in zip(places, chosen, strict=True)]
                points = [(x, gained) for x, gained in points if gained and method != base]
                if points:
                    means = [mean_and_deviation(gained) for _, gained in points]
                    spread = [math.nan if deviation is None else deviation for _, deviation in means]
                    style: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "marker": "o", "capsize": 3}
                    axes.errorbar([x for x, _ in points], [m for m, _ in means], yerr=spread, label=method, **style)
            if what == "rows":
                axes.set_xscale("log")
            ticks = sorted(set(places))
            axes.xaxis.set_major_locator(FixedLocator(ticks))
            axes.xaxis.set_major_formatter(
                FixedFormatter([f"{x:,.0f}" if what == "rows" else f"{x:.0f}" for x in ticks])
            )
            axes.xaxis.set_minor_locator(NullLocator())
            if line == len(bases) - 1:
                labels = {"rows": "training rows (log axis)", "wrong": "wrong labels, % of the rows"}
                axes.set_xlabel(labels[what], color=GREY)
        grid[line][0].set_ylabel(f"points of top-1 over {base}", color=GREY)
    handles = {
        label: handle for axes in grid.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if handles:
        order = [method for method in methods if method in handles]
        figure.legend([handles[m] for m in order], order, loc="outside upper left", ncols=4, frameon=False)
    figure.savefig(path, format="png")
