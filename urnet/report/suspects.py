"""Level 1: which labels look wrong: a score for every row, the rows in order of it, and their list as CSV."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from urnet.checks import InputError
from urnet.files import whole_file
from urnet.report.columns import Columns
from urnet.report.counting import blocks
from urnet.table import BLOCK

HEADER = ("path", "given", "suggested", "score", "given_name", "suggested_name")


@dataclass(frozen=True)
class Evidence:
    """``suggested`` int32 (N,), each row's most probable class, -1 where unknown; ``score`` float32 (N,).

    The score is 0..1: 0 where the suggestion is the given label or there is none, 1 where nothing speaks for
    the given label and all for the suggested one. ``source`` says from which columns, as a formula.
    """

    suggested: np.ndarray
    score: np.ndarray
    source: str


def judge(columns: Columns) -> Optional[Evidence]:
    """Score all rows from the newest evidence there is; None where no stage has left any.

    From the label stage: s = argmax of topk_prob, score = topk_prob[s], the part of the training target that
    the given label lost to class s. Else from the instance stage:
    suggested_prob * (1 - relevance), or (1 - confidence) where there is no relevance (all ours). Raises
    InputError for a suggested class that the table does not have.
    """
    index, prob = columns.get("topk_index"), columns.get("topk_prob")
    if index is not None and prob is not None:
        return _judge(columns, index, prob, None, "topk_prob")
    suggested, prob = columns.get("suggested"), columns.get("suggested_prob")
    for name in ("relevance", "confidence"):
        trust = columns.get(name)
        if suggested is not None and prob is not None and trust is not None:
            return _judge(columns, suggested, prob, trust, f"suggested_prob · (1 − {name})")
    return None


def _judge(
    columns: Columns, index: np.ndarray, prob: np.ndarray, trust: Optional[np.ndarray], source: str
) -> Evidence:
    labels, n_classes = columns.labels, len(columns.table.class_names)
    suggested, score = np.empty(len(labels), np.int32), np.zeros(len(labels), np.float32)
    for part in blocks(len(labels)):
        best, p = _most_probable(index[part], prob[part])
        if len(best) and best.max() >= n_classes:
            raise InputError(
                f"{columns.table.folder}: class {best.max()} is suggested, the table has {n_classes} classes"
            )
        value = np.clip(p, 0, 1)
        if trust is not None:
            value = value * np.clip(1 - trust[part].astype(np.float32), 0, 1)
        wrong = (best >= 0) & (best != labels[part]) & np.isfinite(value)
        suggested[part] = best
        score[part] = np.where(wrong, value, 0)
    return Evidence(suggested, score, source)


def _most_probable(index: np.ndarray, prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class and probability of each row's best candidate; -1 and 0 where none is known (-1 or nan)."""
    index, prob = index.reshape(len(index), -1), prob.reshape(len(prob), -1).astype(np.float32)
    known = (index >= 0) & np.isfinite(prob)
    prob = np.where(known, prob, -1)
    best, rows = prob.argmax(axis=1), np.arange(len(prob))
    found = known[rows, best]
    return np.where(found, index[rows, best], -1), np.where(found, prob[rows, best], 0)


def most_suspect(score: np.ndarray, n: Optional[int] = None) -> np.ndarray:
    """Rows of the ``n`` largest scores above 0 (None: of all), largest first, equal ones by row number."""
    rows = np.flatnonzero(score > 0)
    if n is not None and n < len(rows):
        least = np.partition(score[rows], len(rows) - n)[len(rows) - n] if n else np.inf
        rows = rows[score[rows] >= least]
    return rows[np.argsort(-score[rows], kind="stable")][:n]


def write_csv(path: Path, columns: Columns, evidence: Evidence, rows: np.ndarray) -> None:
    """Write ``rows`` in their order, whole or not at all; an existing file is replaced.

    Columns: path as the table has it, given and suggested class number, score with four decimals, and the two
    classes' names.
    """
    table, labels, names = columns.table, columns.labels, columns.table.class_names
    with whole_file(path, replace=True) as part, part.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(HEADER)
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            given, to = labels[some].tolist(), evidence.suggested[some].tolist()
            score = np.char.mod("%.4f", evidence.score[some]).tolist()
            named = ([names[c] for c in classes] for classes in (given, to))
            writer.writerows(zip(table.strings("path", some), given, to, score, *named))
