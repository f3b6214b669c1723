"""The page's sections about the run as a whole: head, stages, class sizes, histograms of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from urnet.core.counted import count, plural
from urnet.data.table.table import Table
from urnet.report import charts
from urnet.report.aggregates import class_means, histogram
from urnet.report.columns import Columns
from urnet.report.photos import Rows
from urnet.report.run_state import Method, RunState, StageState
from urnet.report.text import NAME, NUMBERS, class_name, decimal, escape, percent
from urnet.reweight.evidence.decided import CERTAIN, NONE

NAMED_BARS = 40  # classes shown by name; more of them become a line
UNEVEN = 20  # from so many times the smallest class on bars are logarithmic: shorter ones could not be seen


def head(run: RunState, table: Table) -> str:
    """Name, network, date and size of the run."""
    n_classes = len(table.class_names)
    finished = sum(stage.finished for stage in run.stages)
    facts = [
        ("network", str(run.setting("model", "name", default="not known"))),
        ("pictures", count(table.n_rows)),
        ("classes", count(n_classes)),
        ("stages", f"{finished} finished" + (f" of {len(run.stages)}" if finished < len(run.stages) else "")),
        ("newest state", run.date or "none yet"),
        ("seed", str(run.setting("seed", default="not known"))),
        *_decided(table),
        ("table", f"{table.metadata.get('format', 'unknown')}, base {table.base_hash[:12]}"),
    ]
    return title(run.name, facts)


def _decided(table: Table) -> list[tuple[str, str]]:
    """How many rows a person decided; nothing where nobody did."""
    if table.decided is None:
        return []
    right, none = (int((table.decided == kind).sum()) for kind in (CERTAIN, NONE))
    return [("decided", f"{count(right + none)}" + (f", {count(none)} of none of the classes" if none else ""))]


def title(name: str, facts: Sequence[tuple[str, str]]) -> str:
    """The page's heading and its facts (name, value) in a line."""
    listed = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<h1><bdi>{escape(name, NAME)}</bdi></h1><dl class="facts line">{listed}</dl>'


def column_files(table: Table) -> str:
    """Which stage wrote which columns."""
    rows = []
    for file in table.files:
        said = table.describe(Path(file).stem)
        cells = (file, said.get("stage", ""), said.get("checkpoint", "") or "none")
        rows.append("<tr>" + "".join(f"<td>{escape(cell, 80)}</td>" for cell in cells) + "</tr>")
    if not rows:
        return '<p class="note">No stage has written columns yet.</p>'
    return (
        "<details><summary>Column files of the table</summary><div class='scroll'><table><thead><tr>"
        "<th>file</th><th>written by stage</th><th>measured with</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></details>"
    )


# --- accuracy


def ladder(run: RunState) -> str:
    """Top-1 and top-5 of every stage, on the validation images, one row per stage."""
    if not any(stage.best or stage.last for stage in run.stages):
        return '<p class="note">No stage has been evaluated yet.</p>'
    panels = [_ladder_panel(run.stages, metric) for metric in ("top1", "top5")]
    unfinished = [stage for stage in run.stages if not stage.finished]
    notes = [
        f"Stage {escape(stage.name)} is unfinished: step {count(stage.step)} of {count(stage.total_steps)}."
        for stage in unfinished
    ]
    key = (
        '<p class="key"><i class="first"></i> best evaluation of the stage <i class="second"></i> last one. '
        "Means over the classes, validation images; the best one was chosen on the same images.</p>"
    )
    return f'<div class="pair">{"".join(panels)}</div>{key}' + "".join(f'<p class="note">{note}</p>' for note in notes)


def _ladder_panel(stages: Sequence[StageState], metric: str) -> str:
    values = [of[metric] for stage in stages for of in (stage.best, stage.last) if metric in of]
    title = f"<h3>{metric.replace('top', 'Top-')}</h3>"
    if not values:
        return f'<div>{title}<p class="note">No stage has {metric}.</p></div>'
    axis = charts.linear_axis(values)
    rows = []
    for stage in stages:
        best, last = (of.get(metric, math.nan) for of in (stage.best, stage.last))
        points = [(value, kind) for value, kind in ((best, "first"), (last, "second")) if math.isfinite(value)]
        words = f"{percent(best)} <small>last {percent(last)}</small>"
        rows.append(_dots_row(escape(stage.name, 40), charts.dots(axis, points), words))
    return f"<div>{title}{_dots_table(rows, axis)}</div>"


def _dots_row(name: str, drawing: str, words: str) -> str:
    return (
        f'<div class="row" role="listitem"><span class="name">{name}</span>{drawing}'
        f'<span class="value">{words}</span></div>'
    )


def _dots_table(rows: Sequence[str], axis: charts.Axis) -> str:
    foot = f'<div class="row" aria-hidden="true"><span></span>{charts.dots_axis(axis)}<span></span></div>'
    return f'<div class="rows" role="list">{"".join(rows)}</div>{foot}'


def benchmark(methods: Sequence[Method] | None) -> str:
    """Mean and spread over seeds of every method, one panel a metric; an empty text without a result file."""
    if methods is None:
        return ""
    metrics = list(dict.fromkeys(key for method in methods for key in method.metrics))
    if not metrics:
        return '<h3>Benchmark</h3><p class="note">The result file has no top1 or top5 figures.</p>'
    panels = "".join(_benchmark_panel(methods, metric) for metric in metrics)
    return (
        f'<h3>Benchmark</h3><div class="pair">{panels}</div>'
        '<p class="note">Mean over seeds ± sample standard deviation.</p>'
    )


