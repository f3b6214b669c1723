"""The benchmark as a picture, a point a seed, mean and deviation: the ladder, then the rivals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.ablation.methods import RIVALS
from tools.ablation.report import BASE, CEILING, Spread, by_seed, present, spread

Entries = Sequence[Mapping[str, Any]]
INK, GREY, LINE, RUNG, PLAIN, TOP = "#1f2328", "#6e7781", "#d8dee4", "#0969da", "#6e7781", "#1a7f37"
RIVAL = "#8250df"
LINES = {BASE: ("plain cross-entropy,\nthe ladder's whole budget", "#bc4c00"), CEILING: ("only right labels", TOP)}
OFF = ("untrained", BASE, CEILING)  # a line each, or a remark: no place on the ladder


def draw(entries: Entries, methods: Sequence[str], title: str, path: Path) -> None:
    """Write the picture as PNG to ``path``, whatever its ending. matplotlib is needed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = [m for m in present(entries, methods) if m not in OFF and "/" not in m]  # no rival's waypoints
    figure = Figure(figsize=(9.2, 5.2), dpi=160, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _frame(axes, steps, title, subtitle(entries))
    for method, (label, colour) in LINES.items():
        _line(axes, method, spread(list(by_seed(entries, method, "top1_last").values())), label, colour)
    _ladder(axes, entries, steps)
    _limits(axes, entries, steps)
    figure.savefig(path, format="png")


def subtitle(entries: Entries) -> str:
    """What the picture shows, and what chance gives."""
    seeds = len({e["seed"] for e in entries})
    chance = spread(list(by_seed(entries, "untrained", "top1_last").values()))
    told = "Class-averaged top-1 after the last step"
    told += f"; mean ± deviation and each of {seeds} seeds" if seeds > 1 else "; one seed"
    return told if chance is None else f"{told}; untrained {chance.mean:.1f} %"


def _frame(axes: Any, steps: Sequence[str], title: str, told: str) -> None:
    axes.set_title(f"Accuracy ladder: {title}", loc="left", fontsize=14, fontweight="bold", color=INK, pad=26)
    axes.text(0, 1.025, told, transform=axes.transAxes, fontsize=9.5, color=GREY)
    axes.set_ylabel("top-1, %", color=GREY)
    crowded = len(steps) > 8
    axes.set_xticks(range(len(steps)), steps, fontsize=9.5 if crowded else 11, color=INK)
    if crowded:
        axes.tick_params(axis="x", rotation=28)
    first = next((x for x, method in enumerate(steps) if method in RIVALS), None)
    if first:
        axes.axvline(first - 0.5, color=LINE, linewidth=1)
    axes.set_xlim(-0.6, max(len(steps), 1) - 0.4)
    axes.tick_params(length=0, labelcolor=INK)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)


def _line(axes: Any, name: str, found: Spread | None, label: str, colour: str) -> None:
    if found is None:
        return
    if found.sd:
        axes.axhspan(found.mean - found.sd, found.mean + found.sd, color=colour, alpha=0.08, linewidth=0)
    axes.axhline(found.mean, color=colour, linewidth=1.6, linestyle=(0, (5, 3)))
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate(
        f"{name} {found.mean:.1f}",
        (1, found.mean),
        xytext=(8, 1),
        **place,
        va="bottom",
        color=colour,
        fontsize=10.5,
        fontweight="bold",
    )
    axes.annotate(label, (1, found.mean), xytext=(8, -1), **place, va="top", color=colour, fontsize=8.5)


def _ladder(axes: Any, entries: Entries, steps: Sequence[str]) -> None:
    """A mark a method with its deviation and number, the seeds' points beside it, the rungs joined."""
    from matplotlib.patheffects import withStroke

    means: list[tuple[int, float]] = []
    for x, method in enumerate(steps):
        values = list(by_seed(entries, method, "top1_last").values())
        found = spread(values)
        if found is None:
            continue
        colour = PLAIN if method == "ce" else RIVAL if method in RIVALS else RUNG
        axes.errorbar(
            x,
            found.mean,
            yerr=found.sd or 0,
            fmt="o",
            markersize=8,
            color=colour,
            capsize=4,
            elinewidth=1.6,
            markeredgecolor="white",
            markeredgewidth=1.2,
            zorder=4,
        )
        if len(values) > 1:
            axes.scatter([x + 0.13] * len(values), values, s=15, color=colour, alpha=0.55, linewidths=0, zorder=3)
        axes.annotate(
            f"{found.mean:.1f}",
            (x, found.mean + (found.sd or 0)),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=10.5,
            fontweight="bold",
            color=colour,
            path_effects=[withStroke(linewidth=3, foreground="white")],
            zorder=5,
        )
        if method not in RIVALS:
            means.append((x, found.mean))
    if means:
        axes.plot(*zip(*means, strict=True), color=RUNG, linewidth=1.4, alpha=0.45, zorder=2)


def _limits(axes: Any, entries: Entries, steps: Sequence[str]) -> None:
    """From a little below the lowest value shown to a little above the highest."""
    shown = [e["top1_last"] for e in entries if e["method"] in (*steps, BASE, CEILING)]
    if shown:
        room = max(0.12 * (max(shown) - min(shown)), 0.5)
        axes.set_ylim(max(min(shown) - room, 0), min(max(shown) + room, 100.5))
