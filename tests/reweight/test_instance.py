"""Instance weights: the laws, a slow plain version of the fusion, neutral unknowns, planted faults."""

import math
import statistics

import numpy as np
import pytest

from urnet.core.checks import InputError
from urnet.reweight.evidence.ranks import class_ranks, rank_evidence
from urnet.reweight.instance import instance

TERMS = {"confidence": 1.0, "text": 2.0, "rank": 0.5, "other": 0.25}


def rows(n=600, n_classes=8, seed=0):
    """Labels (class 2 has no row, class 5 one), evidence with ties, and what of it is known."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 3, 4, 6, 7], n, p=[0.5, 0.2, 0.1, 0.1, 0.06, 0.04]).astype(np.int32)
    labels[n // 2] = 5
    evidence = {
        "confidence": rng.random(n).astype(np.float32),
        "text": rng.choice([0.0, 0.5, 1.0], n),
        "rank": np.round(rng.random(n), 1),
        "other": 1e6 * rng.standard_normal(n),
    }
    known = {"text": rng.random(n) < 0.6, "rank": rng.random(n) < 0.8}
    known["rank"][labels == 3] = False  # a class without any rank
    evidence["text"][labels == 4] = 0.1  # a class whose texts all say the same
    return labels, evidence, known


def slow(labels, evidence, known, terms, power, floor):
    """One class and one row at a time, in Python's own numbers."""
    relevance, weight = [0.0] * len(labels), [0.0] * len(labels)
    for c in set(labels.tolist()):
        mine = [i for i, label in enumerate(labels) if label == c]
        score = dict.fromkeys(mine, 0.0)
        for name, factor in terms.items():
            value = {i: float(evidence[name][i]) for i in mine if name not in known or known[name][i]}
            if name == "confidence":
                held = {i: min(max(v, 0.001), 0.999) for i, v in value.items()}
                value = {i: math.log(v / (1 - v)) for i, v in held.items()}
            if len(set(value.values())) > 1:
                mean, spread = statistics.fmean(value.values()), statistics.pstdev(value.values())
                for i, v in value.items():
                    score[i] += factor * (v - mean) / spread
        for i in mine:
            below = sum(score[j] < score[i] - 1e-9 for j in mine)
            same = sum(abs(score[j] - score[i]) <= 1e-9 for j in mine)
            relevance[i] = (below + same / 2) / len(mine)
        raw = {i: max(relevance[i], floor) ** power for i in mine}
        for i in mine:
            weight[i] = raw[i] / statistics.fmean(raw.values())
    return np.array(relevance), np.array(weight)


SETTINGS = [{}, {"power": 0.0}, {"power": 1.0, "floor": 0.3}, {"power": 5.0, "floor": 1e-3}, {"floor": 1.0}]


@pytest.mark.parametrize("settings", SETTINGS)
def test_agrees_with_the_slow_version(settings):
    labels, evidence, known = rows()
    got = instance(labels, 8, evidence=evidence, known=known, terms=TERMS, **settings)
    expected = slow(labels, evidence, known, TERMS, **{"power": 2.0, "floor": 0.02, **settings})
    np.testing.assert_allclose(got["relevance"], expected[0], rtol=1e-5)
    np.testing.assert_allclose(got["instance_weight"], expected[1], rtol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS)
def test_laws(settings):
    labels, evidence, known = rows(seed=1)
    got = instance(labels, 8, evidence=evidence, known=known, terms=TERMS, **settings)
    for column in got.values():
        assert column.dtype == np.float32 and column.shape == labels.shape
        assert np.isfinite(column).all() and (column > 0).all()
    assert got["relevance"].max() < 1
    for c in np.unique(labels):
        assert got["instance_weight"][labels == c].mean(dtype=np.float64) == pytest.approx(1, abs=1e-6)
        assert got["relevance"][labels == c].mean(dtype=np.float64) == pytest.approx(0.5, abs=1e-6)
    order = np.random.default_rng(2).permutation(len(labels))
    shuffled = instance(
        labels[order],
        8,
        evidence={k: v[order] for k, v in evidence.items()},
        known={k: v[order] for k, v in known.items()},
        terms=TERMS,
        **settings,
    )
    for name, column in got.items():
        assert shuffled[name].tobytes() == column[order].tobytes()


def test_evidence_that_is_the_same_within_each_class_gives_all_ones():
    labels = rows()[0]
    for value in (0.0, 0.1, 1 / 3, 1.0):
        same = (value + labels * 0.05).clip(0, 1)
        evidence = {"confidence": same, "text": same, "rank": same}
        assert (instance(labels, 8, evidence=evidence)["instance_weight"] == 1).all()


