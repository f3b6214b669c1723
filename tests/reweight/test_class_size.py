"""Class-size weights: the laws of every reweighting, a slow plain version, the cap, no double correction."""

import statistics

import numpy as np
import pytest

from urnet.core.checks import InputError
from urnet.data.sampling.epoch_sampler import EpochSampler
from urnet.reweight.class_size import class_size, target_size

SETTINGS = [
    {},
    {"power": 0.0},
    {"cap": 1.0},
    {"cap": float("inf")},
    {"beta": 0.9, "cap": 3.0},
    {"beta": 0.0},
    {"power": 3.0, "cap": 1e6},
]


def long_tail(n_classes=30, seed=0, largest=700):
    """Labels of classes of 1 to ``largest`` rows, shuffled; class 3 has no row."""
    rng = np.random.default_rng(seed)
    counts = np.maximum(largest * rng.random(n_classes) ** 3, 1).astype(int)
    counts[3] = 0
    return rng.permutation(np.repeat(np.arange(n_classes), counts)).astype(np.int32)


def weights(labels, n_classes, **settings):
    return class_size(labels, n_classes, **settings)["class_weight"]


def slow(labels, n_classes, power=1.0, cap=20.0, beta=None, share=None):
    """The formulas one class at a time, in Python's own numbers."""
    n = len(labels)
    counts = {c: list(labels).count(c) for c in range(n_classes) if list(labels).count(c)}
    sizes = {c: counts[c] if share is None else n * share[c] for c in counts}
    raw = {c: s**-power if beta is None else (1 - beta) / (1 - beta**s) for c, s in sizes.items()}
    limit = cap * statistics.median(raw.values())
    capped = {c: min(w, limit) for c, w in raw.items()}
    mean = sum(sizes[c] * capped[c] for c in counts) / sum(sizes.values())
    return np.array([capped[label] / mean for label in labels])


@pytest.mark.parametrize("settings", SETTINGS)
def test_agrees_with_the_slow_version(settings):
    labels = long_tail()
    np.testing.assert_allclose(weights(labels, 30, **settings), slow(labels, 30, **settings), rtol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS)
def test_laws(settings):
    labels = long_tail(seed=1)
    got = weights(labels, 30, **settings)
    assert got.dtype == np.float32
    assert got.shape == labels.shape
    assert np.isfinite(got).all()
    assert (got > 0).all()  # so no class is without mass
    assert abs(got.mean(dtype=np.float64) - 1) < 1e-6
    order = np.random.default_rng(2).permutation(len(labels))
    np.testing.assert_array_equal(weights(labels[order], 30, **settings), got[order])
    assert weights(labels, 30, **settings).tobytes() == got.tobytes()
    for c in np.unique(labels):
        assert len(np.unique(got[labels == c])) == 1
    means = [got[labels == c][0] for c in np.unique(labels)]
    sizes = np.unique(labels, return_counts=True)[1]
    assert (np.diff(np.array(means)[np.argsort(sizes, kind="stable")]) <= 0).all()  # larger never weighs more


@pytest.mark.parametrize("settings", SETTINGS)
def test_balanced_data_gives_all_ones(settings):
    labels = np.tile(np.arange(7), 13)
    assert (weights(labels, 9, **settings) == 1).all()


def test_what_the_sampler_evened_out_is_not_corrected_again():
    labels = long_tail(seed=3)
    for balance in (0.0, 0.3, 1.0):
        order = EpochSampler(labels, balance=balance, seed=0, stage="a", n_classes=30)
        share = order.sampled_share()
        got = weights(labels, 30, sampled_share=share, cap=1e9)
        by_class = {c: got[labels == c][0] for c in np.unique(labels)}
        assert sum(share[c] * w for c, w in by_class.items()) == pytest.approx(1.0, rel=1e-6)
        np.testing.assert_allclose(got, slow(labels, 30, cap=1e9, share=share), rtol=1e-5)
        mass = [share[c] * w for c, w in by_class.items()]  # what the loss sees of each class
        np.testing.assert_allclose(mass, 1 / len(mass), rtol=1e-5)
    assert (got == 1).all()
    natural = np.bincount(labels, minlength=30) / len(labels)
    np.testing.assert_allclose(weights(labels, 30, sampled_share=natural), weights(labels, 30), rtol=1e-6)


