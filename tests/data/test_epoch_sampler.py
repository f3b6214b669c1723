"""Row order: purity, shares, low variance, rows of weight 0, batches, ranks and resuming."""

import zlib

import numpy as np
import pytest

from urnet.core.checks import InputError
from urnet.core.seeds import draw_key, stage_key
from urnet.data.sampling.epoch_sampler import EpochSampler


def noisy_labels(seed=0, n=5000, n_classes=20):
    rng = np.random.default_rng(seed)
    return (n_classes * rng.random(n) ** 2).astype(np.int32)


def test_without_weights_an_epoch_is_a_permutation():
    order = EpochSampler(noisy_labels(), seed=3, stage="a")
    first, second = order.order(0), order.order(1)
    assert first.dtype == np.int64
    assert (np.sort(first) == np.arange(5000)).all()
    assert not (first == second).all()
    assert np.abs(order.sampled_share() - np.bincount(noisy_labels()) / 5000).max() < 1e-12


def test_the_key_of_a_draw_is_of_the_stages_name_and_the_epoch():
    assert stage_key("class") == zlib.crc32(b"class")
    assert draw_key("class", 7) == (stage_key("class") << 32) + 7


@pytest.mark.parametrize("balance", [0.0, 0.25, 1.0])
def test_each_row_and_class_comes_as_often_as_it_should_give_or_take_one(balance):
    labels = noisy_labels(seed=2)
    weight = np.random.default_rng(3).exponential(size=5000)
    weight[::7] = 0
    order = EpochSampler(labels, sampling_weight=weight, balance=balance, seed=0, stage="a")
    counts = np.bincount(labels)
    share = [(1 - balance) * n / 5000 + balance / len(counts) for n in counts]  # by hand
    np.testing.assert_allclose(order.sampled_share(), share, rtol=1e-12)
    class_mass = {c: weight[labels == c].sum() for c in range(len(counts))}
    expected = np.array([5000 * share[c] * w / class_mass[c] for c, w in zip(labels, weight, strict=True)])
    for epoch in range(3):
        drawn = order.order(epoch)
        assert drawn.shape == (5000,)
        times = np.bincount(drawn, minlength=5000)
        assert (times[::7] == 0).all()
        assert (np.abs(times - expected) < 1 + 1e-9).all()
        by_class = np.bincount(labels[drawn], minlength=len(counts))
        assert (np.abs(by_class - 5000 * np.array(share)) < 1 + 1e-9).all()


def test_unbiased_over_epochs_and_pairs_are_not_tied():
    labels = np.zeros(8, np.int32)
    weight = np.array([3, 1, 1, 1, 1, 1, 0, 0])  # expected 3, then 1 each
    order = EpochSampler(labels, sampling_weight=weight, seed=0, stage="a")
    assert all((np.bincount(order.order(e), minlength=8) == weight).all() for e in range(20))
    half = EpochSampler(
        np.repeat([0, 1], [4, 12]), balance=1.0, seed=0, stage="a"
    )  # class 1's 12 rows share 8 places: 2/3 each
    times = np.array([np.bincount(half.order(e), minlength=16) for e in range(1000)])
    assert (times[:, :4] == 2).all()
    np.testing.assert_allclose(times[:, 4:].mean(0), 2 / 3, atol=0.07)
    together = (times[:, 4] * times[:, 5]).mean(), (times[:, 4] * times[:, 10]).mean()
    assert min(together) > 0.3  # any two can meet: 2/3 * 7/11 = 0.42
    position = np.array([np.argmax(half.order(e) == 0) for e in range(200)])
    assert np.unique(position).size > 8  # and the classes are not in blocks


def test_batches_cut_the_order_and_a_lone_short_one_is_kept():
    order = EpochSampler(noisy_labels(n=103), balance=0.5, seed=0, stage="a")
    assert (np.concatenate(list(order.batches(4, 20))) == order.order(4)[:100]).all()
    assert [len(batch) for batch in order.batches(0, 200)] == [103]
    assert order.steps_per_epoch(200) == 1


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1, 1, 0, 0], "class 1 has 2 rows, all of weight 0"),
        ([1, 1, 1, -1], "row 3 has -1"),
        ([1, float("nan"), 1, 1], "row 1 has nan"),
        ([1, 1, 1], "labels has 4 rows but sampling_weight has 3"),
    ],
)
def test_bad_weights(weight, message):
    with pytest.raises(InputError, match=message):
        EpochSampler(np.array([0, 0, 1, 1]), sampling_weight=np.array(weight), seed=0, stage="a")


def test_bad_labels():
    with pytest.raises(InputError, match="label 4 in row 1"):
        EpochSampler(np.array([0, 4]), seed=0, stage="a", n_classes=3)
    with pytest.raises(InputError, match="found no rows"):
        EpochSampler(np.array([], int), seed=0, stage="a")