def test_without_metadata_the_confidence_alone_acts_to_the_last_bit():
    labels, evidence, _ = rows(seed=3)
    nothing = np.zeros(len(labels), bool)
    by_itself = instance(labels, 8, evidence={"confidence": evidence["confidence"]})
    missing = instance(
        labels,
        8,
        evidence={k: evidence[k] for k in ("confidence", "text", "rank")},
        known={"text": nothing, "rank": nothing},
    )
    zero = instance(labels, 8, evidence=evidence, terms={**dict.fromkeys(evidence, 0.0), "confidence": 1.0})
    for name in by_itself:
        assert by_itself[name].tobytes() == missing[name].tobytes() == zero[name].tobytes()
    for c in np.unique(labels):  # more confident, more weight
        mine = labels == c
        order = np.argsort(evidence["confidence"][mine])
        assert (np.diff(by_itself["instance_weight"][mine][order]) >= 0).all()


def test_a_row_that_is_at_least_as_good_in_every_term_weighs_at_least_as_much():
    rng = np.random.default_rng(4)
    labels = np.zeros(120, np.int64)
    evidence = {name: rng.choice(np.linspace(0, 1, 6), 120) for name in TERMS}
    weight = instance(labels, 1, evidence=evidence, terms=TERMS)["instance_weight"]
    at_least = np.all([value[:, None] >= value[None] for value in evidence.values()], axis=0)
    assert at_least.sum() > 200
    assert (weight[:, None] >= weight[None])[at_least].all()


def test_planted_wrong_rows_come_last_and_the_weights_are_known():
    labels = np.repeat([0, 1], 10)
    wrong = np.isin(np.arange(20), [2, 5, 13])
    evidence = {"confidence": np.where(wrong, 0.1, 0.8), "text": np.where(wrong, 0.0, 1.0)}
    got = instance(labels, 2, evidence=evidence)
    assert got["relevance"][2] == pytest.approx(0.1)  # two of ten share the lowest places
    assert got["relevance"][0] == pytest.approx(0.6)
    assert got["instance_weight"][2] / got["instance_weight"][0] == pytest.approx((1 / 6) ** 2)
    assert got["instance_weight"][13] / got["instance_weight"][14] == pytest.approx((0.05 / 0.55) ** 2)


def test_class_ranks_count_equal_rows_half():
    got = class_ranks(np.array([3.0, 1, 1, 7, 5]), np.array([0, 0, 0, 1, 0]))
    assert got.tolist() == [0.625, 0.25, 0.25, 0.5, 0.875]
    assert class_ranks(np.empty(0), np.empty(0, int)).shape == (0,)


def test_rank_evidence_is_relative_to_the_query_of_the_source():
    query = np.array([1, 1, 1, 1, 2, 2, -1, 3])
    source = np.array([1, 1, 1, 2, 1, 1, 1, 1])
    rank = np.array([0, 5, 10, 4, 0, 1, 3, -1])
    got, known = rank_evidence(rank, query, source)
    assert got.dtype == np.float32
    assert got.tolist() == [1, 0.5, 0, 0, 1, 0, 0, 0]
    assert known.tolist() == [True] * 6 + [False] * 2
    single, known = rank_evidence(np.array([0]), np.array([4]), np.array([1]))
    assert single.tolist() == [1] and known.all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"evidence": {}}, "found none"),
        ({"evidence": {"confidence": [0.1, 0.2]}}, "labels has 3 rows but evidence confidence has 2"),
        ({"evidence": {"confidence": [0.1, np.nan, 0.2]}}, "evidence confidence: row 1 is nan"),
        ({"evidence": {"rank": [np.inf, 0, 0]}}, "evidence rank: row 0 is inf"),
        ({"evidence": {"confidence": [0.1, 1.5, 0.2]}}, "0.1..1.5; probabilities are accepted"),
        ({"evidence": {"rank": np.zeros((3, 1))}}, r"evidence rank \(3, 1\)"),
        ({"evidence": {"taste": [0, 0, 0]}}, "'taste' has no weight in terms"),
        ({"terms": {"rank": 1.0}}, "terms: 'rank' has no evidence; there is: confidence"),
        ({"terms": {"confidence": -1.0}}, "confidence is -1.0; a finite weight >= 0"),
        ({"known": {"rank": [True] * 3}}, "known: 'rank' has no evidence"),
        ({"known": {"confidence": [1, 1, 1]}}, "bool"),
        ({"known": {"confidence": [True]}}, "known confidence has 1"),
        ({"power": -1.0}, "power -1.0"),
        ({"power": float("nan")}, "power nan"),
        ({"floor": 0.0}, "floor 0.0"),
        ({"labels": [0, 1, 2]}, "label 2 in row 2 is outside 0..1"),
    ],
)
def test_bad_input(change, message):
    arguments = {"labels": [0, 1, 1], "evidence": {"confidence": [0.1, 0.2, 0.3]}, **change}
    with pytest.raises(InputError, match=message):
        instance(np.array(arguments.pop("labels")), 2, **arguments)