def test_extreme_powers_neither_overflow_nor_vanish():
    labels = np.repeat([0, 1, 2], [50_000, 98, 98])
    for power in (50.0, 1000.0):
        got = weights(labels, 3, power=power, cap=float("inf"))
        assert np.isfinite(got).all()
        assert (got > 0).all()


@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
        ([0, 5], {}, "label 5 in row 1 is outside 0..2"),
        ([], {}, "found no rows"),
        ([0, 1], {"sampled_share": np.ones(2) / 2}, r"shape \(2,\) but there are 3 classes"),
        ([0, 1], {"sampled_share": np.array([0.5, 0.6, 0])}, "sum to 1 are needed, found a sum of 1.1"),
        ([0, 1, 1], {"sampled_share": np.array([1.0, 0, 0])}, "class 1 has 2 rows but is never drawn"),
    ],
)
def test_bad_input(labels, settings, message):
    with pytest.raises(InputError, match=message):
        class_size(np.array(labels, np.int64), 3, **settings)


# --- soft targets


def test_targets_of_the_labels_weigh_as_class_sizes_do():
    labels = np.repeat(np.arange(3), (60, 30, 10))
    index, prob = labels[:, None], np.ones((100, 1), np.float16)
    weight = target_size(index, prob, 3, drawn=np.ones(100))["target_weight"]
    np.testing.assert_allclose(weight, class_size(labels, 3)["class_weight"], rtol=1e-6)
    share = np.full(3, 1 / 3)  # drawn evenly: nothing is left to correct
    drawn = (share * 100 / np.array([60, 30, 10]))[labels]
    np.testing.assert_allclose(target_size(index, prob, 3, drawn=drawn)["target_weight"], 1, rtol=1e-6)


def test_every_class_gets_the_same_mass_of_targets():
    rng = np.random.default_rng(0)
    index = np.stack([rng.permutation(5)[:3] for _ in range(400)])
    prob = rng.dirichlet([1, 1, 1], 400)
    drawn = rng.uniform(0, 2, 400)
    weight = target_size(index, prob, 5, drawn=drawn, cap=np.inf)["target_weight"]
    v = [0.0] * 5  # by hand: 1 / mass, then weights, then their mean over the drawn rows
    for i in range(400):
        for c, p in zip(index[i], prob[i], strict=True):
            v[c] += drawn[i] * p
    raw = np.array([sum(p / v[c] for c, p in zip(index[i], prob[i], strict=True)) for i in range(400)])
    np.testing.assert_allclose(weight, raw * drawn.sum() / (raw @ drawn), rtol=1e-5)
    order = rng.permutation(400)
    again = target_size(index[order], prob[order], 5, drawn=drawn[order], cap=np.inf)["target_weight"]
    np.testing.assert_allclose(again, weight[order], rtol=1e-6)


def test_targets_that_do_not_fit_are_refused():
    index, prob = np.zeros((4, 2), int), np.full((4, 2), 0.5)
    with pytest.raises(InputError, match=r"index has shape \(4, 2\) but prob has \(4, 1\)"):
        target_size(index, prob[:, :1], 3, drawn=np.ones(4))
    with pytest.raises(InputError, match="index has 4 rows but drawn has 3"):
        target_size(index, prob, 3, drawn=np.ones(3))
    with pytest.raises(InputError, match=r"index: label 7 in row 0 is outside 0\.\.2"):
        target_size(index + 7, prob, 3, drawn=np.ones(4))
    with pytest.raises(InputError, match="found no target that is drawn"):
        target_size(index, prob, 3, drawn=np.zeros(4))
