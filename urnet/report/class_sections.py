"""Which classes are shown one by one, and the section of each: its clusters, its images by confidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from urnet.core.counted import plural
from urnet.report.aggregates import class_sums, shrunk_means
from urnet.report.columns import Columns
from urnet.report.gallery import Gallery
from urnet.report.photos import Rows
from urnet.report.suspects import FINE, UNREADABLE, WRONG, Evidence
from urnet.report.text import class_name, decimal, percent, plain_name

CONFIDENCE = ("confidence", "keep", "instance_weight")  # without evidence the first one there is orders the images


@dataclass(frozen=True)
class Choice:
    """The classes shown one by one, in their order, and why these."""

    classes: tuple[int, ...]
    reason: str


def choose_classes(source: Rows, evidence: Evidence | None, sizes: np.ndarray, n: int) -> Choice:
    """The ``n`` classes with the lowest mean label quality (shrunk), or, without evidence, the largest ones.

    Between the two: those with the lowest mean confidence, where only that was measured.
    """
    labels = source.labels
    confidence = source.get("confidence") if isinstance(source, Columns) else None
    value, reason = sizes.astype(np.float64), "the largest ones, as there is no evidence about labels yet"
    if evidence is not None:
        value = -shrunk_means(*class_sums(labels, evidence.label_quality, len(sizes)))
        reason = "those with the lowest mean label quality"
    elif confidence is not None:
        value, reason = (-shrunk_means(*class_sums(labels, confidence, len(sizes))), "those with the least confidence")
    value = np.where(sizes > 0, np.nan_to_num(value, nan=-np.inf), -np.inf)
    order = np.argsort(-value, kind="stable")[: min(n, int((sizes > 0).sum()))]
    return Choice(tuple(order.tolist()), reason)


def class_section(
    source: Rows, evidence: Evidence | None, c: int, rows: np.ndarray, gallery: Gallery, per_class: int
) -> str:
    """One class: its clusters by quality, its images of highest and lowest label quality; folded until it is opened."""
    names = source.class_names
    facts = [plural(len(rows), "picture")]
    if evidence is not None:
        wrong, suspect = (
            float(some.mean()) if len(rows) else float("nan")
            for some in (evidence.verdict[rows] == WRONG, evidence.verdict[rows] != FINE)
        )
        facts.append(f"{percent(wrong)} wrong labels, {percent(suspect)} to look at for any reason")
    body = _by_confidence(source, evidence, rows, gallery, per_class)
    if isinstance(source, Columns):
        weight = source.get("class_weight")
        if weight is not None and len(rows):
            facts.append(f"class weight {decimal(float(weight[rows].mean(dtype=np.float64)))}")
        body = _clusters(source, rows, gallery, per_class) + body
    return (
        f'<details class="class" id="class-{c}"><summary><span class="title">{class_name(names, c)}</span>'
        f'<span class="facts">{" · ".join(facts)}</span></summary>{body}</details>'
    )


def _clusters(columns: Columns, rows: np.ndarray, gallery: Gallery, per_class: int) -> str:
    """A contact sheet of each cluster, the one of the best quality (mean cluster weight) first."""
    cluster, weight = columns.get("cluster"), columns.get("cluster_weight")
    if cluster is None:
        return '<h4>Clusters</h4><p class="note">No cluster columns yet.</p>'
    numbers, inverse, sizes = np.unique(cluster[rows], return_inverse=True, return_counts=True)
    known, quality = numbers >= 0, sizes.astype(np.float64)
    if weight is not None:
        quality = np.bincount(inverse, weights=weight[rows].astype(np.float64), minlength=len(sizes)) / sizes
    order = [int(k) for k in np.lexsort((numbers, -sizes, -quality)) if known[k]]
    each = max(3 * per_class // max(len(order), 1), 1)
    sheets = []
    for k in order:
        of_cluster = rows[inverse == k]
        some = of_cluster[_evenly(len(of_cluster), min(each, per_class))]
        said = f"quality {decimal(float(quality[k]))} · " if weight is not None else ""
        sheets.append(
            f"<div><h5>Cluster {numbers[k]} <span>{said}{plural(int(sizes[k]), 'row')}, "
            f"{percent(sizes[k] / len(rows))}</span></h5>"
            f'<div class="sheet">{"".join(gallery.pictures(some, tooltip=True))}</div></div>'
        )
    return (
        "<h4>Clusters <small>by quality, the mean cluster weight; images spread over the rows</small></h4>"
        f'<div class="clusters">{"".join(sheets)}</div>'
    )


def _evenly(length: int, n: int) -> np.ndarray:
    """``n`` places evenly spread over 0..length - 1 (all where there are fewer)."""
    return np.unique(np.linspace(0, length - 1, min(n, length)).round().astype(np.int64))


def _by_confidence(source: Rows, evidence: Evidence | None, rows: np.ndarray, gallery: Gallery, per_class: int) -> str:
    """The images of a class with the highest and with the lowest label quality, or confidence."""
    name, value = _confidence(source, evidence, rows)
    if value is None:
        return '<h4>Confidence</h4><p class="note">No relevance or confidence column yet.</p>'
    rows, value = rows[np.isfinite(value)], value[np.isfinite(value)]
    order = np.argsort(-value, kind="stable")
    n = min(per_class, (len(order) + 1) // 2)  # a small class shows no image as both
    most, least = order[:n], order[n:][::-1][:n]
    parts = []
    for title, some in (("Highest", most), ("Lowest", least)):
        cards = _confidence_cards(source, evidence, rows[some], value[some], gallery)
        parts.append(f'<h4>{title} {name}</h4><ul class="cards small">{cards}</ul>')
    return "".join(parts)


def _confidence(source: Rows, evidence: Evidence | None, rows: np.ndarray) -> tuple[str, np.ndarray | None]:
    """What the images are ordered by, and its values; nan for unreadable images."""
    if evidence is not None:
        return "label quality", np.where(evidence.verdict[rows] == UNREADABLE, np.nan, evidence.label_quality[rows])
    if isinstance(source, Columns):
        for name in CONFIDENCE:
            values = source.get(name)
            if values is not None:
                return name, values[rows].astype(np.float64)
    return "", None


def _confidence_cards(
    source: Rows, evidence: Evidence | None, rows: np.ndarray, value: np.ndarray, gallery: Gallery
) -> str:
    cards = []
    suggested = np.full(len(rows), -1) if evidence is None else evidence.suggested[rows]
    given = source.labels[rows]
    values = (column.tolist() for column in (rows, value, suggested, given))
    for picture, title, row, v, to, label in zip(gallery.pictures(rows), gallery.titles(rows), *values, strict=False):
        other = ""
        was = label if evidence is None or evidence.given is None else int(evidence.given[row])
        if was not in (-1, label):
            name = plain_name(source.class_names, was)
            other = f'<p class="labels"><span class="given"><i>given:</i> <bdi>{name}</bdi></span></p>'
        elif to not in (-1, label):
            other = f'<p class="labels"><span class="to"><bdi>{plain_name(source.class_names, to)}</bdi></span></p>'
        cards.append(
            f'<li class="card">{picture}{other}<p class="caption"><b>{decimal(v)}</b> <bdi>{title}</bdi></p></li>'
        )
    return "".join(cards)
