"""The results as a page of Markdown: accuracies, how well wrong labels are found, the cost."""

from __future__ import annotations

import importlib.metadata
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tools import machine
from tools.ablation.methods import LADDER

Entries = Sequence[Mapping[str, Any]]
Judged = Mapping[str, tuple[float | None, float | None]]  # score -> its AUC, pooled and inside classes
BASE, BALANCED, CEILING = "ce_equal", "balanced_equal", "oracle"
LIBRARIES = ("numpy", "scikit-learn", "cleanlab")
ACCURACY = """\
Class-averaged accuracy on the validation images in percent, mean ± standard deviation over the seeds. "top-1"
and "top-5" are those of the last step; "best" is chosen on the same validation images, so it flatters, and
the more, the more evaluations a method's last stage had. "over ce_equal" and "over balanced_equal" compare seed
by seed; "way to oracle" is the share of the way from `ce_equal` to `oracle`.
"""
QUALITY = """\
AUC: the probability that a right row weighs more than a wrong one, equal ones counting half; 0.5 is chance.
"inside classes": among the rows of one label, the mean over classes, each as often as it has rows. cleanlab's
scores are computed from the same out-of-fold probabilities as those of the instance stage of the ladder, or of
the method behind "of"; "adjusted" with its adjust_pred_probs. The stages also read texts and ranks where the
recipe says so. `+bag` is measured by its attention, on the rows that a bag held: its share of weight on wrong
rows is that among the rows the sampler chose.
"""
SETTINGS = """\
Chosen by `python -m tools.ablation search` on held-out rows of the training set; all other methods, and all other
settings, as their recipes say. Restricted ladders have the ladder's.
"""
COST = """\
Cost: forward and backward image passes F and B, counted while the stages ran, of all networks and views, measuring
and batch-norm statistics included, validation not; as training images, (F + 2 B) / 3, and as a multiple of
`ce_equal`'s. Of a rung, those before it count too. Of results from before passes were counted there is none.
Wall time and peak memory of each method's own process. A rung starts from the one before it, whose time is
not counted again; "epochs" above does count it. A baseline's row has all its stages.
"""


def present(entries: Entries, methods: Sequence[str]) -> list[str]:
    """The methods that have a result, in order."""
    found = {e["method"] for e in entries}
    return [method for method in methods if method in found]


def by_seed(entries: Entries, method: str, key: str = "top1_last") -> dict[int, float]:
    """Seed -> value, for the seeds that have one."""
    return {e["seed"]: e[key] for e in entries if e["method"] == method and e[key] is not None}


def mean_and_deviation(values: Iterable[float]) -> tuple[float, float | None]:
    """Mean and standard deviation of a sample (n - 1), which is None for a single value."""
    values = list(values)
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def text_of(values: Iterable[float], digits: int = 2, sign: str = "") -> str:
    """`61.23 ± 0.45`; without a deviation the mean alone; `–` for nothing. ``sign`` "+" shows it of gains too."""
    values = list(values)
    if not values:
        return "–"
    mean, deviation = mean_and_deviation(values)
    return f"{mean:{sign}.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")


def mean_of(entries: Entries, method: str, key: str) -> float | None:
    """The mean over the seeds that have a value; None without one."""
    found = by_seed(entries, method, key).values()
    return statistics.fmean(found) if found else None


def gains(entries: Entries, method: str, over: str = BASE) -> list[float]:
    """Points of last top-1 over another method, seed by seed, over the seeds that both have."""
    own, base = by_seed(entries, method), by_seed(entries, over)
    return [own[seed] - base[seed] for seed in own if seed in base]


def way(entries: Entries, method: str) -> float | None:
    """Percent of the way from ``ce_equal`` to ``oracle`` in last top-1, over the seeds all three have."""
    own, base, top = (by_seed(entries, name) for name in (method, BASE, CEILING))
    seeds = [seed for seed in own if seed in base and seed in top]
    length = sum(top[seed] - base[seed] for seed in seeds)
    return 100 * sum(own[seed] - base[seed] for seed in seeds) / length if length > 0 else None


