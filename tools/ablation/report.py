"""The results as a page of Markdown: accuracies, how well wrong labels are found, the cost."""

from __future__ import annotations

import importlib.metadata
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tools import machine
from tools.ablation.scores import CLEANLAB

Entries = Sequence[Mapping[str, Any]]
Cleanlab = Mapping[int, Mapping[str, float | None]]  # seed -> name -> AUC of cleanlab's scores
BASE, CEILING = "ce_equal", "oracle"
LIBRARIES = ("numpy", "scikit-learn", "cleanlab")
ACCURACY = """\
Class-averaged accuracy on the validation images in percent, mean ± standard deviation over the seeds. "top-1"
and "top-5" are those of the last step; "best" is chosen on the same validation images, so it flatters, and
the more, the more evaluations a method's last stage had. "over ce_equal" compares seed by seed; "way to
oracle" is the share of the way from `ce_equal` to `oracle`.
"""
QUALITY = """\
AUC: the probability that a right row weighs more than a wrong one, equal ones counting half; 0.5 is chance.
cleanlab's scores are computed from the same out-of-fold probabilities as the instance stage's; the stages
also read texts and ranks where the recipe says so. `+bag` is judged by its attention, on the rows that a bag
held: its share of weight on wrong rows is that among the rows the sampler chose.
"""
COST = """\
Wall time and peak memory of each method's own process. A rung starts from the one before it, whose time is
not counted again; "epochs" above does count it. A rival's row has all its stages.
"""


class Spread(NamedTuple):
    """Mean and standard deviation (of a sample: n - 1; None for fewer than two) of n values."""

    mean: float
    sd: float | None
    n: int


def spread(values: Sequence[float | None]) -> Spread | None:
    """The spread of the values that are there; None without any."""
    known = [float(value) for value in values if value is not None]
    if not known:
        return None
    sd = statistics.stdev(known) if len(known) > 1 else None
    return Spread(statistics.fmean(known), sd, len(known))


def by_seed(entries: Entries, method: str, key: str) -> dict[int, float]:
    """Seed -> value, for the seeds that have one."""
    found = {e["seed"]: e[key] for e in entries if e["method"] == method}
    return {seed: value for seed, value in found.items() if value is not None}


def gain(entries: Entries, method: str) -> Spread | None:
    """Points of last top-1 over ``ce_equal``, seed by seed, over the seeds that both have."""
    own, base = (by_seed(entries, name, "top1_last") for name in (method, BASE))
    return spread([own[seed] - base[seed] for seed in own if seed in base])


def way(entries: Entries, method: str) -> float | None:
    """Percent of the way from ``ce_equal`` to ``oracle`` in last top-1, over the seeds all three have."""
    own, base, top = (by_seed(entries, name, "top1_last") for name in (method, BASE, CEILING))
    seeds = [seed for seed in own if seed in base and seed in top]
    length = sum(top[seed] - base[seed] for seed in seeds)
    if not seeds or length <= 0:
        return None
    return 100 * sum(own[seed] - base[seed] for seed in seeds) / length


def text_of(found: Spread | None, digits: int = 2, sign: bool = False) -> str:
    """`61.23 ± 0.45`; without a deviation the mean alone; `–` for nothing."""
    if found is None:
        return "–"
    mean = f"{found.mean:{'+' if sign else ''}.{digits}f}"
    return mean if found.sd is None else f"{mean} ± {found.sd:.{digits}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that the source reads as well; the first column to the left."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in [head, rule, *rows])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in padded)


def accuracy_table(entries: Entries, methods: Sequence[str]) -> str:
    """One line a method that has results."""
    head = ("method", "seeds", "epochs", "top-1", "best top-1", "top-5", "over ce_equal", "way to oracle")
    rows = []
    for method in present(entries, methods):
        epochs, *tops = (
            spread(list(by_seed(entries, method, key).values()))
            for key in ("epochs", "top1_last", "top1_best", "top5_last")
        )
        covered = way(entries, method)
        row = [f"`{method}`", str(len(by_seed(entries, method, "top1_last")))]
        row += ["–" if epochs is None else f"{epochs.mean:.4g}", *map(text_of, tops)]
        row += ["" if method == BASE else text_of(gain(entries, method), sign=True)]
        rows.append([*row, "–" if covered is None else f"{covered:.0f} %"])
    return table(head, rows)


def quality_table(entries: Entries, cleanlab: Cleanlab, methods: Sequence[str], wrong_share: float) -> str:
    """One line a score of labels: the rungs' weights, then cleanlab's."""
    head = ("judge", "AUC", "weight on wrong rows, before %", "after %")
    rows = []
    for method in present(entries, methods):
        found = spread(list(by_seed(entries, method, "auc").values()))
        if found is not None:
            after = spread(list(by_seed(entries, method, "weight_on_wrong").values()))
            rows.append((f"`{method}`", text_of(found, 3), f"{wrong_share:.2f}", text_of(after)))
    for name in CLEANLAB:
        found = spread([scores.get(name) for scores in cleanlab.values()])
        if found is not None:
            rows.append((f"cleanlab {name}", text_of(found, 3), "", ""))
    return table(head, rows) if rows else ""


def cost_table(entries: Entries, methods: Sequence[str]) -> str:
    """One line a method: wall time and peak memory of its own process."""
    rows = []
    for method in present(entries, methods):
        if "/" in method:  # a baseline's earlier stage: part of its row
            continue
        parts = [method, *(m for m in methods if m.startswith(f"{method}/"))]
        spent = [by_seed(entries, part, "seconds") for part in parts]
        whole = [sum(part[seed] for part in spent) for seed in spent[0] if all(seed in p for p in spent)]
        peaks = [peak for part in parts for peak in by_seed(entries, part, "peak_mb").values()]
        peak = f"{max(peaks):.0f}" if peaks else "–"
        rows.append((f"`{method}`", text_of(spread(whole), 0), peak))
    return table(("method", "seconds", "peak memory, MiB"), rows)


def present(entries: Entries, methods: Sequence[str]) -> list[str]:
    """The methods that have a result, in order."""
    found = {e["method"] for e in entries}
    return [method for method in methods if method in found]


def conditions(command: str, threads: int, jobs: int) -> list[tuple[str, str]]:
    """What a reader needs to repeat or judge the figures."""
    versions = [(name, _version(name)) for name in LIBRARIES]
    own = {key: value for key, value in machine.describe().items() if key != "OMP_NUM_THREADS"}
    at_once = f"{threads} (OMP_NUM_THREADS); runs at once: {jobs}"
    return [("command", f"`{command}`"), *own.items(), *versions, ("threads a run", at_once)]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def page(
    entries: Entries,
    cleanlab: Cleanlab,
    methods: Sequence[str],
    *,
    title: str,
    about: str,
    wrong_share: float | None,
    made: Sequence[tuple[str, str]],
) -> str:
    """The whole page. ``wrong_share``: percent of the rows that are wrong; None where nobody knows."""
    parts = [f"# Benchmark: {title}\n\n{about}\n", ACCURACY, accuracy_table(entries, methods)]
    found = "" if wrong_share is None else quality_table(entries, cleanlab, methods, wrong_share)
    if found:
        parts += ["## Finding wrong labels\n", QUALITY, found]
    parts += [
        "## Cost\n",
        COST,
        cost_table(entries, methods),
        "## Made with\n",
        "".join(f"- {name}: {value}\n" for name, value in made),
    ]
    return "\n".join(parts)
