"""How often a label, a title and a place in the search results are right, class by class, where truth_train.txt tells.

A title names a class where one of the class's queries stands in it as whole words; of several the longest counts.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from pathlib import Path

import numpy as np

from urnet.config.recipe import Data
from urnet.core.checks import InputError
from urnet.data.lists.build_table import build_table
from urnet.data.lists.class_names import read_class_names
from urnet.data.lists.lines import read_lines
from urnet.data.lists.webvision import query_labels
from urnet.data.table.table import SOURCES, Table

_HEAD = (
    "class",
    "rows",
    "label right",
    "another class",
    "open-set",
    "title names no class",
    "what is shown",
    "the wrong label",
    "something else",
    "right before wrong",
    "right in first fifth",
    "in last",
)
_NOTHING = -2  # a title that names no class


def rates(folder: Path) -> str:
    """A Markdown table, one line per class and one for all; all but rows in percent.

    Label: the picture shows its label's class, another, or none of them (open-set). Title: it names no class, the one
    that is shown, the label's where that is wrong, or something else. Results: of two of google's for one query, one
    right and one wrong, how often the right one stands before the other; and how often a result is right in the first
    and in the last fifth of its query's. Raises InputError for a folder without lists, or without the truth.
    """
    synsets = folder / "info" / "synsets.txt"
    if not synsets.is_file():
        raise InputError(f"{synsets}: does not exist; a folder in WebVision 2.0's layout is needed")
    data = Data(str(folder), len(read_class_names(synsets, None)))
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stderr(io.StringIO()):
        table = build_table(data, Path(place) / "table")
        label, truth = np.array(table.column("label")), _truth(folder, table)
        named, known = _named(table, data)
        google = np.asarray(table.column("source")) == SOURCES.index("google")
        query, rank = (np.where(google, table.column(name), -1) for name in ("query", "rank"))
        names = [name.split(",")[0] for name in table.class_names]
    lines = [_HEAD, ("---",) * len(_HEAD)]
    for name, own in [*((name, label == i) for i, name in enumerate(names)), ("all", label >= 0)]:
        right, is_open = label[own] == truth[own], truth[own] < 0
        parts = [right, ~right & ~is_open, is_open]
        says = named[own]
        wrong_label = ~right & (says == label[own])
        shown = ~is_open & (says == truth[own])
        nothing = says == _NOTHING
        parts += [part if known else [] for part in (nothing, shown, wrong_label, ~nothing & ~shown & ~wrong_label)]
        parts += _results(query[own], rank[own], right)
        lines.append((name, str(int(own.sum())), *map(_percent, parts)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _percent(part: np.ndarray) -> str:
    return f"{100 * np.mean(part):.1f}" if len(part) else "-"


def _truth(folder: Path, table: Table) -> np.ndarray:
    """What each row shows, -1 for none of the classes."""
    file = folder / "truth_train.txt"
    if not file.is_file():
        raise InputError(f"{file}: does not exist; without it nobody knows what is right")
    shown: dict[str, int] = {}
    for block in read_lines(file, what="class", low=-1):
        shown.update(zip(block.path.to_pylist(), block.number.tolist(), strict=True))
    paths = table.strings("path", np.arange(table.n_rows))
    missing = next((path for path in paths if path not in shown), None)
    if missing is not None:
        raise InputError(f"{file}: has no line for {missing!r}, which a training list has")
    return np.array([shown[path] for path in paths])


def _named(table: Table, data: Data) -> tuple[np.ndarray, bool]:
    """The class that each row's title names; and whether there are titles at all."""
    file = Path(data.root) / "info" / "queries.txt"
    words = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    of_query = query_labels(data)
    classes = {word.lower(): of_query[i] for i, word in enumerate(words, 1) if i in of_query}
    longest = "|".join(map(re.escape, sorted(classes, key=len, reverse=True)))
    pattern = re.compile(rf"\b(?:{longest})\b") if classes else None
    titles = [text.split("\n")[0].lower() for text in table.strings("text", np.arange(table.n_rows))]
    found = [pattern.search(title) if pattern else None for title in titles]
    return np.array([classes[match.group()] if match else _NOTHING for match in found]), any(titles)


def _results(query: np.ndarray, rank: np.ndarray, right: np.ndarray) -> list[np.ndarray]:
    """Of google's results: one value a pair of a right and a wrong one; then which are right of both fifths."""
    pairs, first, last = [], [], []
    for number in np.unique(query[query >= 0]):
        own = query == number
        order = right[own][np.argsort(rank[own])]
        fifth = max(len(order) // 5, 1)
        first.append(order[:fifth])
        last.append(order[-fifth:])
        before = np.cumsum(order)[~order]  # right ones before each wrong one
        pairs.append(np.repeat([True, False], [before.sum(), len(before) * order.sum() - before.sum()]))
    return [np.concatenate(parts) if parts else np.empty(0) for parts in (pairs, first, last)]
