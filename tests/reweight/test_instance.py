"""Instance weights: the formula of the fusion, neutral unknowns, planted faults."""

import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import rankdata, zscore

from tests.helpers.web_rows import N_CLASSES, web_rows
from urnet.core.checks import InputError
from urnet.reweight.evidence.ranks import class_ranks, rank_evidence
from urnet.reweight.instance import instance

TERMS = {"confidence": 1.0, "text": 2.0, "rank": 0.5}


def evidence_of(**settings):
    """Labels, evidence and what of it is known."""
    rows = web_rows(**settings)
    evidence = {"confidence": rows["given"], "text": rows["text"], "rank": rows["rank"]}
    return rows["labels"], evidence, {"text": rows["text_known"], "rank": rows["rank_known"]}


def by_hand(labels, evidence, known, power, floor):
    """Class by class: z-scores of what is known, their weighted sum, its rank."""
    relevance, weight = np.zeros(len(labels)), np.zeros(len(labels))
    for c in np.unique(labels):
        own = np.flatnonzero(labels == c)
        score = np.zeros(len(own))
        for name, factor in TERMS.items():
            value = evidence[name][own].astype(np.float64)
            there = known[name][own] if name in known else np.ones(len(own), bool)
            if name == "confidence":
                value = logit(value.clip(0.001, 0.999))
            if len(np.unique(value[there])) > 1:
                score[there] += factor * zscore(value[there])
        relevance[own] = (rankdata(score.round(9)) - 0.5) / len(own)
        raw = np.maximum(relevance[own], floor) ** power
        weight[own] = raw / raw.mean()
    return relevance, weight


@pytest.mark.parametrize("settings", [{"power": 2.0, "floor": 0.02}, {"power": 1.0, "floor": 0.3}])
def test_the_weights_are_the_formula(settings):
    labels, evidence, known = evidence_of()
    got = instance(labels, N_CLASSES, evidence=evidence, known=known, terms=TERMS, **settings)
    relevance, weight = by_hand(labels, evidence, known, **settings)
    np.testing.assert_allclose(got["relevance"], relevance, rtol=1e-5)
    np.testing.assert_allclose(got["instance_weight"], weight, rtol=1e-5)


def test_without_metadata_the_confidence_alone_acts_to_the_last_bit():
    labels, evidence, known = evidence_of(seed=3)
    nothing = {name: np.zeros(len(labels), bool) for name in known}
    by_itself = instance(labels, N_CLASSES, evidence={"confidence": evidence["confidence"]})
    missing = instance(labels, N_CLASSES, evidence=evidence, known=nothing)
    zero = instance(labels, N_CLASSES, evidence=evidence, terms={"confidence": 1.0, "text": 0.0, "rank": 0.0})
    for name in by_itself:
        assert by_itself[name].tobytes() == missing[name].tobytes() == zero[name].tobytes()


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
    ],
)
def test_bad_input(change, message):
    arguments = {"labels": [0, 1, 1], "evidence": {"confidence": [0.1, 0.2, 0.3]}, **change}
    with pytest.raises(InputError, match=message):
        instance(np.array(arguments.pop("labels")), 2, **arguments)
