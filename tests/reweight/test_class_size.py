"""Class-size weights: the formulas, no double correction of what is sampled, soft targets."""

import numpy as np
import pytest

from tests.helpers.web_rows import N_CLASSES, web_rows
from urnet.core.checks import InputError
from urnet.data.sampling.epoch_sampler import EpochSampler
from urnet.reweight.class_size import class_size, target_size

SETTINGS = [{"cap": 1.0}, {"power": 2.0}, {"beta": 0.9, "cap": 3.0}, {"beta": 0.0}]


def weights(labels, n_classes=N_CLASSES, **settings):
    return class_size(labels, n_classes, **settings)["class_weight"]


def by_hand(labels, power=1.0, cap=20.0, beta=None, share=None):
    """The docstring's formulas; ``share``: the part of the drawn rows that each class has."""
    counts = np.bincount(labels, minlength=N_CLASSES)
    there = counts > 0
    sizes = (counts if share is None else len(labels) * share)[there]
    raw = sizes**-power if beta is None else (1 - beta) / (1 - beta**sizes)
    raw = np.minimum(raw, cap * np.median(raw))
    weight = np.zeros(N_CLASSES)
    weight[there] = raw * sizes.sum() / (sizes @ raw)
    return weight[labels]


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_weights_are_the_formulas_and_larger_classes_never_weigh_more(settings):
    labels = web_rows()["labels"]
    got = weights(labels, **settings)
    np.testing.assert_allclose(got, by_hand(labels, **settings), rtol=1e-5)
    by_size = np.argsort(np.bincount(labels)[labels], kind="stable")
    assert (np.diff(got[by_size]) <= 0).all()


@pytest.mark.parametrize("power", [50.0, 1000.0])
def test_extreme_powers_neither_overflow_nor_vanish(power):
    got = weights(np.repeat([0, 1, 2], [50_000, 98, 98]), power=power, cap=float("inf"))
    assert np.isfinite(got).all() and (got > 0).all()


def test_what_the_sampler_evened_out_is_not_corrected_again():
    labels = web_rows(seed=3)["labels"]
    there = np.unique(labels)
    for balance in (0.0, 0.3, 1.0):
        share = EpochSampler(labels, balance=balance, seed=0, stage="a", n_classes=N_CLASSES).sampled_share()
        got = weights(labels, sampled_share=share, cap=1e9)
        np.testing.assert_allclose(got, by_hand(labels, cap=1e9, share=share), rtol=1e-5)
        mass = [share[c] * got[labels == c][0] for c in there]  # what the loss sees of each class
        np.testing.assert_allclose(mass, 1 / len(there), rtol=1e-5)
    assert (got == 1).all()
    natural = np.bincount(labels, minlength=N_CLASSES) / len(labels)
    np.testing.assert_allclose(weights(labels, sampled_share=natural), weights(labels), rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
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
    mass = np.bincount(index.ravel(), (drawn[:, None] * prob).ravel())
    raw = (prob / mass[index]).sum(1)
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
