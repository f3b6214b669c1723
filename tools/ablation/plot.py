"""The results as a picture, a point per seed, mean and deviation: the ladder, what reads less, the baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.ablation.methods import BASELINES, KINDS, LADDER
from tools.ablation.report import BALANCED, BASE, CEILING, Entries, by_seed, mean_and_deviation, present, text_of

INK, GREY, RULE = "#1f2328", "#6e7781", "#d8dee4"
RUNG, BASELINE = "#0969da", "#8250df"
LINES = {
    BASE: ("plain cross-entropy,\nthe ladder's whole budget", "#bc4c00"),
    BALANCED: ("ce_equal with\nclasses drawn evenly", "#9a6700"),
    CEILING: ("only right labels", "#1a7f37"),
}
BOLD: dict[str, Any] = {"fontsize": 10.5, "fontweight": "bold"}


def draw(entries: Entries, methods: Sequence[str], title: str, path: Path) -> None:
    """Write the picture as PNG to ``path``, whatever its ending. matplotlib is needed.

    `ce_equal`, `balanced_equal` and `oracle` are lines across, `untrained` is a remark; only the ladder shows its
    earlier stages, joined by a line.
    """
    from matplotlib.figure import Figure

    seen = {method: list(by_seed(entries, method).values()) for method in present(entries, methods)}
    steps = [method for method in seen if method != "untrained" and method not in LINES and "/" not in method]
    figure = Figure(figsize=(max(9.2, 3.4 + 0.55 * len(steps)), 5.2), dpi=160, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(f"Accuracy ladder: {title}", loc="left", fontsize=14, fontweight="bold", color=INK, pad=26)
    about = f"Class-averaged top-1 after the last step; seeds: {len({e['seed'] for e in entries})}"
    if "untrained" in seen:
        about += f"; untrained {text_of(seen['untrained'], 1)} %"
    axes.text(0, 1.025, about, transform=axes.transAxes, fontsize=9.5, color=GREY)
    axes.set_ylabel("top-1, %", color=GREY)
    axes.set_xticks(range(len(steps)), steps, rotation=28 if len(steps) > 8 else 0)
    axes.set_xlim(-0.6, max(len(steps), 1) - 0.4)
    axes.tick_params(length=0, labelcolor=INK)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    for method, (_, colour) in LINES.items():
        if method in seen:
            mean, deviation = mean_and_deviation(seen[method])
            axes.axhspan(mean - (deviation or 0), mean + (deviation or 0), color=colour, alpha=0.08, linewidth=0)
            axes.axhline(mean, color=colour, linewidth=1.6, linestyle=(0, (5, 3)))
    rungs = [(x, mean_and_deviation(seen[m])[0]) for x, m in enumerate(steps) if m not in KINDS or m == LADDER]
    axes.plot([x for x, _ in rungs], [mean for _, mean in rungs], color=RUNG, linewidth=1.4, alpha=0.45)
    for x, method in enumerate(steps):
        mean, deviation = mean_and_deviation(seen[method])
        colour = GREY if method == "ce" else BASELINE if method in BASELINES else RUNG
        axes.errorbar(x, mean, yerr=deviation or 0, color=colour, fmt="o", markersize=8, capsize=4, zorder=4)
        axes.scatter([x + 0.13] * len(seen[method]), seen[method], s=15, color=colour, alpha=0.55, linewidths=0)
        place: dict[str, Any] = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center"}
        axes.annotate(f"{mean:.1f}", (x, mean + (deviation or 0)), color=colour, **place, **BOLD)
    axes.margins(y=0.12)
    _name_lines(axes, {method: mean_and_deviation(seen[method])[0] for method in LINES if method in seen})
    figure.savefig(path, format="png")


def _name_lines(axes: Any, means: Mapping[str, float]) -> None:
    """Write what the lines across are at their right ends: of two close ones the upper above, the lower below."""
    low, high = axes.get_ylim()
    close = 0.14 * (high - low)
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    for method, mean in means.items():
        label, colour = LINES[method]
        others = [other - mean for name, other in means.items() if name != method and abs(other - mean) < close]
        upper = any(gap < 0 for gap in others) or (0 in others and method == BALANCED)
        name, lines = f"{method} {mean:.1f}", label.count("\n") + 1
        above = 1 + 11 * lines * upper  # points by which the name stands above its line, or the next below it
        if others and not upper:
            above = -14
        axes.annotate(name, (1, mean), xytext=(8, above), va="bottom", color=colour, **place, **BOLD)
        axes.annotate(label, (1, mean), xytext=(8, above - 2), va="top", fontsize=8.5, color=colour, **place)
