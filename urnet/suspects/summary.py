"""What the command prints: how many pictures have which verdict, the first suspects, labels that are often wrong."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from urnet.report.suspects import FINE, VERDICTS, in_order, wrong_pairs
from urnet.reweight.evidence.decided import NONE
from urnet.suspects.find import Suspects

FIRST, PAIRS = 10, 5  # suspects and pairs of classes that are shown
NAME = 60  # characters of a path that are shown


def summary_lines(found: Suspects) -> Iterator[str]:
    """The lines of the summary."""
    counts = found.counts()
    total = len(found.photos.labels)
    width = max(len(f"{total:,}"), 8)
    yield f"{'pictures':>{width}}  verdict"
    for verdict in [*VERDICTS[1:], VERDICTS[FINE]]:
        yield f"{counts[verdict]:>{width},}  {verdict}"
    yield f"{total:>{width},}  in total"
    if found.evidence.decided is not None:
        decided = found.evidence.decided
        said = f", {int((decided == NONE).sum()):,} of them show none of the classes" if (decided == NONE).any() else ""
        yield f"{int((decided > 0).sum()):>{width},}  decided{said}"
    yield from _first(found)
    yield from _confused(found)


def _first(found: Suspects) -> Iterator[str]:
    evidence, names = found.evidence, _names(found)
    asked = evidence.verdict != FINE
    if evidence.decided is not None:
        asked &= evidence.decided == 0
    rows = in_order(evidence, np.flatnonzero(asked), FIRST)
    if not len(rows):
        return
    order = np.sort(rows)
    paths = dict(zip(order.tolist(), found.photos.path_texts(order).to_pylist(), strict=True))
    yield ""
    yield f"the first {len(rows)}{'' if evidence.decided is None else ' not decided'}, by label quality:"
    for row in rows.tolist():
        given, to = int(found.photos.labels[row]), int(evidence.suggested[row])
        verdict = VERDICTS[evidence.verdict[row]]
        better = f" -> {names[to]}" if verdict == "wrong label" else ""
        path = paths[row] if len(paths[row]) <= NAME else f"…{paths[row][-NAME:]}"
        yield f"  {evidence.label_quality[row]:.4f}  {verdict:<12}  {names[given]}{better}: {_plain(path)}"


def _confused(found: Suspects) -> Iterator[str]:
    names = _names(found)
    pairs, counts = wrong_pairs(found.photos, found.evidence)
    if not len(pairs):
        return
    yield ""
    yield "labels that look wrong most often:"
    for pair, n in zip(pairs[:PAIRS].tolist(), counts[:PAIRS].tolist(), strict=True):
        given, to = divmod(pair, len(names))
        yield f"  {n:>6,}  {names[given]} -> {names[to]}"


def _names(found: Suspects) -> list[str]:
    return [_plain(name) or str(c) for c, name in enumerate(found.photos.class_names)]


def _plain(text: str) -> str:
    """A text that stays on its line: what is not a printable character is written out."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
