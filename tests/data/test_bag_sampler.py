"""Bags: whole, of one class, of distinct rows if possible, in the right shares; ranks and resuming."""

import numpy as np
import pytest

from urnet.core.checks import InputError
from urnet.data.sampling.bag_sampler import BagSampler, check_bag_batch
from urnet.data.sampling.epoch_sampler import EpochSampler


def noisy(seed=0, n=5003, n_classes=20):
    """Labels of very unequal classes, class 7 without rows, and weights of which every seventh is 0."""
    rng = np.random.default_rng(seed)
    labels = (n_classes * rng.random(n) ** 2).astype(np.int32)
    labels[labels == 7] = 8
    weight = rng.exponential(size=n).astype(np.float32)
    weight[::7] = 0
    return labels, weight


def expected_times(labels, weight, balance, n_places):
    """By hand, one class at a time."""
    present, times = np.unique(labels), np.zeros(len(labels))
    for c in present:
        own = labels == c
        share = (1 - balance) * own.mean() + balance / len(present)
        times[own] = n_places * share * weight[own] / weight[own].sum(dtype=np.float64)
    return times


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("balance", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_an_epoch_is_whole_bags_of_one_class(size, balance, weighted):
    labels, weight = noisy()
    order = BagSampler(
        labels, size=size, sampling_weight=weight if weighted else None, balance=balance, seed=0, stage="a"
    )
    weight = weight if weighted else np.ones(len(labels))
    expected = expected_times(labels, weight, balance, order.n_bags * size)
    class_expected = np.bincount(labels, weights=expected) / size
    for epoch in range(3):
        drawn = order.order(epoch)
        assert drawn.dtype == np.int64
        assert drawn.shape == (len(labels) // size * size,)
        bags = labels[drawn].reshape(-1, size)
        assert (bags == bags[:, :1]).all()
        assert (weight[drawn] > 0).all()
        of_class = np.bincount(bags[:, 0], minlength=len(class_expected))
        assert (np.abs(of_class - class_expected) < 1 + 1e-9).all()
        scale = of_class / np.where(class_expected > 0, class_expected, 1)
        times = np.bincount(drawn, minlength=len(labels))
        assert (np.abs(times - expected * scale[labels]) < 1 + 1e-6).all()


def test_shares_are_those_of_the_epoch_order():
    labels, weight = noisy()
    settings = {"sampling_weight": weight, "balance": 0.4, "seed": 0, "stage": "a", "n_classes": 25}
    bags, rows = BagSampler(labels, size=4, **settings), EpochSampler(labels, **settings)
    assert (bags.sampled_share() == rows.sampled_share()).all()
    assert bags.n_rows == rows.n_rows == 5003
    assert isinstance(bags, EpochSampler)


def test_rows_of_a_bag_are_distinct_wherever_no_row_has_more_than_its_place():
    labels, weight = noisy(seed=3)
    size = 4
    mass = np.bincount(labels, weights=weight)
    order = BagSampler(labels, size=size, sampling_weight=weight, balance=1.0, seed=1, stage="a")
    most = np.maximum(np.ceil(size * weight / mass[labels] - 1e-6), 1)
    for epoch in range(5):
        bags = np.sort(order.order(epoch).reshape(-1, size), axis=1)
        rows, number = np.unique(bags + np.arange(len(bags))[:, None] * 10_000, return_counts=True)
        assert (number <= most[rows % 10_000]).all()
    assert (most == 1).mean() > 0.9


def test_unbiased_over_epochs_and_any_two_rows_can_meet():
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2], np.int32)
    weight = np.array([3, 1, 1, 1, 1, 0, 2, 3, 2, 5], np.float32)
    order = BagSampler(labels, size=2, sampling_weight=weight, balance=0.5, seed=0, stage="a")
    drawn = np.array([order.order(epoch) for epoch in range(1500)])
    times = np.array([np.bincount(row, minlength=10) for row in drawn])
    expected = expected_times(labels, weight, 0.5, 10)
    np.testing.assert_allclose(times.mean(0), expected, atol=0.07)
    met = np.zeros((10, 10), int)
    np.add.at(met, tuple(drawn.reshape(-1, 2).T), 1)
    met += met.T
    assert all(met[a, b] > 0 for a in range(5) for b in range(5) if a != b)
    assert all(met[a, b] > 0 for a in (6, 7, 8) for b in (6, 7, 8) if a != b)
    assert met[1, 2] == pytest.approx(met[3, 4], rel=0.3)
    first = labels[drawn[:, 0]]  # and the classes' bags are not in blocks
    share = np.bincount(labels, weights=expected) / 10
    np.testing.assert_allclose(np.bincount(first) / 1500, share, atol=0.05)


def test_batches_are_whole_bags_and_ranks_never_split_one():
    labels, weight = noisy(n=403)  # 100 bags
    order = BagSampler(labels, size=4, sampling_weight=weight, balance=0.5, seed=0, stage="a")
    assert order.steps_per_epoch(24) == 16  # 4 bags are left over
    assert (np.concatenate(list(order.batches(2, 24))) == order.order(2)[: 16 * 24]).all()
    for rank in range(3):
        for part in order.batches(2, 24, rank=rank, world_size=3):
            bags = labels[part].reshape(2, 4)
            assert (bags == bags[:, :1]).all()


def test_a_lone_short_batch_is_kept_and_split_between_bags():
    order = BagSampler(np.zeros(14, int), size=4, seed=0, stage="a")  # 3 bags
    assert order.steps_per_epoch(800) == 1
    assert [len(batch) for batch in order.batches(0, 800)] == [12]
    assert [len(next(order.batches(0, 800, rank=r, world_size=2))) for r in range(2)] == [8, 4]
    tiny = BagSampler(np.array([0, 1, 1]), size=4, seed=0, stage="a")  # fewer rows than a bag: one bag
    assert tiny.order(0).shape == (4,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "bags.size: 1 or more is accepted, found 0"),
        ({"size": 2, "sampling_weight": np.array([1, 1, 0, 0])}, "class 1 has 2 rows, all of weight 0"),
        ({"size": 2, "sampling_weight": np.ones(3)}, "labels has 4 rows but sampling_weight has 3"),
    ],
)
def test_bad_input(settings, message):
    with pytest.raises(InputError, match=message):
        BagSampler(np.array([0, 0, 1, 1]), seed=0, stage="a", **settings)


def test_batches_that_would_split_a_bag_are_refused():
    order = BagSampler(np.zeros(100, int), size=4, seed=0, stage="a")
    with pytest.raises(InputError, match="batch_size 20: a multiple of 8 is accepted"):
        next(order.batches(0, 20, world_size=2))
    check_bag_batch(48, 4, world_size=3)
    with pytest.raises(InputError, match="batch_size 48: a multiple of 20 is accepted, as 5 process"):
        check_bag_batch(48, 4, world_size=5)
