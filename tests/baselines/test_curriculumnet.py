"""The density curriculum: the literal definition, an exact quantile, planted outliers, equal bytes."""

import itertools
import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from tests.helpers.web_rows import Recorder
from urnet.baselines.curriculumnet import curriculum
from urnet.baselines.densities import SquaredDistances, squared_quantile
from urnet.baselines.kmeans_1d import kmeans_1d
from urnet.core.checks import InputError
from urnet.reweight.evidence.projection import byte_order

KINDS = list(itertools.product(("count", "gaussian"), ("density", "distance")))


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def spread_rows(n, width=12, seed=0, dtype=np.float32):
    """Rows around one middle, some near and some far."""
    rng = np.random.default_rng(seed)
    return (rng.uniform(0.3, 2, (n, 1)) * rng.normal(size=(n, width)) + 3).astype(dtype)


def mixed_classes(sizes=(1, 2, 3, 0, 5, 40, 130, 11), width=12, seed=0, dtype=np.float16):
    """features, labels of classes of these sizes, mixed; a fifth of the rows are copies of others."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    features = spread_rows(len(labels), width, seed, dtype)
    copies = rng.choice(len(labels), len(labels) // 5, replace=False)
    features[copies] = features[rng.permutation(copies)]
    return features, labels, len(sizes)


def one_class(features, **settings):
    return curriculum(features, np.zeros(len(features), int), 1, **settings)


def same(one, other):
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


def integer_rows(n, width, seed):
    """Small integers: their squared distances are exact, and many are equal."""
    return np.random.default_rng(seed).integers(-3, 4, (n, width)).astype(np.float32)


def literal(features, *, quantile=0.6, density="count", split="density", n_subsets=3):
    """The definition word by word, for one class without PCA: the whole matrix, its n² numbers sorted."""
    x = features.astype(np.float64)
    norm = (x * x).sum(axis=1)
    distances = np.sqrt(np.maximum(norm[:, None] + norm - 2 * (x @ x.T), 0))
    np.fill_diagonal(distances, 0)
    cutoff = np.sort(distances, axis=None)[math.ceil(Fraction(str(quantile)) * distances.size) - 1]
    if density == "count":
        rho = (distances < cutoff).sum(axis=1) - 1
    else:
        rho = np.exp(-((distances / cutoff) ** 2)).sum(axis=1) - 1
    values = rho if split == "density" else distances[rho.argmax()]
    found = kmeans_1d(values.astype(np.float64), n_subsets)
    mean = np.array([values[found == cluster].mean() for cluster in range(n_subsets)])
    best_first = np.argsort(-mean if split == "density" else mean)
    return {"subset": np.argsort(best_first)[found], "density": rho}


@pytest.mark.parametrize(("density", "split"), KINDS)
@pytest.mark.parametrize(("n", "seed"), [(30, 0), (97, 1), (353, 3)])
def test_subsets_are_those_of_the_literal_definition(density, split, n, seed):
    for n_subsets, quantile in ((3, 0.6), (2, 0.1), (4, 0.25)):
        features = spread_rows(n, seed=seed)
        features = features[byte_order(features)]  # of the densest rows the literal version takes the first
        settings = {"density": density, "split": split, "n_subsets": n_subsets, "quantile": quantile}
        expected = literal(features, **settings)
        got = one_class(features, **settings, block=64)
        assert got["subset"].tolist() == expected["subset"].tolist()
        np.testing.assert_allclose(got["density"], expected["density"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(2))
def test_ties_of_integers_are_counted_exactly(seed):
    features = integer_rows(150, 4, seed)
    for quantile in (0.1, 0.35, 0.6, 0.9):
        expected = literal(features, quantile=quantile)
        got = one_class(features, quantile=quantile, block=40)
        assert got["density"].tolist() == expected["density"].tolist()
        assert got["subset"].tolist() == expected["subset"].tolist()


@pytest.mark.parametrize("density", ["count", "gaussian"])
def test_delta_is_the_distance_to_the_nearest_denser_row(density):
    features = np.unique(integer_rows(120, 5, 0), axis=0)
    got = one_class(features, density=density, delta=True, block=32)
    distances, rho = cdist(features, features), got["density"]
    for i in range(len(features)):
        denser = [
            distances[i, j]
            for j in range(len(features))
            if rho[j] > rho[i] or (rho[j] == rho[i] and features[j].tobytes() < features[i].tobytes())
        ]
        assert got["delta"][i] == pytest.approx(min(denser, default=distances[i].max()), rel=1e-6)
    assert np.count_nonzero(got["delta"] == distances.max(1).astype(np.float32)) >= 1


def test_delta_follows_permuted_rows():
    features, labels, n_classes = mixed_classes(dtype=np.float32)
    features = np.unique(features, axis=0)  # equal rows may exchange their deltas
    labels = labels[: len(features)]
    got = curriculum(features, labels, n_classes, delta=True)
    order = np.random.default_rng(1).permutation(len(labels))
    permuted = curriculum(features[order], labels[order], n_classes, delta=True)
    assert same(permuted, {name: column[order] for name, column in got.items()})


def test_scale_and_shift_do_not_matter():
    features = spread_rows(120, dtype=np.float64)
    whole = one_class(features, delta=True, pca=4)
    for factor in (2.0**-90, 2.0**45):
        scaled = one_class(features * factor, delta=True, pca=4)
        assert same({**scaled, "delta": scaled["delta"] / np.float32(factor)}, whole)
    for pca in (0, 4):
        shifted = one_class(features + 100, pca=pca)["density"]
        np.testing.assert_allclose(shifted, one_class(features, pca=pca)["density"], atol=1)


def test_pca_keeps_what_spreads():
    rng = np.random.default_rng(0)
    wide = spread_rows(400, 6)
    features = np.hstack([wide, 0.01 * rng.normal(size=(400, 60))]).astype(np.float32)
    all_of_it, projected = (one_class(features, pca=pca, density="gaussian") for pca in (0, 6))
    np.testing.assert_allclose(projected["density"], all_of_it["density"], rtol=5e-3)
    one_axis = one_class(features[:, ::-1].copy(), pca=1, density="gaussian")["density"]
    assert not np.allclose(one_axis, all_of_it["density"], rtol=0.05)
    assert same(one_class(features, pca=66, density="gaussian"), all_of_it)


def test_mostly_equal_rows():
    """Where d_c is 0 no row is nearer than it; the Gaussian's limit counts the equal rows."""
    source = np.random.default_rng(0).permutation(np.r_[np.repeat([0, 1, 2], [60, 60, 20]), 3:8])
    features = spread_rows(8, 40)[source]
    got = one_class(features, quantile=0.3)
    assert not got["density"].any()
    assert not got["subset"].any()
    gaussian = one_class(features, quantile=0.3, density="gaussian")
    assert gaussian["density"].tolist() == np.array([59, 59, 19, 0, 0, 0, 0, 0])[source].tolist()
    assert gaussian["subset"].tolist() == np.minimum(np.maximum(source - 1, 0), 2).tolist()