def _benchmark_panel(methods: Sequence[Method], metric: str) -> str:
    having = [method for method in methods if metric in method.metrics]
    ends = [
        min(max(mean + sign * deviation, 0.0), 1.0)
        for mean, deviation, _ in (method.metrics[metric] for method in having)
        for deviation in [0.0 if math.isnan(deviation) else deviation]
        for sign in (-1, 1)
    ]
    axis = charts.linear_axis(ends)
    rows = []
    for method in having:
        mean, deviation, n = method.metrics[metric]
        spread = "" if math.isnan(deviation) else f" ± {100 * deviation:.1f}"
        of = plural(n, "seed") if n == method.seeds else f"{n} of {plural(method.seeds, 'seed')}"
        drawing = charts.dots(axis, [(mean, "first")], deviation=deviation)
        words = f"{100 * mean:.1f}{spread} % <small>{of}</small>"
        rows.append(_dots_row(escape(method.name, 40), drawing, words))
    return f"<div><h4>{escape(metric, 40)}</h4>{_dots_table(rows, axis)}</div>"


# --- classes and weights


def class_sizes(source: Rows, sizes: np.ndarray) -> str:
    """Sizes of all classes, largest first, and the mean class weight of each in a run."""
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 0]
    means, none = None, ""
    if isinstance(source, Columns):
        weight = source.name("class_weight")
        if weight is None:
            none = '<p class="note">No class_weight column yet.</p>'
        else:
            means = class_means(source.labels, source.once(weight), len(sizes))
    draw = _named_bars if len(order) <= NAMED_BARS else _lines
    largest, smallest = int(sizes[order[0]]), int(sizes[order[-1]])
    words = (
        f"{count(smallest)} to {plural(largest, 'picture')} per class, {largest / smallest:.1f} : 1, "
        f"median {decimal(float(np.median(sizes[order])), 0)}."
    )
    empty = len(sizes) - len(order)
    if empty:
        words += f" {plural(empty, 'class has', 'classes have')} no row."
    return f"<p>{words}</p>{draw(source.class_names, sizes, means, order)}{none}"


def _named_bars(names: Sequence[str], sizes: np.ndarray, means: Any, order: np.ndarray) -> str:
    top, log = int(sizes.max()), int(sizes.max()) >= UNEVEN * int(sizes[order].min())
    rows = []
    for c in order.tolist():
        words = count(sizes[c]) + ("" if means is None else f", weight {decimal(means[c])}")
        share = math.log10(int(sizes[c]) + 1) / math.log10(top + 1) if log else int(sizes[c]) / top
        drawing = charts.bar(share, words)
        rows.append(f'<div class="row" role="listitem"><span class="name">{class_name(names, c)}</span>{drawing}</div>')
    said = "" if means is None else "; the number behind is its mean class weight"
    scale = "bars on a logarithmic scale" if log else "bars in proportion"
    return (
        f'<div class="rows" role="list">{"".join(rows)}</div>'
        f'<p class="note">Pictures per class, {scale}{said}. {NUMBERS}</p>'
    )


def _lines(names: Sequence[str], sizes: np.ndarray, means: Any, order: np.ndarray) -> str:
    sized, n = sizes[order], len(order)
    label = f"Sizes of {n} classes, largest first, from {sized[0]} to {sized[-1]} pictures"
    panels = [
        "<div><h3>Pictures per class</h3>"
        + charts.line_chart(sized, charts.log_axis(sized), x_name="classes", label=label)
        + "</div>"
    ]
    if means is not None:
        weights = np.maximum(means[order], 1e-6)
        label = f"Mean class weight of the same classes, from {weights[0]:.3g} to {weights[-1]:.3g}"
        drawing = charts.line_chart(weights, charts.log_axis(weights), x_name="classes", label=label)
        panels.append(f"<div><h3>Class weight, same order</h3>{drawing}</div>")
    ends = [("largest", order[:5]), ("smallest", order[::-1][:5])]
    lists = "".join(
        f"<div><h4>The {name}</h4><ul class='plain'>"
        + "".join(f"<li>{class_name(names, c)} <b>{count(sizes[c])}</b></li>" for c in some.tolist())
        + "</ul></div>"
        for name, some in ends
    )
    return f'<div class="pair">{"".join(panels)}</div><div class="pair">{lists}</div>'


def weight_histograms(columns: Columns) -> str:
    """A histogram of every column of one float a row."""
    names = columns.measured()
    missing = [name for name in ("class_weight", "cluster_weight", "instance_weight") if not columns.name(name)]
    panels = []
    for name in names:
        measured = histogram(columns.once(name), log="weight" in name)
        words = charts.range_words(measured)
        drawing = charts.histogram_chart(measured, label=f"Histogram of {name}: {words}")
        panels.append(f"<div><h3>{escape(name, 40)}</h3>{drawing}<p class='note'>{words}</p></div>")
    none = f"<p class='note'>No {', '.join(missing)} column yet.</p>" if missing else ""
    return f'<div class="tiles">{"".join(panels)}</div>{none}'
