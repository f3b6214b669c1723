"""Soft labels: the formula, planted faults with exact targets, labels that stay."""

import math

import numpy as np
import pytest
from scipy import sparse

from tests.helpers.web_rows import N_CLASSES, two_rows, web_rows
from urnet.core.checks import InputError
from urnet.reweight.label import label


def ring(c):
    """Similarity with a class's two neighbours; distinct entries, so that no cut is a matter of choice."""
    return 0.5 * np.eye(c) + 0.3 * np.roll(np.eye(c), 1, 0) + 0.2 * np.roll(np.eye(c), -1, 0)


SETTINGS = [
    {},
    {"rho": 0.0},
    {"rho": 0.5, "k": 3},
    {"k": 2, "similarity_share": 1.0},
    {"k": 1},
    {"rho": 4.0, "similarity_share": 0.9},
    {"sharpness": 2.0, "rho": math.inf},
    {"sharpness": 0.5, "similarity_share": 0.4},
]


def dense(columns, n_classes):
    targets = np.zeros((len(columns["keep"]), n_classes))
    np.add.at(targets, (np.arange(len(targets))[:, None], columns["topk_index"]), columns["topk_prob"])
    return targets


def by_hand(labels, index, prob, given, rho=1.0, k=10, similarity_share=0.0, sharpness=1.0):
    """The docstring on dense rows."""
    rows = np.arange(len(labels))
    belief = dense({"keep": labels, "topk_index": index, "topk_prob": prob}, N_CLASSES)
    belief[rows, labels] = given
    keep, belief = given.astype(np.float64) ** rho, belief**sharpness
    alike = cut(ring(N_CLASSES), k)[labels]
    rest = (1 - similarity_share) * belief / belief.sum(1, keepdims=True) + similarity_share * alike
    return keep, cut(keep[:, None] * np.eye(N_CLASSES)[labels] + (1 - keep[:, None]) * rest, k)


def cut(rows, k):
    """The ``k`` largest of each row, which sum to 1."""
    order = np.argsort(-rows, axis=1, kind="stable")
    kept = np.where(np.argsort(order, axis=1) < k, rows, 0)
    return kept / kept.sum(1, keepdims=True)


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_targets_are_the_formula_and_a_distribution(settings):
    rows = web_rows(200)
    data = {name: rows[name] for name in ("labels", "index", "prob", "given")}
    got = label(n_classes=N_CLASSES, **data, similarity=ring(N_CLASSES), **settings)
    keep, targets = by_hand(**data, **settings)
    np.testing.assert_allclose(got["keep"], keep, rtol=1e-6)
    np.testing.assert_allclose(dense(got, N_CLASSES), targets, atol=6e-4)  # as exact as float16
    prob, k = got["topk_prob"].astype(float), settings.get("k", 10)
    assert prob.shape == (200, k) and (np.diff(prob, axis=1) <= 0).all()
    np.testing.assert_allclose(prob.sum(1), 1, atol=k * 2.0**-12)
    used = np.sort(np.where(prob > 0, got["topk_index"], -1 - np.arange(k)), axis=1)
    assert (np.diff(used, axis=1) != 0).all()  # no class comes twice


@pytest.mark.parametrize(
    ("labels", "prob", "given", "keep", "targets"),
    [
        ([0], 0.5, 0.25, 0.25, [0.5, 0.5, 0]),  # 1/4 onehot(0) + 3/4 (1/3, 2/3): what is not listed speaks against 0
        ([2], 0.0, 0.0, 1, [0, 0, 1]),  # nothing is known: the label stays
    ],
)
def test_one_listed_class(labels, prob, given, keep, targets):
    index = np.array([[1]])
    got = label(np.array(labels), 3, index=index, prob=np.array([[prob]]), given=np.array([given]), k=2)
    assert got["keep"] == keep
    assert (dense(got, 3) == [targets]).all()


def test_two_ambiguous_classes_and_a_right_teacher_by_hand():
    teacher = np.array([[0.25, 0.75, 0], [0.75, 0.25, 0], [0, 0, 1]])
    data = {
        "labels": np.array([0, 0, 2]),
        "index": np.tile(np.arange(3), (3, 1)),
        "prob": teacher,
        "given": np.array([0.25, 0.75, 1]),
    }
    got = label(n_classes=3, **data)  # 1/4 onehot(0) + 3/4 teacher; 3/4 onehot(0) + 1/4 teacher; kept
    assert (got["keep"] == [0.25, 0.75, 1]).all()
    assert (dense(got, 3) == [[0.4375, 0.5625, 0], [0.9375, 0.0625, 0], [0, 0, 1]]).all()
    got = label(n_classes=3, **data, rho=math.inf)
    assert (got["keep"] == [0, 0, 1]).all()
    assert (dense(got, 3) == teacher).all()
    torn = {
        "labels": np.zeros(1, int),
        "index": np.array([[0, 1]]),
        "prob": np.array([[0.5, 0.5]]),
        "given": np.array([0.5]),
    }
    similarity = sparse.csr_matrix([[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]])
    got = label(n_classes=3, **torn, similarity=similarity, similarity_share=0.5)
    assert (dense(got, 3) == [[0.75, 0.125, 0.125]]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prob": np.ones((2, 3))}, r"index has shape \(2, 2\) and prob \(2, 3\)"),
        ({"prob": np.array([[0.5, 0.5], [0.5, np.nan]])}, "prob: row 1 has nan; 0..1 is accepted"),
        ({"index": np.array([[0, 1], [0, 3]])}, "index: row 1 has 3; 0..2 is accepted"),
        ({"given": np.array([0.1, 1.5])}, "given: row 1 has 1.5; 0..1 is accepted"),
    ],
)
def test_bad_input(change, message):
    good = two_rows()
    label(n_classes=3, **good)
    with pytest.raises(InputError, match=message):
        label(n_classes=3, **{**good, **change})