@pytest.mark.parametrize("sample", [1, 1 << 22])
def test_every_order_statistic_is_found_whatever_the_guess(sample):
    blocks = SquaredDistances(spread_rows(8), np.arange(8), 3)
    halves = [
        squares.ravel() for here, there, squares in blocks.map(lambda *block: block) for _ in range(1 + (here != there))
    ]
    found = [squared_quantile(blocks, (rank - 0.5) / 64, sample) for rank in range(1, 65)]
    assert found == np.sort(np.concatenate(halves)).tolist()


@pytest.mark.parametrize("block", [13, 1000])
@pytest.mark.parametrize("rows", [spread_rows(100), integer_rows(100, 3, 0), np.zeros((100, 2), np.float32)])
def test_the_quantile_is_that_of_sorting(rows, block):
    _, group = np.unique(rows, axis=0, return_inverse=True)
    order = np.argsort(group.ravel())
    rows, group = rows[order], group.ravel()[order]
    # The blocks are kept, or computed again; the guess is made from all distances, or it is a bad one.
    for kept, sample in itertools.product((1 << 28, 0), (1 << 22, 1)):
        blocks = SquaredDistances(rows, group, block, threads=3, keep_bytes=kept)
        matrix = np.full((100, 100), np.nan, np.float32)
        for here, there, squares in blocks.map(lambda *block: block):
            matrix[there, here] = squares.T
            matrix[here, there] = squares
        np.testing.assert_allclose(matrix, cdist(rows, rows, "sqeuclidean"), atol=1e-4)
        in_order = np.sort(matrix.ravel())
        ranks = {1e-9: 1, 0.01: 100, 0.29: 2900, 0.6: 6000, 0.60001: 6001, 1: 10000}
        for quantile, rank in ranks.items():
            assert squared_quantile(blocks, quantile, sample) == in_order[rank - 1]


def test_counts_by_hand():
    features = np.array([[0.0], [1], [2], [4], [9]], np.float32)
    # All 25 distances sorted: five 0, four 1, four 2, two 3, two 4, two 5, two 7, two 8, two 9.
    got = one_class(features, quantile=0.6, delta=True)  # d_c is the 15th, 3
    assert got["density"].tolist() == [2, 2, 3, 1, 0]
    assert got["delta"].tolist() == [2, 1, 7, 2, 5]  # of the first two, as dense, 0.0 has the smaller bytes
    assert got["subset"].tolist() == [1, 1, 0, 2, 2]
    just_above = one_class(features, quantile=0.601)  # the 16th, 4
    assert just_above["density"].tolist() == [2, 3, 3, 2, 0]
    gaussian = one_class(features, density="gaussian")["density"]
    expected = np.exp(-((cdist(features, features) / 3) ** 2)).sum(axis=1) - 1
    np.testing.assert_allclose(gaussian, expected, rtol=1e-6)


