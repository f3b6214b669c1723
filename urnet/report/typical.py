"""Typical pictures of classes, to hold a suspect against: those whose labels are the surest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from urnet.report.aggregates import rows_of
from urnet.report.gallery import Gallery
from urnet.report.photos import Rows
from urnet.report.suspects import FINE, Evidence
from urnet.report.text import plain_name

PICTURES, SHARE = 3, 0.2  # pictures of a class, spread over this share of its fine rows


def typical_rows(rows: np.ndarray, evidence: Evidence, n: int = PICTURES) -> np.ndarray:
    """``n`` of a class's ``rows``, or all there are, evenly spread over the surest fifth of its fine rows (ours).

    The ones with the highest label quality are often the same shot again; of a group of rows that show the same
    only one is taken.
    """
    rows = rows[evidence.verdict[rows] == FINE]
    if evidence.group is not None:
        group = evidence.group[rows]
        first = np.zeros(len(rows), bool)
        first[np.unique(group, return_index=True)[1]] = True
        rows = rows[first | (group < 0)]
    surest = rows[np.argsort(-evidence.label_quality[rows], kind="stable")]
    surest = surest[: max(n, round(SHARE * len(surest)))]
    return surest[np.unique(np.linspace(0, len(surest) - 1, min(n, len(surest))).round().astype(np.int64))]


def typical_pictures(source: Rows, evidence: Evidence, classes: Sequence[int], gallery: Gallery) -> str:
    """A <template> of the typical pictures of each of ``classes``, which the page's dialog shows."""
    of_class = rows_of(source.labels, classes, len(source.class_names))
    templates = []
    for c in classes:
        pictures = gallery.pictures(typical_rows(of_class[c], evidence), size=160)
        name = plain_name(source.class_names, c)
        templates.append(f'<template id="typical-{c}" data-name="{name}">{"".join(pictures)}</template>')
    return "".join(templates)
