"""The results as a picture, a point a seed, mean and deviation: the ladder, then the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.ablation.methods import BASELINES
from tools.ablation.report import BASE, CEILING, Entries, by_seed, present, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, GREY, RULE = "#1f2328", "#6e7781", "#d8dee4"
RUNG, BASELINE = "#0969da", "#8250df"
LINES = {
    BASE: ("plain cross-entropy,\nthe ladder's whole budget", "#bc4c00"),
    CEILING: ("only right labels", "#1a7f37"),
}
OFF = ("untrained", *LINES)  # a line each, or a remark: no place on the ladder
BOLD: dict[str, Any] = {"fontsize": 10.5, "fontweight": "bold"}


def draw(entries: Entries, methods: Sequence[str], title: str, path: Path) -> None:
    """Write the picture as PNG to ``path``, whatever its ending. matplotlib is needed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = [m for m in present(entries, methods) if m not in OFF and "/" not in m]  # no baseline's earlier stages
    figure = Figure(figsize=(9.2, 5.2), dpi=160, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _frame(axes, steps)
    axes.set_title(f"Accuracy ladder: {title}", loc="left", fontsize=14, fontweight="bold", color=INK, pad=26)
    axes.text(0, 1.025, subtitle(entries), transform=axes.transAxes, fontsize=9.5, color=GREY)
    for method in LINES:
        _line(axes, entries, method)
    means = [_mark(axes, entries, x, method) for x, method in enumerate(steps)]
    rungs = [x for x, method in enumerate(steps) if method not in BASELINES]
    if rungs:
        axes.plot(rungs, [means[x] for x in rungs], color=RUNG, linewidth=1.4, alpha=0.45, zorder=2)
    shown = [e["top1_last"] for e in entries if e["method"] in (*steps, *LINES)]
    if shown:  # from a little below the lowest value to a little above the highest
        margin = max(0.12 * (max(shown) - min(shown)), 0.5)
        axes.set_ylim(max(min(shown) - margin, 0), min(max(shown) + margin, 100.5))
    figure.savefig(path, format="png")


def subtitle(entries: Entries) -> str:
    """What the picture shows, and what chance gives."""
    seeds = len({e["seed"] for e in entries})
    chance = spread(list(by_seed(entries, "untrained", "top1_last").values()))
    text = "Class-averaged top-1 after the last step"
    text += f"; mean ± deviation and each of {seeds} seeds" if seeds > 1 else "; one seed"
    return text if chance is None else f"{text}; untrained {chance.mean:.1f} %"


def _frame(axes: Axes, steps: Sequence[str]) -> None:
    """Axes, grid and names; a rule before the first baseline."""
    crowded = len(steps) > 8
    axes.set_ylabel("top-1, %", color=GREY)
    axes.set_xticks(range(len(steps)), steps, fontsize=9.5 if crowded else 11, color=INK)
    axes.set_xlim(-0.6, max(len(steps), 1) - 0.4)
    axes.tick_params(length=0, labelcolor=INK)
    if crowded:
        axes.tick_params(axis="x", rotation=28)
    first = next((x for x, method in enumerate(steps) if method in BASELINES), 0)
    if first:
        axes.axvline(first - 0.5, color=RULE, linewidth=1)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)


def _line(axes: Axes, entries: Entries, method: str) -> None:
    """A method as a line across, its deviation as a band."""
    found, (label, colour) = spread(list(by_seed(entries, method, "top1_last").values())), LINES[method]
    if found is None:
        return
    if found.sd:
        axes.axhspan(found.mean - found.sd, found.mean + found.sd, color=colour, alpha=0.08, linewidth=0)
    axes.axhline(found.mean, color=colour, linewidth=1.6, linestyle=(0, (5, 3)))
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "color": colour}
    axes.annotate(f"{method} {found.mean:.1f}", (1, found.mean), xytext=(8, 1), va="bottom", **place, **BOLD)
    axes.annotate(label, (1, found.mean), xytext=(8, -1), va="top", fontsize=8.5, **place)


def _mark(axes: Axes, entries: Entries, x: int, method: str) -> float:
    """The mean of a method that has results, with deviation and number, the seeds' points beside it; returns it."""
    from matplotlib.patheffects import withStroke

    values = list(by_seed(entries, method, "top1_last").values())
    found = spread(values)
    assert found is not None  # a method that is shown has values
    colour = GREY if method == "ce" else BASELINE if method in BASELINES else RUNG
    mark: dict[str, Any] = {"fmt": "o", "markersize": 8, "markeredgecolor": "white", "markeredgewidth": 1.2}
    axes.errorbar(x, found.mean, yerr=found.sd or 0, color=colour, capsize=4, elinewidth=1.6, zorder=4, **mark)
    if len(values) > 1:
        axes.scatter([x + 0.13] * len(values), values, s=15, color=colour, alpha=0.55, linewidths=0, zorder=3)
    outline = [withStroke(linewidth=3, foreground="white")]
    place: dict[str, Any] = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center", "color": colour}
    top = (x, found.mean + (found.sd or 0))
    axes.annotate(f"{found.mean:.1f}", top, path_effects=outline, zorder=5, **place, **BOLD)
    return found.mean
