"""What was searched for: the texts of a data set's queries and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from urnet.config.recipe import Data
from urnet.core.checks import InputError, check_same_rows
from urnet.data.lists.classes import read_classes, whole
from urnet.data.lists.lines import read_text
from urnet.data.lists.webvision import query_labels

_FILES = {"webvision2": ("queries.txt",), "webvision1": ("queries_google.txt", "queries_flickr.txt")}


@dataclass(frozen=True)
class QueryTexts:
    """``query[q]``: the text of query q, as the table's column ``query`` counts, from 1; ``query[0]`` is "".

    ``query_class[q]`` is its label, -1 where queries_synsets_map.txt does not say; ``classes[c]`` is class
    c's name and the texts of its queries, one per line, each text once.
    """

    query: list[str]
    query_class: list[int]
    classes: list[str]


def read_query_texts(data: Data, class_names: Sequence[str]) -> QueryTexts:
    """Read the query texts of a WebVision folder; other formats have class names only.

    ``class_names`` (n_classes,) as ``Table.class_names``. WebVision 1.0 words a query for google and for
    flickr; where they differ both count. No file of queries at all: class names only, as for other formats.
    Raises InputError for a file that is not UTF-8, and for a query of the map without a line in the file.
    """
    check_same_rows(class_names=class_names, n_classes=range(data.n_classes))
    files = [Path(data.root) / "info" / name for name in _FILES.get(data.format, ())]
    lists = [_lines(file) for file in files if file.is_file()]
    if not lists:
        return QueryTexts([""], [-1], list(class_names))
    texts = [""] * (1 + max(map(len, lists)))
    for lines in lists:
        for number, line in enumerate(lines, 1):
            texts[number] = _joined([texts[number], line])
    labels = _query_labels(data)
    missing = [number for number in labels if not 1 <= number < len(texts)]
    if missing:
        raise InputError(
            f"{files[0]}: has {len(texts) - 1} queries, but queries_synsets_map.txt has query {missing[0]}"
        )
    wanted = [[name] for name in class_names]
    for number in sorted(labels):
        wanted[labels[number]].append(texts[number])
    of_query = [labels.get(number, -1) for number in range(len(texts))]
    return QueryTexts(texts, of_query, [_joined(part) for part in wanted])


def _query_labels(data: Data) -> dict[int, int]:
    """Query number -> label, of the queries of the classes that train."""
    if data.classes is None:
        return query_labels(data)
    classes = read_classes(data)
    numbers = classes.renumbered(np.arange(len(classes.listed))).tolist()
    labels = query_labels(whole(data, classes))
    return {query: numbers[label] for query, label in labels.items() if numbers[label] >= 0}


def _joined(texts: Sequence[str]) -> str:
    """The texts that are not empty, each once, one per line."""
    return "\n".join(dict.fromkeys(line for text in texts for line in text.split("\n") if line))


def _lines(file: Path) -> list[str]:
    """A line per query, query 1 first; blanks around it are cut, an empty line is a query without text."""
    text = read_text(file, "one query per line is accepted")
    return [line.strip() for line in text.rstrip().split("\n")] if text.strip() else []
