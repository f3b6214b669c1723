"""The sections about labels that look wrong: the list of suspects and the confusion of classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from urnet.report import charts
from urnet.report.aggregates import confusion
from urnet.report.class_sections import Choice
from urnet.report.columns import Columns
from urnet.report.gallery import Gallery
from urnet.report.suspects import Evidence, suspect_rows
from urnet.report.text import class_name, count, decimal, escape, percent, plural

NO_EVIDENCE = "No evidence about labels yet: suggested and relevance (instance stage) or topk and keep (label stage)."
SUGGESTIONS, HEAT = 5, 20  # suggestions named for a class; rows and columns of the matrix


def suspect_list(columns: Columns, evidence: Evidence | None, top: int, gallery: Gallery) -> str:
    """The ``top`` most suspect rows: picture, given and suggested label, score, title."""
    if evidence is None:
        return f'<p class="note">{NO_EVIDENCE}</p>'
    rows = suspect_rows(evidence, top)
    n_rows = columns.table.n_rows
    total = n_rows - evidence.counts()["fine"]
    words = (
        f"<p>{plural(total, 'row looks', 'rows look')} wrong "
        f"({percent(total / n_rows)} of all). Label quality: {escape(evidence.source)}. "
        "A suggestion is no proof: look first.</p>"
    )
    if not len(rows):
        return words
    names, labels = columns.table.class_names, columns.labels[rows].tolist()
    cards = []
    for row, picture, title, given, to, score in zip(
        rows.tolist(),
        gallery.pictures(rows),
        gallery.titles(rows),
        labels,
        evidence.suggested[rows].tolist(),
        evidence.label_quality[rows].tolist(),
        strict=False,
    ):
        cards.append(
            f'<li class="card">{picture}<p class="labels">'
            f'<span class="given">{class_name(names, given)}</span>'
            f'<span class="to" aria-label="suggested">{class_name(names, to)}</span></p>'
            f'<p class="caption"><b>{decimal(score, 3)}</b> <bdi>{title}</bdi> '
            f"<small>row {row}</small></p></li>"
        )
    search = (
        '<label class="search">Show only '
        '<input type="search" data-filter="suspects-list" placeholder="a class or a word"></label>'
    )
    more = f'<p class="note">The first {count(len(rows))} by score are shown.</p>' if total > len(rows) else ""
    return f'{words}{search}<ul class="cards" id="suspects-list">{"".join(cards)}</ul>{more}'


# --- confusion


def confusion_section(columns: Columns, evidence: Evidence | None, choice: Choice, n_classes: int) -> str:
    """Given against suggested labels of the chosen classes: the most frequent suggestions, and a matrix."""
    if evidence is None:
        return f'<p class="note">{NO_EVIDENCE}</p>'
    counts = confusion(columns.labels, evidence.suggested, choice.classes, n_classes)
    names = columns.table.class_names
    lines = []
    for place, c in enumerate(choice.classes):
        row = counts[place].copy()
        n, same = int(row.sum()), int(row[c])
        row[c] = 0
        others = [int(o) for o in np.argsort(-row, kind="stable")[:SUGGESTIONS] if row[o]]
        chips = "".join(f"<li>{class_name(names, o)} <b>{count(row[o])}</b></li>" for o in others)
        share = (n - same) / n if n else float("nan")
        lines.append(
            f'<tr><th scope="row"><a href="#class-{c}">{class_name(names, c)}</a></th>'
            f'<td class="num">{count(n)}</td>'
            f'<td class="share">{charts.bar(share, percent(share))}</td>'
            f'<td><ul class="chips">{chips or "<li>none</li>"}</ul></td></tr>'
        )
    table = (
        '<div class="scroll"><table class="confused"><thead><tr><th>given label</th><th class="num">rows</th>'
        "<th>suggested otherwise</th><th>suggested instead, rows</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
    return table + _matrix(counts, choice.classes, names)


def _matrix(counts: np.ndarray, classes: Sequence[int], names: Sequence[str]) -> str:
    """Shares of each chosen class by suggested class; columns are the chosen ones and the most suggested."""
    order = np.argsort(classes[:HEAT], kind="stable")  # by number, so that what is kept lies on a diagonal
    rows, counts = [classes[k] for k in order.tolist()], counts[order]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    wanted = share.copy()
    wanted[np.arange(len(rows)), rows] = 0
    columns = np.argsort(-wanted.sum(axis=0), kind="stable")[:HEAT]
    shown = sorted(int(c) for c in columns if wanted[:, c].sum() > 0 or c in rows)
    if not shown:
        return ""
    head = "".join(f'<th scope="col" title="{escape(names[c])}">{c}</th>' for c in shown)
    body = []
    for place, c in enumerate(rows):
        cells = "".join(_cell(float(share[place, o]), o == c) for o in shown)
        body.append(f'<tr><th scope="row">{class_name(names, c)}</th>{cells}</tr>')
    return (
        "<details open><summary>As a matrix: share of a given label's rows (down) by suggested label "
        "(across), in per cent</summary><div class='scroll'><table class='heat'>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div></details>"
    )


def _cell(share: float, same: bool) -> str:
    number = "" if share < 0.005 else f"{100 * share:.0f}"
    kind = ' class="same"' if same else ""
    return f'<td{kind} style="--s:{min(share * 1.5, 1) if not same else share:.2f}">{number}</td>'
