"""Which pictures a person should look at next: those whose decision is expected to change the classifier most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from urnet.core.blocks import blocks
from urnet.core.checks import InputError, check_labels, check_same_rows
from urnet.reweight.evidence.folds import BLOCK_CELLS, block_of, check_features, hashes_and_mean, joined
from urnet.reweight.evidence.neighbours import nearest_rows, reference_rows, unit_rows
from urnet.reweight.evidence.views import Roots, Rows, any_negative

TAUGHT = 0.5  # how far the suggested class is taught already
K = 20  # neighbours that may learn from an answer
REFERENCE = 8192  # rows at most that neighbours are looked for among
POOL = 2000  # rows beyond those asked for that a batch is chosen among
APART = 1000  # rows of a batch that are kept apart; beyond, in the order that is left
COLUMNS = ("relevance", "suggested", "suggested_prob", "in_classes")  # of label_quality


class _Belief(NamedTuple):
    """How probable it is that each row shows its label and the suggested class, (N,) each; the rest is others."""

    given: np.ndarray
    suggested: np.ndarray
    inside: np.ndarray  # any of the classes


def worth_asking(
    features: Any,
    labels: np.ndarray,
    n_classes: int,
    found: Mapping[str, np.ndarray],
    n: int = 50,
    *,
    groups: np.ndarray | None = None,
    readable: np.ndarray | None = None,
    ask: np.ndarray | None = None,
    decided: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """The rows that a person should look at next, the most worth first (ours).

    Training counts a row for its label as far as it is believed, b_i(y), for the suggested class s in part, and where
    it shows none of the classes not at all. A person's answer makes that one class, or nothing. So an answer is
    expected to move what the row teaches, squared, by

        change_i = in_classes_i - b_i(y)² - ½ b_i(s)²,   b_i(y) = relevance_i in_classes_i,
                   b_i(s) = min(suggested_prob_i, 1 - relevance_i) in_classes_i where s is not y, else 0

    which is 0 for labels that are surely right and for pictures that are surely off topic, ½ for those that surely
    show s, and about ¾ for those between two classes. A class of few rows learns more from one, and so do
    rows like it that are in doubt themselves:

        worth_i = change_i · (b_i(y) f_y + b_i(s) f_s) / (b_i(y) + b_i(s)) · (Σ_j max(cos_ij, 0)² change_j)^½

    f_c = n̄ / n_c, n_c = 1 + Σ_i b_i(c), n̄ their mean; j are the row itself and the 20 nearest others, features as
    in ``label_quality``, less their mean. Each row that is taken multiplies the worth of all others by 1 - max(cos, 0),
    or a batch would ask one question many times; of a group one row is taken. docs/method.md has what it was
    compared with.

    Args: ``features``, ``labels``, ``n_classes``, ``groups``, ``readable``, ``decided`` as of ``label_quality``;
    ``found``: what it returned; ``n`` >= 0 rows; ``ask`` (N,) bool, False: not to be asked (a leak, a copy). Decided
    rows are not asked, nor are rows of their group with the same label. ``seed`` of the hashes that choose 8,192 rows,
    evenly from the classes, to look for neighbours among where there are more.
    Returns int64 rows, at most n, fewer where fewer may be asked. Memory: a block, and of the n + 2,000 best rows
    the features. Beyond 1,000 rows the order is that of what is left of their worth.
    Raises InputError for arrays that do not fit each other, and values or settings outside their ranges.
    """
    labels = check_labels(np.asarray(labels), n_classes)
    check_features(features, labels)
    rows = _asked(labels, n, found, readable, ask, decided, groups)
    good = np.arange(len(labels)) if readable is None else np.flatnonzero(readable)
    if not (len(rows) and n):
        return np.zeros(0, np.int64)
    some = features if len(good) == len(labels) else Rows(features, good)
    used = some if any_negative(some) else Roots(some)
    belief, suggested = _belief(found, labels, good, decided)
    change = belief.inside - belief.given**2 - TAUGHT * belief.suggested**2
    hashes, centre = hashes_and_mean(used, seed)
    keys = joined(hashes, None if groups is None else np.asarray(groups)[good])
    worth = change * _rare(belief, labels[good], suggested, n_classes)
    worth *= np.sqrt(_doubt_around(used, labels[good], keys, centre, change))
    place = np.searchsorted(good, rows)
    best = place[np.argsort(-worth[place], kind="stable")][: n + POOL]
    best = np.sort(best)  # for array-likes that are read in order
    return good[best[_apart(unit_rows(block_of(used, best) - centre), worth[best], keys[best], n)]]


def _asked(
    labels: np.ndarray,
    n: int,
    found: Mapping[str, np.ndarray],
    readable: np.ndarray | None,
    ask: np.ndarray | None,
    decided: np.ndarray | None,
    groups: np.ndarray | None,
) -> np.ndarray:
    """The rows that may be asked, after all checks."""
    if n < 0:
        raise InputError(f"n: found {n}; 0 or more is accepted")
    lacking = [name for name in COLUMNS if name not in found]
    if lacking:
        raise InputError(f"found: has no {lacking[0]}; what label_quality returns is accepted")
    check_same_rows(labels=labels, **{name: found[name] for name in COLUMNS})
    may = np.ones(len(labels), bool)
    for name, values in (("readable", readable), ("ask", ask)):
        if values is None:
            continue
        check_same_rows(**{"labels": labels, name: values})
        if np.asarray(values).dtype != bool:
            raise InputError(f"{name}: a boolean array is needed, found {np.asarray(values).dtype}")
        may &= values
    if decided is not None:
        check_same_rows(labels=labels, decided=decided)
        known = np.asarray(decided) != 0
        may &= ~known
        if groups is not None:
            check_same_rows(labels=labels, groups=groups)
            said = np.asarray(groups).astype(np.int64) * (int(labels.max()) + 1) + labels
            may &= ~(np.isin(said, said[known & (np.asarray(groups) >= 0)]) & (np.asarray(groups) >= 0))
    return np.flatnonzero(may)


def _belief(
    found: Mapping[str, np.ndarray], labels: np.ndarray, rows: np.ndarray, decided: np.ndarray | None
) -> tuple[_Belief, np.ndarray]:
    """What is believed of ``rows``, and the suggested classes; decided ones are sure, whatever was found of them."""
    relevance, suggested, prob, inside = (np.asarray(found[name])[rows] for name in COLUMNS)
    one = inside.astype(np.float64)
    if decided is not None:
        known = np.asarray(decided)[rows]
        one = np.where(known > 0, known == 1, one)
        relevance, suggested = np.where(known > 0, 1, relevance), np.where(known > 0, labels[rows], suggested)
    other = np.where(suggested != labels[rows], np.minimum(prob, 1 - relevance), 0)
    return _Belief(relevance * one, other * one, one), suggested


def _rare(belief: _Belief, labels: np.ndarray, suggested: np.ndarray, n_classes: int) -> np.ndarray:
    """How much less than the mean class the classes that a row may show have."""
    size = 1 + np.bincount(labels, belief.given, n_classes) + np.bincount(suggested, belief.suggested, n_classes)
    factor = size.mean() / size
    both = np.maximum(belief.given + belief.suggested, np.finfo(float).tiny)
    rare: np.ndarray = (belief.given * factor[labels] + belief.suggested * factor[suggested]) / both
    return rare


def _doubt_around(
    features: Any, labels: np.ndarray, keys: np.ndarray, centre: np.ndarray, change: np.ndarray
) -> np.ndarray:
    """(N,) the change that is expected of the row and those nearest to it, each as far as it is alike."""
    among = reference_rows(keys, labels, REFERENCE)
    reference = unit_rows(block_of(features, among) - centre)
    place, cosine = nearest_rows(
        features, reference, K, centre=centre, keys=(keys, keys[among]), block_cells=BLOCK_CELLS
    )
    doubt = change.copy()
    for part in blocks(len(labels), 1 << 16):
        doubt[part] += (np.maximum(cosine[part], 0) ** 2 * change[among][place[part]]).sum(axis=1)
    return doubt


def _apart(unit: np.ndarray, worth: np.ndarray, keys: np.ndarray, n: int) -> np.ndarray:
    """The places of at most ``n`` rows, each the one of most worth that is left; of equal keys one."""
    left, there = worth.astype(np.float64), np.ones(len(worth), bool)
    taken: list[int] = []
    while len(taken) < min(n, APART) and there.any():
        one = int(np.argmax(np.where(there, left, -np.inf)))
        taken.append(one)
        there &= keys != keys[one]
        left *= 1 - np.clip(unit @ unit[one], 0, 1)
    rest = np.flatnonzero(there)
    rest = rest[np.argsort(-left[rest], kind="stable")]
    rest = rest[np.sort(np.unique(keys[rest], return_index=True)[1])]  # the first of equal keys, in their order
    return np.concatenate([np.array(taken, np.int64), rest[: n - len(taken)]])
