"""Which classes are taken for which: the most frequent pairs, each class's suggestions, a matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from urnet.core.blocks import ROWS
from urnet.core.counted import count, plural
from urnet.report import charts
from urnet.report.aggregates import confusion
from urnet.report.class_sections import Choice
from urnet.report.photos import Rows
from urnet.report.suspect_cards import NO_EVIDENCE
from urnet.report.suspects import Evidence, wrong_pairs
from urnet.report.text import percent, plain_name

SUGGESTIONS, HEAT = 5, 20  # suggestions named for a class; rows and columns of the matrix
PAIRS = 12  # pairs of classes


def confusion_section(source: Rows, evidence: Evidence | None, choice: Choice, *, block: int = ROWS) -> str:
    """Given against suggested labels: the most frequent pairs, the chosen classes' suggestions, and a matrix."""
    if evidence is None:
        return f'<p class="note">{NO_EVIDENCE}</p>'
    names = source.class_names
    wrong = evidence.is_of("wrong label")
    counts = confusion(source.labels, evidence.suggested, wrong, choice.classes, len(names), block=block)
    lines = []
    for place, c in enumerate(choice.classes):
        row = counts[place].copy()
        n, same = int(row.sum()), int(row[c])
        row[c] = 0
        others = [int(o) for o in np.argsort(-row, kind="stable")[:SUGGESTIONS] if row[o]]
        chips = "".join(f"<li><bdi>{plain_name(names, o)}</bdi> <b>{count(row[o])}</b></li>" for o in others)
        share = (n - same) / n if n else float("nan")
        lines.append(
            f'<tr><th scope="row"><a href="#class-{c}"><bdi>{plain_name(names, c)}</bdi></a></th>'
            f'<td class="num">{count(n)}</td>'
            f'<td class="share">{charts.bar(share, percent(share))}</td>'
            f'<td><ul class="chips">{chips or "<li>none</li>"}</ul></td></tr>'
        )
    table = (
        "<h3>By class <small>the same wrong labels</small></h3>"
        f"<p class='note'>{choice.reason[0].upper()}{choice.reason[1:]}.</p>"
        '<div class="scroll"><table class="confused"><thead><tr><th>given label</th><th class="num">pictures</th>'
        "<th>wrong labels</th><th>suggested instead</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
    return _pairs(source, evidence, block) + table + _matrix(counts, choice.classes, names)


def _pairs(source: Rows, evidence: Evidence, block: int) -> str:
    """The pairs of given and suggested class with the most wrong labels; a button shows their suspects."""
    pairs, sizes = wrong_pairs(source, evidence, block=block)
    if not len(pairs):
        return '<p class="note">No label is called wrong.</p>'
    lines, most = [], int(sizes[0])
    for pair, size in zip(pairs[:PAIRS].tolist(), sizes[:PAIRS].tolist(), strict=True):
        given, to = divmod(pair, len(source.class_names))
        words = " → ".join(f"<bdi>{plain_name(source.class_names, c)}</bdi>" for c in (given, to))
        lines.append(
            f'<div class="row" role="listitem"><button type="button" class="name" data-pair="{given}&gt;{to}">{words}'
            f"</button>{charts.bar(size / most, plural(size, 'picture'))}</div>"
        )
    return (
        "<h3>Most frequent pairs <small>of wrong labels: given → suggested</small></h3>"
        f'<div class="rows pairs" role="list">{"".join(lines)}</div>'
    )


def _matrix(counts: np.ndarray, classes: Sequence[int], names: list[str]) -> str:
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
    head = "".join(f'<th scope="col"><span>{plain_name(names, c)}</span></th>' for c in shown)
    body = []
    for place, c in enumerate(rows):
        cells = "".join(_cell(float(share[place, o]), o == c) for o in shown)
        body.append(f'<tr><th scope="row">{plain_name(names, c)}</th>{cells}</tr>')
    return (
        "<details open><summary>As a matrix: of a given label's pictures (down) those whose label looks wrong, by "
        "suggested label (across), in per cent; where both are the same, all others</summary>"
        "<div class='scroll' tabindex='0'><table class='heat'>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div></details>"
    )


def _cell(share: float, same: bool) -> str:
    number = "" if share < 0.005 else f"{100 * share:.0f}"
    kind = ' class="same"' if same else ""
    return f'<td{kind} style="--s:{min(share * 1.5, 1) if not same else share:.2f}">{number}</td>'
