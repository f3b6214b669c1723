"""Cluster weights: the formula, planted kinds, equal bytes however the work is shared."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from tests.helpers.web_rows import Recorder
from urnet.core.checks import InputError
from urnet.reweight.cluster import cluster
from urnet.reweight.evidence.class_shards import join, rows_of
from urnet.reweight.evidence.projection import Projection, fit_projection

SIZES = [1, 2, 3, 0, 5, 40, 130, 320, 11]


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def planted(sizes=SIZES, width=16, kinds=3, noise=1.5, seed=0, dtype=np.float16):
    """features, labels, given_prob, kinds: every class has ``kinds`` kinds, later ones recognised worse."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int32)
    kind = rng.integers(0, kinds, len(labels))
    centres = rng.normal(size=(len(sizes), kinds, width))
    features = centres[labels, kind] + noise * rng.normal(size=(len(labels), width))
    given_prob = rng.random(len(labels)) / (1 + kind)
    given_prob[labels == 4] = 0
    return features.astype(dtype), labels, given_prob, kind


def by_hand(labels, given_prob, found, shrink=10.0, power=1.0):
    """Quality, shrinkage and weights, class by class."""
    weights = np.zeros(len(labels))
    for c in np.unique(labels):
        own = labels == c
        size, number, p = np.bincount(found[own]), found[own], given_prob[own].astype(np.float64)
        quality = (np.bincount(number, p) + shrink * p.mean()) / (size + shrink)
        raw = (quality / quality.max()) ** power if quality.max() else np.ones(len(size))
        weights[own] = (raw * own.sum() / (size @ raw))[number]
    return weights


def run(data, **settings):
    return cluster(*data[:3], len(SIZES), **settings)


def same(one, other):
    return all(one[name].tobytes() == other[name].tobytes() for name in ("cluster", "cluster_weight"))


@pytest.mark.parametrize("settings", [{}, {"shrink": 0.0}, {"power": 3.0}, {"shrink": 1e8, "power": 1e9}])
def test_the_weights_are_the_formula_and_the_best_cluster_is_number_0(settings):
    features, labels, given_prob, _ = planted()
    got = run((features, labels, given_prob), **settings)
    found, weight = got["cluster"], got["cluster_weight"]
    np.testing.assert_allclose(weight, by_hand(labels, given_prob, found, **settings), rtol=1e-5, atol=1e-30)
    for c in np.unique(labels):
        numbers, first = np.unique(found[labels == c], return_index=True)
        assert numbers.tolist() == list(range(len(numbers)))
        assert (np.diff(weight[labels == c][first]) <= 0).all()


def test_the_number_of_clusters_follows_the_rows_of_the_class():
    sizes = [1, 2, 3, 60, 450, 800, 1250]  # sqrt(n / 50): 3, 4, 5 for the last three
    features, labels, given_prob, _ = planted(sizes, noise=3.0)
    found = cluster(features, labels, given_prob, 7)["cluster"]
    assert [found[labels == c].max() + 1 for c in range(7)] == [1, 2, 2, 2, 3, 4, 5]
    found = cluster(features, labels, given_prob, 7, rows_per_cluster=8, max_clusters=9, min_clusters=3)["cluster"]
    assert [found[labels == c].max() + 1 for c in range(7)] == [1, 2, 3, 3, 8, 9, 9]


@pytest.mark.parametrize("equal", [0.0, 0.3, 1e-40, 1e-300])
def test_rows_recognised_alike_weigh_alike(equal):
    features, labels, _, _ = planted()
    for given_prob in (np.full(len(labels), equal), equal * np.random.default_rng(0).random(9)[labels]):
        assert (cluster(features, labels, given_prob, 9, power=2.0)["cluster_weight"] == 1).all()


def test_two_kinds_by_hand():
    kind = np.repeat([0, 1], [30, 10])
    features = np.zeros((40, 8), np.float32)
    features[np.arange(40), kind] = 1
    features += np.random.default_rng(0).normal(size=features.shape).astype(np.float32) * 0.01
    given_prob = np.where(kind == 0, 0.9, 0.1)  # the class's mean is 0.7
    got = cluster(features, np.zeros(40, int), given_prob, 1)
    good, bad = (30 * 0.9 + 7) / 40, (10 * 0.1 + 7) / 20  # 0.85, 0.4
    mean = (30 * good + 10 * bad) / 40
    assert got["cluster"].tolist() == kind.tolist()
    np.testing.assert_allclose(got["cluster_weight"], np.where(kind == 0, good, bad) / mean, rtol=1e-6)
    unshrunk = cluster(features, np.zeros(40, int), given_prob, 1, shrink=0, power=2)["cluster_weight"]
    np.testing.assert_allclose(unshrunk, np.where(kind == 0, 0.81, 0.01) / (0.75 * 0.81 + 0.25 * 0.01), rtol=1e-6)