def table(*rows: Sequence[str]) -> str:
    """A Markdown table, padded so that the source reads as well; the first row is the head."""
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = [":" + "-" * (first - 1), *("-" * (width - 1) + ":" for width in others)]
    lines = [[row[0].ljust(first), *map(str.rjust, row[1:], others)] for row in [rows[0], rule, *rows[1:]]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def accuracy_table(entries: Entries, methods: Sequence[str]) -> str:
    """One line a method that has results."""
    over = [f"over {base}" for base in (BASE, BALANCED)]
    rows = [("method", "seeds", "epochs", "top-1", "best top-1", "top-5", *over, "way to oracle")]
    for method in present(entries, methods):
        tops = (by_seed(entries, method, key) for key in ("top1_last", "top1_best", "top5_last"))
        found = [text_of(top.values()) for top in tops]
        epochs, covered = by_seed(entries, method, "epochs").values(), way(entries, method)
        found += [
            "" if method == base else text_of(gains(entries, method, base), sign="+") for base in (BASE, BALANCED)
        ]
        share = "–" if covered is None else f"{covered:.0f} %"
        rows.append((f"`{method}`", str(len(epochs)), f"{statistics.fmean(epochs):.4g}", *found, share))
    return table(*rows)


def quality_table(
    entries: Entries, methods: Sequence[str], wrong: float, cleanlab: Mapping[tuple[str, int], Judged]
) -> str:
    """One line a score of labels: the rungs' weights, then ``cleanlab``'s by kind of run and seed; empty without any.

    ``wrong``: percent of the rows that are wrong.
    """
    rows = [("judge", "AUC", "AUC inside classes", "weight on wrong rows, before %", "after %")]
    for method in present(entries, methods):
        found, within, after = (by_seed(entries, method, key) for key in ("auc", "auc_inside", "weight_on_wrong"))
        if found:
            texts = text_of(found.values(), 3), text_of(within.values(), 3), f"{wrong:.2f}", text_of(after.values())
            rows.append((f"`{method}`", *texts))
    named: dict[tuple[str, str], list[tuple[float | None, float | None]]] = {}
    for (kind, _), scores in cleanlab.items():
        for name, both in scores.items():
            named.setdefault((kind, name), []).append(both)
    for (kind, name), pairs in named.items():
        pooled, inside = ([value for value in column if value is not None] for column in zip(*pairs, strict=True))
        if pooled:
            judge = f"cleanlab {name}" + ("" if kind == LADDER else f" of `{kind}`")
            rows.append((judge, text_of(pooled, 3), text_of(inside, 3), "", ""))
    return table(*rows) if len(rows) > 1 else ""


def cost_table(entries: Entries, methods: Sequence[str]) -> str:
    """One line per method: wall time and peak memory of its own process."""
    head = ("method", "cost: training images", f"x {BASE}", "forward", "backward", "seconds", "peak memory, MiB")
    rows: list[tuple[str, ...]] = [head]
    base = mean_of(entries, BASE, "cost")
    for method in present(entries, methods):
        if "/" in method:  # a baseline's earlier stage: part of its row
            continue
        parts = [method, *(m for m in methods if m.startswith(f"{method}/"))]
        spent = [by_seed(entries, part, "seconds") for part in parts]
        whole = [sum(part[seed] for part in spent) for seed in spent[0] if all(seed in part for part in spent)]
        peaks = [peak for part in parts for peak in by_seed(entries, part, "peak_mb").values()]
        own = mean_of(entries, method, "cost")
        passes = [mean_of(entries, method, key) for key in ("cost", "forward", "backward")]
        cost, *ways = ("not counted" if value is None else f"{value:,.0f}" for value in passes)
        times = "–" if own is None or not base else f"{own / base:.3f}"
        rows.append((f"`{method}`", cost, times, *ways, text_of(whole, 0), f"{max(peaks):.0f}" if peaks else "–"))
    return table(*rows)


def conditions(command: str, threads: int, jobs: int) -> str:
    """What a reader needs to repeat or judge the figures, a line each."""
    found = {"command": f"`{command}`", **machine.describe()}
    del found["OMP_NUM_THREADS"]
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    found["threads a run"] = f"{threads} (OMP_NUM_THREADS); runs at once: {jobs}"
    return "".join(f"- {name}: {value}\n" for name, value in found.items())
