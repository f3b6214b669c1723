"""What the stages of a run found out about its labels, as ``Evidence``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from urnet.core.blocks import ROWS, blocks
from urnet.core.checks import InputError
from urnet.report.columns import Columns
from urnet.report.suspects import FINE, UNKNOWN, UNREADABLE, VERDICTS, Evidence
from urnet.reweight.evidence.decided import CERTAIN, NONE

WRONG_BELOW = 0.5  # label quality under which another suggested class makes a label wrong
_WRONG, _OFF_TOPIC = VERDICTS.index("wrong label"), VERDICTS.index("off topic")


def label_evidence(columns: Columns, unreadable: Sequence[int] = (), *, block: int = ROWS) -> Evidence | None:
    """The newest evidence there is about all rows; None where no stage has left any.

    From the label stage, t_i being a row's target distribution (``topk_index``, ``topk_prob``) and y_i its given label:
    suggested = argmax t_i, label_quality = t_i(y_i), which is 1 less the part of the target that y_i lost. Else
    from the instance stage: ``suggested``, ``suggested_prob``, label_quality = ``relevance``, or ``confidence`` where
    there is no relevance (all ours). The verdict is "wrong label" where the suggested class is not the given one and
    label_quality is below ``WRONG_BELOW``, else "fine"; rows that are ``unreadable``, and nothing else, are that.
    Rows that a person decided have 1 for their label and are "fine", those of none of the classes 0 and "off topic".
    What is not known (nan, -1) has no suggestion and a label quality of 0.5. Raises InputError for a suggested class
    that the table does not have.
    """
    found = _once(columns, "topk_index", "topk_prob")
    if found:
        return _evidence(columns, "part of its training target", unreadable, block, *found)
    for name in ("relevance", "confidence"):
        found = _once(columns, "suggested", "suggested_prob", name)
        if found:
            return _evidence(columns, name, unreadable, block, *found)
    return None


def _once(columns: Columns, *plain: str) -> list[np.ndarray]:
    """The columns for one pass; none where one of them is not there."""
    names = [name for name in map(columns.name, plain) if name is not None]
    return [columns.once(name) for name in names] if len(names) == len(plain) else []


def _evidence(
    columns: Columns,
    source: str,
    unreadable: Sequence[int],
    block: int,
    index: np.ndarray,
    prob: np.ndarray,
    confidence: np.ndarray | None = None,
) -> Evidence:
    labels, n_classes = columns.labels, len(columns.class_names)
    n = len(labels)
    suggested, suggested_prob = np.empty(n, np.int32), np.empty(n, np.float32)
    quality, verdict = np.empty(n, np.float32), np.full(n, FINE, np.int8)
    for part in blocks(n, block):
        best, p = _most_probable(index[part], prob[part])
        if len(best) and best.max() >= n_classes:
            raise InputError(
                f"{columns.table.folder}: class {best.max()} is suggested, but the table has {n_classes} classes"
            )
        if confidence is None:
            value = _of_given(labels[part], index[part], prob[part])
        else:
            value = confidence[part].astype(np.float32)
        value = np.where(np.isfinite(value), np.clip(value, 0, 1), np.float32(UNKNOWN))
        suggested[part], suggested_prob[part], quality[part] = best, p, value
        verdict[part][(best >= 0) & (best != labels[part]) & (value < WRONG_BELOW)] = _WRONG
    decided = columns.table.decided
    given = None
    if decided is not None:  # as tools/suspects.py has it
        sure, none = decided == CERTAIN, decided == NONE
        suggested[sure], suggested_prob[sure], quality[sure], verdict[sure] = labels[sure], 1, 1, FINE
        suggested[none], suggested_prob[none], quality[none], verdict[none] = -1, np.nan, 0, _OFF_TOPIC
        given = columns.table.column("given")
    gone = np.array([row for row in unreadable if row < n], np.int64)
    suggested[gone], suggested_prob[gone], quality[gone], verdict[gone] = -1, np.nan, UNKNOWN, UNREADABLE
    evidence = Evidence(suggested, quality, suggested_prob=suggested_prob, verdict=verdict, source=source)
    return evidence if decided is None else replace(evidence, given=given, decided=decided)


def _known(index: np.ndarray, prob: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    index, prob = index.reshape(len(index), -1), prob.reshape(len(prob), -1).astype(np.float32)
    return index, prob, (index >= 0) & np.isfinite(prob)


def _most_probable(index: np.ndarray, prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class and probability (0..1) of each row's best candidate; -1 and nan where none is known (-1 or nan)."""
    index, prob, known = _known(index, prob)
    best, rows = np.where(known, prob, -np.inf).argmax(axis=1), np.arange(len(prob))
    found = known[rows, best]
    return np.where(found, index[rows, best], -1), np.where(found, np.clip(prob[rows, best], 0, 1), np.nan)


def _of_given(labels: np.ndarray, index: np.ndarray, prob: np.ndarray) -> np.ndarray:
    """The candidates' probability of each row's given label; nan where no candidate is known."""
    index, prob, known = _known(index, prob)
    own = np.where(known & (index == labels[:, None]), prob, 0).sum(axis=1)
    return np.where(known.any(axis=1), own, np.nan)