@pytest.mark.parametrize(("kinds", "size", "noise"), [(2, 300, 0.1), (2, 200, 0.8), (4, 800, 0.8)])
def test_planted_kinds_are_found_whatever_the_scale_and_shift(kinds, size, noise):
    features, labels, given_prob, kind = planted([size] * 2, 32, kinds, noise, dtype=np.float32)
    for changed in (features, features * 1e-30, features * 1e14, features + 50):
        found = cluster(changed, labels, given_prob, 2)["cluster"]
        for c in range(2):
            assert adjusted_rand_score(kind[labels == c], found[labels == c]) > 0.98


def test_equal_rows_stay_together():
    distinct, labels, _, _ = planted([4, 3, 1, 2, 6], noise=1.0)
    copies = np.random.default_rng(0).permutation(np.repeat(np.arange(len(labels)), 60))
    given_prob = np.random.default_rng(1).random(len(copies)).astype(np.float32)
    data = distinct[copies], labels[copies], given_prob
    got = cluster(*data, 5, min_clusters=4)
    order = np.random.default_rng(2).permutation(len(copies))
    permuted = cluster(*(array[order] for array in data), 5, min_clusters=4)
    assert same(permuted, {name: column[order] for name, column in got.items()})
    found = got["cluster"]
    for row in range(len(labels)):
        assert len(np.unique(found[copies == row])) == 1
    assert [found[labels[copies] == c].max() + 1 for c in range(5)] == [4, 3, 1, 2, 4]


def test_neither_processes_nor_ranks_nor_threads_change_a_byte():
    features, labels, given_prob, _ = data = planted()
    projection = fit_projection(features)
    whole = run(data)
    assert same(run(data, jobs=2, task_rows=100), whole)
    shares = [rows_of(labels, 9, rank, 3) for rank in range(3)]
    parts = [cluster(features[rows], labels[rows], given_prob[rows], 9, projection=projection) for rows in shares]
    assert same(join(parts, labels, 9), whole)
    with threadpool_limits(2):
        assert same(run(data), whole)


def test_memory_is_bounded_by_the_largest_class():
    sizes = np.array([900, *[200] * 20, *[10] * 50])
    features, labels, given_prob, _ = planted(sizes, width=8)
    recorder = Recorder(features)
    projection = fit_projection(recorder, sample_rows=600, block_bytes=8 * 2 * 300)
    got = cluster(recorder, labels, given_prob, 71, projection=projection, task_rows=500)
    assert recorder.largest == 900
    assert same(got, cluster(features, labels, given_prob, 71, projection=projection))


X, Y, P = np.ones((3, 2), np.float32), np.array([0, 1, 1]), np.array([0.5, 0.2, 0.1])
BROKEN = np.array([[1, 1], [1, 1], [1, np.nan]])


@pytest.mark.parametrize(
    ("arrays", "settings", "message"),
    [
        ((X, Y, np.array([0.5, np.nan, 0.1])), {}, "given_prob: row 1 has nan; probabilities in 0..1"),
        ((X, Y, np.array([0.5, 0.2, 1.5])), {}, "given_prob: row 2 has 1.5"),
        ((X, Y, np.ones((3, 1))), {}, r"one probability a row, is accepted; found \(3, 1\)"),
        ((BROKEN.astype(np.float16), Y, P), {}, "features: row 2 has nan in column 1; finite"),
        ((X * 1e30, Y, P), {}, "features: row 0 has 1e\\+30 in column 0; .* magnitude below 1e\\+15"),
        ((X * -np.inf, Y, P), {}, "features: row 0 has -inf"),
        ((X[:, 0], Y, P), {}, r"features: \(N, D\) of float16, 32 or 64 is accepted; found \(3,\)"),
        ((X.astype(int), Y, P), {}, "found .* of int64"),
        ((X[:0], Y[:0], P[:0]), {}, "found no rows"),
        ((X, Y, P), {"pca": 0}, "pca: found 0; 1 or more"),
        ((X, Y, P), {"rows_per_cluster": 0}, "rows_per_cluster: found 0; more than 0"),
        ((X, Y, P), {"min_clusters": 17}, "min_clusters: found 17; 1..max_clusters"),
        ((X, Y, P), {"max_clusters": 40_000}, "max_clusters: found 40000; at most 32767"),
        ((X, Y, P), {"shrink": -1.0}, "shrink: found -1.0; 0 or more"),
        ((X, Y, P), {"power": float("nan")}, "power: found nan; 0 or more"),
        ((X, Y, P), {"seed": -1}, "seed: found -1; 0 or more"),
        ((X, Y, P), {"jobs": 0}, "jobs: found 0; 1 or more"),
        ((X, Y, P), {"projection": Projection(np.zeros(3), np.eye(3))}, "of width 3 but features of 2"),
    ],
)
def test_bad_input(arrays, settings, message):
    with pytest.raises(InputError, match=message):
        cluster(*arrays, 2, **settings)


def test_a_row_that_only_its_class_reads_is_named():
    features, labels, given_prob, _ = planted()
    projection = fit_projection(features)
    features[77, 3] = np.inf
    with pytest.raises(InputError, match="features: row 77 has inf in column 3"):
        cluster(features, labels, given_prob, 9, projection=projection)
