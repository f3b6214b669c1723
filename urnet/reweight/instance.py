"""Instances, the third reweighting: how likely each row shows its class, from several kinds of evidence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from urnet.core.checks import InputError, check_labels, check_same_rows
from urnet.reweight.evidence.decided import certain_rows
from urnet.reweight.evidence.ranks import decided_ranks
from urnet.reweight.sampling_weight import sampling_weight

DEFAULT_TERMS = {"confidence": 1.0, "text": 1.0, "rank": 0.5}
LOGIT_EDGE = 1e-3  # confidences are held this far from 0 and 1


def instance(
    labels: np.ndarray,
    n_classes: int,
    *,
    evidence: Mapping[str, np.ndarray],
    known: Mapping[str, np.ndarray] | None = None,
    terms: Mapping[str, float] | None = None,
    decided: np.ndarray | None = None,
    power: float = 2.0,
    floor: float = 0.02,
) -> dict[str, np.ndarray]:
    """Sampling weights by how far each row's evidence speaks for its label (ours).

    score_i = Σ over terms of terms[t] · z_it, where z_it is evidence[t] standardised inside the row's class
    over the rows where it is known (mean 0, standard deviation 1), and 0, hence neutral, where it is not, or
    where all rows of the class have the same. ``confidence`` is a probability and enters as its log-odds,
    held inside 0.001..0.999; the other terms enter as they are.
    relevance_i = share of the class's rows with a lower score, equal ones counting half: in (0, 1), mean ½
    in each class. instance_weight_i ∝ max(relevance_i, floor)^power, mean 1 in each class.
    Of two rows of a class with the same terms known, one that has at least the other's evidence in every
    term has at least its weight. A class whose rows have all the same evidence gets ones, and so does every
    class of one row. Terms known nowhere change nothing, to the last bit.

    Args: ``labels`` (N,); ``evidence`` name -> (N,) finite numbers, more is better: ``confidence`` p_i(y_i)
    of ``out_of_fold``, ``text`` text_given of ``text_evidence``, ``rank`` of ``rank_evidence``, ``model``
    relevance of ``relevance_model``, or others; ``known`` name -> (N,) bool, missing: known everywhere;
    ``terms`` name -> weight >= 0 of each evidence, default ``DEFAULT_TERMS`` for those that are there; ``decided``
    (N,) integers, 1: the label is certain, 0: not. Certain rows have relevance 1 and stand above all others of their
    class, whatever their evidence, which does not count in the class's mean and deviation.
    Returns ``relevance`` and ``instance_weight``, (N,) float32; permuted rows give the same bytes, permuted.
    Raises InputError for another length or shape, numbers that are not finite, a term without evidence or
    evidence without a term, or settings out of range.
    """
    labels = check_labels(np.asarray(labels), n_classes)
    known, certain = known or {}, certain_rows(decided, labels)
    weights = _checked_terms(evidence, terms, known)
    score = np.zeros(len(labels))
    for name, weight in weights.items():
        values, there = _checked_evidence(name, labels, evidence[name], known.get(name))
        if weight > 0:
            score += weight * _standardised(values, there if certain is None else there & ~certain, labels)
    relevance = decided_ranks(score, labels, certain)
    return sampling_weight(labels, n_classes, relevance=relevance, power=power, floor=floor)


def _checked_terms(evidence: Mapping, terms: Mapping[str, float] | None, known: Mapping) -> dict[str, float]:
    if terms is None:
        terms = {name: weight for name, weight in DEFAULT_TERMS.items() if name in evidence}
    if not evidence:
        raise InputError("evidence: found none; at least one term is needed")
    for name, where in [*((n, "terms") for n in terms), *((n, "known") for n in known)]:
        if name not in evidence:
            raise InputError(f"{where}: {name!r} has no evidence; there is: {', '.join(evidence)}")
    for name in evidence:
        if name not in terms:
            raise InputError(f"evidence: {name!r} has no weight in terms; there are: {', '.join(terms) or 'none'}")
    for name, weight in terms.items():
        if not (np.isfinite(weight) and weight >= 0):
            raise InputError(f"terms: {name} is {weight}; a finite weight >= 0 is accepted")
    return dict(terms)


def _checked_evidence(
    name: str, labels: np.ndarray, values: np.ndarray, known: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """float64 values, log-odds for the confidence, and where they are known."""
    values = np.asarray(values)
    known = np.ones(len(labels), bool) if known is None else np.asarray(known)
    check_same_rows(**{"labels": labels, f"evidence {name}": values, f"known {name}": known})
    if values.ndim != 1 or known.ndim != 1 or known.dtype != bool:
        raise InputError(f"evidence {name} {values.shape}, known {known.dtype} {known.shape}: (N,) and bool (N,)")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        raise InputError(f"evidence {name}: row {row} is {values[row]}; what is not known goes into `known`")
    if name != "confidence":
        return values, known
    if len(values) and not 0 <= values.min() <= values.max() <= 1:
        raise InputError(f"evidence confidence: {values.min()}..{values.max()}; probabilities are accepted")
    p = np.clip(values, LOGIT_EDGE, 1 - LOGIT_EDGE)
    return np.log(p / (1 - p)), known


def _standardised(values: np.ndarray, known: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean 0, standard deviation 1 over the known rows of each class; 0 where unknown or all the same."""
    out = np.zeros(len(labels))
    rows = np.flatnonzero(known)
    if not len(rows):
        return out
    rows = rows[np.lexsort((values[rows], labels[rows]))]  # sums then do not depend on the order of the rows
    lab, val = labels[rows], values[rows]
    first = np.flatnonzero(np.r_[True, lab[1:] != lab[:-1]])
    size = np.diff(np.r_[first, len(rows)])
    differ = val[first] < val[first + size - 1]  # asked of the values: rounding can part equal ones
    off = val - np.repeat(np.add.reduceat(val, first) / size, size)
    spread = np.sqrt(np.add.reduceat(off * off, first) / size)
    out[rows] = np.where(np.repeat(differ, size), off / np.repeat(np.where(differ, spread, 1), size), 0)
    return out
