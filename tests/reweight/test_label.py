"""Soft labels: the laws, a slow plain version, planted faults with exact targets, labels that stay."""

import math

import numpy as np
import pytest
from scipy import sparse

from urnet.core.checks import InputError
from urnet.reweight.label import label

SETTINGS = [
    {},
    {"rho": 0.5},
    {"rho": math.inf},
    {"rho": 0.0},
    {"k": 3},
    {"k": 1},
    {"k": 20},
    {"similarity_share": 0.3},
    {"k": 2, "similarity_share": 1.0},
    {"rho": 4.0, "similarity_share": 0.9},
    {"sharpness": 2.0, "rho": math.inf},
    {"sharpness": 0.5, "similarity_share": 0.4},
]


def ring(c):
    """Similarity with a class's two neighbours; distinct entries, so that no cut is a matter of choice."""
    return 0.5 * np.eye(c) + 0.3 * np.roll(np.eye(c), 1, 0) + 0.2 * np.roll(np.eye(c), -1, 0)


def believed(n=200, c=9, k=4, seed=0):
    """Labels and a belief: the k best of dim probabilities, unused places here and there, one row certain."""
    rng = np.random.default_rng(seed)
    labels, full = rng.integers(0, c, n), rng.dirichlet(np.full(c, 0.4), n)
    full[0] = np.arange(c) == labels[0]
    index = np.argsort(-full, axis=1)[:, :k]
    prob = np.take_along_axis(full, index, 1).astype(np.float16)
    prob[::5, -1] = 0
    given = full[np.arange(n), labels].astype(np.float32)
    return {"labels": labels, "index": index.astype(np.int32), "prob": prob, "given": given}


def run(data, c=9, **settings):
    return label(n_classes=c, **data, similarity=ring(c), **settings)


def dense(columns, n_classes):
    targets = np.zeros((len(columns["keep"]), n_classes))
    np.add.at(targets, (np.arange(len(targets))[:, None], columns["topk_index"]), columns["topk_prob"])
    return targets


def slow(labels, index, prob, given, c=9, rho=1.0, k=10, similarity_share=0.0, sharpness=1.0):
    """The docstring row by row, on dense rows."""
    targets, keep = np.zeros((len(labels), c)), np.zeros(len(labels))
    for i, y in enumerate(labels):
        belief = np.zeros(c)
        for place, value in zip(index[i], prob[i], strict=True):
            belief[place] += value
        belief[y] = given[i]
        keep[i] = given[i] ** rho
        belief = belief**sharpness
        alike = ring(c)[y]
        alike[np.argsort(-alike, kind="stable")[k:]] = 0
        rest = (1 - similarity_share) * belief / belief.sum() + similarity_share * alike / alike.sum()
        row = keep[i] * (np.arange(c) == y) + (1 - keep[i]) * rest
        row[np.argsort(-row, kind="stable")[k:]] = 0
        targets[i] = row / row.sum()
    return targets, keep


@pytest.mark.parametrize("settings", SETTINGS)
def test_agrees_with_the_slow_version(settings):
    data = believed()
    got = run(data, **settings)
    targets, keep = slow(**data, **settings)
    np.testing.assert_allclose(got["keep"], keep, rtol=1e-6)
    np.testing.assert_allclose(dense(got, 9), targets, atol=6e-4)  # as exact as float16


@pytest.mark.parametrize("settings", SETTINGS)
def test_laws(settings):
    data, k = believed(seed=1), settings.get("k", 10)
    got = run(data, **settings)
    assert {name: (a.dtype, a.shape) for name, a in got.items()} == {
        "topk_index": (np.int32, (200, k)),
        "topk_prob": (np.float16, (200, k)),
        "keep": (np.float32, (200,)),
    }
    assert ((got["keep"] >= 0) & (got["keep"] <= 1)).all()
    assert ((got["topk_index"] >= 0) & (got["topk_index"] < 9)).all()
    assert (got["topk_prob"] >= 0).all()
    assert (np.diff(got["topk_prob"].astype(float), axis=1) <= 0).all()
    np.testing.assert_allclose(got["topk_prob"].sum(1, dtype=np.float64), 1, atol=k * 2.0**-12)
    used = np.sort(np.where(got["topk_prob"] > 0, got["topk_index"], -1 - np.arange(k)), axis=1)
    assert (np.diff(used, axis=1) != 0).all()  # no class comes twice
    order = np.random.default_rng(2).permutation(200)
    permuted = run({name: array[order] for name, array in data.items()}, **settings)
    for other, expected in (
        (run(data, **settings), got),
        (run(data, **settings, block=7), got),
        (permuted, {name: array[order] for name, array in got.items()}),
    ):
        assert all(other[name].tobytes() == expected[name].tobytes() for name in got)


@pytest.mark.parametrize("rho", [0.0, 1.0, math.inf])
def test_labels_that_are_certain_stay_as_they_are(rho):
    labels = np.random.default_rng(0).integers(0, 50, 400).astype(np.int32)
    got = run(
        {
            "labels": labels,
            "index": np.stack([labels, (labels + 1) % 50], 1),
            "prob": np.tile(np.float16([1, 0]), (400, 1)),
            "given": np.ones(400, np.float32),
        },
        c=50,
        rho=rho,
        k=3,
        similarity_share=0.5,
    )
    assert (got["keep"] == 1).all()
    assert (got["topk_index"][:, 0] == labels).all()
    assert (got["topk_prob"] == [1, 0, 0]).all()


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


def test_mass_on_classes_that_are_not_listed_counts_against_the_label():
    data = {"labels": np.zeros(1, int), "index": np.array([[1]]), "prob": np.array([[0.5]]), "given": np.array([0.25])}
    got = label(n_classes=9, **data, k=2)  # 1/4 onehot(0) + 3/4 (1/3, 2/3)
    assert got["keep"] == 0.25
    assert (dense(got, 9)[0, :2] == [0.5, 0.5]).all()


def test_where_nothing_is_known_the_label_stays():
    data = {"labels": np.array([2]), "index": np.array([[0]]), "prob": np.array([[0.0]]), "given": np.zeros(1)}
    got = label(n_classes=3, **data, k=2)
    assert got["keep"] == 1
    assert (dense(got, 3) == [[0, 0, 1]]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0, 9])}, "label 9 in row 1 is outside 0..2"),
        ({"given": np.array([0.5])}, "labels has 2 rows but given has 1"),
        ({"prob": np.ones((2, 3))}, r"index has shape \(2, 2\) and prob \(2, 3\)"),
        ({"prob": np.array([[0.5, 0.5], [0.5, np.nan]])}, "prob: row 1 has nan; 0..1 is accepted"),
        ({"index": np.array([[0, 1], [0, 3]])}, "index: row 1 has 3; 0..2 is accepted"),
        ({"given": np.array([0.1, 1.5])}, "given: row 1 has 1.5; 0..1 is accepted"),
    ],
)
def test_bad_input(change, message):
    good = {
        "labels": np.array([0, 1]),
        "index": np.array([[0, 1], [1, 0]]),
        "prob": np.array([[0.5, 0.5]] * 2),
        "given": np.array([0.5, 0.5]),
    }
    label(n_classes=3, **good)
    with pytest.raises(InputError, match=message):
        label(n_classes=3, **{**good, **change})
