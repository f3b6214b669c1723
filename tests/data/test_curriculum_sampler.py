"""Curriculum batches: parts, balance, passes, shares and expectations; ranks and resuming."""

import numpy as np
import pytest

from urnet.core.checks import InputError
from urnet.data.sampling.curriculum_sampler import CurriculumSampler, part_sizes


def curriculum(n=3000, n_classes=40, seed=0, n_subsets=3):
    """Labels of unequal classes, 7 without rows, and subsets; a few rows are in none (-1).

    Each class has a row in subset 0, but class 8, whose rows are all in subset 1.
    """
    rng = np.random.default_rng(seed)
    labels = (n_classes * rng.random(n) ** 2).astype(np.int32)
    labels[labels == 7] = 9
    subset = rng.choice(np.arange(-1, n_subsets), n, p=[0.05, *np.full(n_subsets, 0.95 / n_subsets)])
    subset[np.unique(labels, return_index=True)[1]] = 0
    subset[labels == 8] = 1
    return labels, subset.astype(np.int8)


def mixed(n_classes=40, parts=(2, 1, 1), seed=1, stage="a", data=None):
    labels, subset = data or curriculum(n_classes=n_classes)
    return CurriculumSampler(labels, subset=subset, parts=parts, seed=seed, stage=stage, n_classes=n_classes)


def filled(labels, subset, s=0):
    """Classes that have rows in a subset."""
    return np.unique(labels[subset == s])


# --- composition


@pytest.mark.parametrize(
    ("batch_size", "parts", "sizes"),
    [
        (256, (2, 1, 1), [128, 64, 64]),  # the paper's
        (10, (2, 1, 1), [5, 3, 2]),  # 2.5 and 2.5: the first of equal remainders
        (8, (1, 1, 1), [3, 3, 2]),
        (7, (5, 3, 2), [4, 2, 1]),  # 3.5, 2.1, 1.4
        (4, (2, 1), [3, 1]),
        (3, (1,), [3]),
        (3, (1, 1, 1), [1, 1, 1]),
    ],
)
def test_parts_are_rounded_by_largest_remainder(batch_size, parts, sizes):
    assert part_sizes(batch_size, parts) == sizes