def test_planted_outliers_are_the_last_subset():
    rng = np.random.default_rng(1)
    kind = rng.permutation(np.repeat([0, 1, 2], [200, 60, 40]))
    centres = np.zeros((3, 16))
    centres[1, 0], centres[2, 1] = 6, 30
    features = (centres[kind] + np.array([0.3, 0.3, 2.0])[kind, None] * rng.normal(size=(300, 16))).astype(np.float16)
    for density, split in KINDS:
        # d_c falls between the distances inside the two dense groups and those from one to the other
        subset = one_class(features, density=density, split=split, pca=8, quantile=0.48)["subset"]
        assert subset.tolist() == kind.tolist()


@pytest.mark.parametrize(("density", "split"), KINDS)
def test_a_class_that_cannot_be_split_is_subset_0(density, split):
    settings = {"density": density, "split": split}
    for n in (1, 2):
        assert one_class(spread_rows(n), **settings)["subset"].tolist() == [0] * n
    assert not one_class(np.full((50, 3), 0.7, np.float32), **settings)["subset"].any()
    if split == "density":
        one_hot = np.eye(40, dtype=np.float16)  # all distances are equal
        assert not one_class(one_hot, **settings)["subset"].any()


def test_densities_that_differ_by_roundings_are_alike():
    circle = 2 * np.pi * np.arange(60) / 60  # every row sees the same
    rows = np.stack([np.cos(circle), np.sin(circle)], axis=1)
    got = one_class(rows, density="gaussian", block=16)
    assert len(np.unique(got["density"])) > 1
    assert not got["subset"].any()


def test_neither_processes_nor_threads_nor_other_classes_change_a_thing():
    features, labels, n_classes = mixed_classes()
    whole = curriculum(features, labels, n_classes, pca=6, delta=True)
    assert same(curriculum(features, labels, n_classes, pca=6, delta=True, jobs=2), whole)
    with threadpool_limits(2):
        assert same(curriculum(features, labels, n_classes, pca=6, delta=True), whole)
    own = labels == 6
    assert same(one_class(features[own], pca=6, delta=True), {name: column[own] for name, column in whole.items()})


@pytest.mark.parametrize("block", [5, 33, 5000])
def test_other_blocks_change_nothing_where_products_are_exact(block):
    labels = mixed_classes()[1]
    features = np.random.default_rng(4).integers(-9, 10, (len(labels), 12)).astype(np.float32)
    features[::7] = features[0]
    kind = {"pca": 0, "delta": True}
    assert same(curriculum(features, labels, 8, block=block, **kind), curriculum(features, labels, 8, **kind))


def test_features_are_read_a_class_at_a_time():
    features, labels, n_classes = mixed_classes()
    lazy = Recorder(features)
    assert same(curriculum(lazy, labels, n_classes), curriculum(features, labels, n_classes))
    assert lazy.largest == 130


def loss_of(values, found):
    return sum(((values[found == m] - values[found == m].mean()) ** 2).sum() for m in np.unique(found))


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_the_split_of_a_line_is_the_best_of_all(k):
    rng = np.random.default_rng(k)
    for n in range(1, 12):
        for values in (rng.random(n) ** 3, rng.integers(0, 5, n) * 0.7, rng.normal(size=n) * 1e3 + 1e6):
            found = kmeans_1d(values, k)
            points = np.unique(values)
            splits = itertools.combinations(range(1, len(points)), min(k, len(points)) - 1)
            clusters = [np.searchsorted(cuts, np.searchsorted(points, values), "right") for cuts in splits]
            losses = [loss_of(values, of_one) for of_one in clusters]
            assert loss_of(values, found) == pytest.approx(min(losses), rel=1e-9, abs=1e-12)
            assert any((found == of_one).all() for of_one in clusters)  # in order, none empty


X, Y = np.ones((3, 2), np.float32), np.array([0, 1, 1])


@pytest.mark.parametrize(
    ("features", "labels", "settings", "message"),
    [
        (X, Y, {"quantile": 0.0}, "quantile: found 0.0; more than 0, up to 1 is accepted"),
        (X, Y, {"quantile": float("nan")}, "quantile: found nan"),
        (X, Y, {"density": "counts"}, "density: 'counts' is not known; nearest: count"),
        (X, Y, {"split": "delta"}, "split: 'delta' is not known"),
        (X, Y, {"n_subsets": 1}, "n_subsets: found 1; 2 to 127"),
        (X, Y, {"n_subsets": 128}, "n_subsets: found 128"),
        (X, Y, {"pca": -1}, "pca: found -1; 0 \\(none\\) or more"),
        (X, Y, {"seed": -1}, "seed: found -1"),
        (X, Y, {"jobs": 0}, "jobs: found 0"),
        (X, Y, {"block": 0}, "block: found 0"),
        (X[:0], Y[:0], {}, "found no rows"),
        (X.astype(int), Y, {}, "found .* of int64"),
        (X[:, 0], Y, {}, r"found \(3,\) of float32"),
        (np.where(np.eye(3, 2) == 1, np.nan, X), Y, {}, "features: row 1 has nan in column 1"),
        (X * np.float32(1e20), Y, {}, "features: row 1 has 1e\\+20 in column 0"),
    ],
)
def test_bad_input(features, labels, settings, message):
    with pytest.raises(InputError, match=message):
        curriculum(features, labels, 2, **settings)