@pytest.mark.parametrize("parts", [(1,), (2, 1), (2, 1, 1), (1, 3, 2)])
@pytest.mark.parametrize("batch_size", [16, 60, 200])
def test_every_batch_is_of_its_parts_and_its_first_part_is_even(parts, batch_size):
    labels, subset = curriculum()
    if len(parts) == 1:
        subset[labels == 8] = 0
    order, classes = mixed(parts=parts, data=(labels, subset)), filled(labels, subset)
    sizes = part_sizes(batch_size, parts)
    assert order.steps_per_epoch(batch_size) == len(labels) // batch_size
    for epoch in (0, 3):
        batches = list(order.batches(epoch, batch_size))
        assert len(batches) == order.steps_per_epoch(batch_size)
        for batch in batches:
            assert batch.dtype == np.int64
            assert batch.shape == (batch_size,)
            assert [(subset[batch] == s).sum() for s in range(len(parts))] == sizes  # and so none of -1
            first = batch[subset[batch] == 0]
            times = np.bincount(labels[first], minlength=40)[classes]
            assert times.sum() == sizes[0]
            assert set(times) <= {sizes[0] // len(classes), -(-sizes[0] // len(classes))}


def test_rows_of_subsets_without_a_part_are_never_drawn():
    labels, subset = curriculum()
    order = mixed(parts=(2, 1), data=(labels, subset))
    drawn = np.unique(np.concatenate([batch for epoch in range(30) for batch in order.batches(epoch, 64)]))
    assert (drawn == np.flatnonzero((subset == 0) | (subset == 1))).all()  # and all others are


def test_a_row_comes_twice_in_a_batch_only_when_all_of_its_class_are_in_it():
    labels = np.repeat([0, 1, 2], [2, 5, 60])
    subset = np.zeros(67, np.int8)
    order = CurriculumSampler(labels, subset=subset, parts=(1,), seed=0, stage="a")
    for epoch in range(20):
        for batch in order.batches(epoch, 22):
            assert set(np.bincount(labels[batch])) == {7, 8}
            times = np.bincount(batch, minlength=67)
            assert set(times[:2]) <= {3, 4}
            assert set(times[2:7]) <= {1, 2}
            assert times[7:].max() == 1


def test_a_later_row_comes_once_before_any_comes_again_across_epochs():
    labels, subset = curriculum(n=500)
    order = mixed(data=(labels, subset))
    for s in (1, 2):
        epochs = [np.concatenate(list(order.batches(epoch, 48))) for epoch in range(12)]
        drawn = np.concatenate([rows[subset[rows] == s] for rows in epochs])
        # a batch is shuffled: whole batches are put back into the order of their draws by their passes
        own, n = np.flatnonzero(subset == s), (subset == s).sum()
        for end in range(12, len(drawn) + 1, 12):
            times = np.bincount(drawn[:end], minlength=500)[own]
            assert set(times) <= {end // n, -(-end // n)}
        assert end // n >= 3
        assert not np.array_equal(drawn[:n], drawn[n : 2 * n])


def test_passes_are_in_random_orders_of_their_own():
    subset = np.repeat([0, 1, 2], 12).astype(np.int8)
    order = CurriculumSampler(np.zeros(36, int), subset=subset, parts=(1, 1, 1), seed=0, stage="a")
    begin = np.zeros((200, 36), int)  # whether a row is in the first of the three batches of a pass
    for epoch in range(200):  # of 36 rows: three batches of 4 rows of each subset
        begin[epoch, next(order.batches(epoch, 12))] = 1
    np.testing.assert_allclose(begin[:, 12:].mean(axis=0), 1 / 3, atol=0.13)
    later = begin[:, 12:24], begin[:, 24:]
    assert all(len(np.unique(of_subset, axis=0)) > 130 for of_subset in later)  # 495 are possible
    assert (later[0] == later[1]).all(axis=1).mean() < 0.02


def test_a_subset_smaller_than_its_part_repeats_rows_evenly():
    labels, subset = np.array([0, 1, 0, 1, 0]), np.array([0, 0, 1, 1, 1], np.int8)
    order = CurriculumSampler(labels, subset=subset, parts=(1, 1), seed=0, stage="a")
    assert order.steps_per_epoch(16) == 1
    (batch,) = order.batches(0, 16)
    times = np.bincount(batch, minlength=5)
    assert times[:2].tolist() == [4, 4]
    assert sorted(times[2:]) == [2, 3, 3]


# --- in expectation


def test_expected_draws_by_hand():
    labels = np.array([0, 0, 0, 1, 2, 2, 1, 1, 3, 0, 2, 2])
    subset = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, -1], np.int8)
    order = CurriculumSampler(labels, subset=subset, parts=(2, 1), seed=0, stage="a", n_classes=5)
    expected = order.expected_draws()  # 12 rows an epoch: 8 of three classes, 4 of subset 1's three rows
    by_hand = np.array([2 / 3, 2 / 3, 2 / 3, 2, 1, 1, 1, 1, 1, 0, 0, 0]) * 4 / 3
    np.testing.assert_allclose(expected, by_hand, rtol=1e-12)
    np.testing.assert_allclose(order.sampled_share(), [2 / 9, 4 / 9, 2 / 9, 1 / 9, 0], rtol=1e-12)


# --- what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([], int), "subset": np.array([], np.int8)}, "found no rows"),
        ({"labels": np.array([0, 0, 1, 5])}, "label 5 in row 3 is outside 0..2"),
        ({"subset": np.zeros(3, np.int8)}, "labels has 4 rows but subset has 3"),
        ({"subset": np.zeros(4)}, r"subset: a one-dimensional integer array is needed, found float64"),
        ({"parts": ()}, r"parts: found \[\]"),
        ({"parts": (2, 0)}, r"parts: found \[2, 0\]; a number >= 1"),
        ({"parts": (2, 1, 1)}, "no row is in subset 2, which has part 1 of every batch"),
        ({"subset": np.array([1, 1, 1, 1], np.int8)}, "no row is in subset 0, which has part 2"),
        ({"subset": np.array([0, 1, 2, -1], np.int8)}, "class 1 has 2 rows, none in subsets 0 to 1"),
    ],
)
def test_bad_input(change, message):
    good = {"labels": np.array([0, 0, 1, 1]), "subset": np.array([0, 1, 0, 1], np.int8), "parts": (2, 1)}
    CurriculumSampler(**good, seed=0, stage="a", n_classes=3)
    with pytest.raises(InputError, match=message):
        CurriculumSampler(**{**good, **change}, seed=0, stage="a", n_classes=3)


def test_a_batch_too_small_for_its_parts_is_refused():
    with pytest.raises(InputError, match="batch_size 2 leaves no row for subset 2 in the parts 2:1:1; 4 or"):
        next(mixed().batches(0, 2))
    with pytest.raises(InputError, match="batch_size 20 leaves no row for subset 1 in the parts 100:1"):
        part_sizes(20, (100, 1))
