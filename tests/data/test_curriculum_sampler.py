"""Curriculum batches: parts, balance, passes, shares and expectations; ranks and resuming."""

import hashlib

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


def test_rounded_parts_are_within_one_of_their_share_and_whole_where_it_is_whole():
    for batch_size in range(20, 60):
        for parts in ((3, 2, 1), (7, 1, 4), (1, 1)):
            sizes, share = part_sizes(batch_size, parts), batch_size * np.array(parts) / sum(parts)
            assert sum(sizes) == batch_size
            assert (np.abs(sizes - share) < 1).all()


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
    begin = np.zeros((400, 36), int)  # whether a row is in the first of the three batches of a pass
    for epoch in range(400):  # of 36 rows: three batches of 4 rows of each subset
        begin[epoch, next(order.batches(epoch, 12))] = 1
    np.testing.assert_allclose(begin[:, 12:].mean(axis=0), 1 / 3, atol=0.08)
    later = begin[:, 12:24], begin[:, 24:]
    assert all(len(np.unique(of_subset, axis=0)) > 200 for of_subset in later)  # 495 are possible
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


def test_expected_draws_are_the_mean_over_epochs():
    labels = np.array([0, 0, 0, 1, 2, 2, 1, 1, 3, 0, 2, 2])
    subset = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, -1], np.int8)
    order = CurriculumSampler(labels, subset=subset, parts=(2, 1), seed=0, stage="a", n_classes=5)
    expected = order.expected_draws()  # 12 rows an epoch: 8 of three classes, 4 of subset 1's three rows
    by_hand = np.array([2 / 3, 2 / 3, 2 / 3, 2, 1, 1, 1, 1, 1, 0, 0, 0]) * 4 / 3
    np.testing.assert_allclose(expected, by_hand, rtol=1e-12)
    np.testing.assert_allclose(order.sampled_share(), [2 / 9, 4 / 9, 2 / 9, 1 / 9, 0], rtol=1e-12)
    for batch_size in (12, 3):  # one batch, or four of two classes and a later row
        drawn = [np.concatenate(list(order.batches(epoch, batch_size))) for epoch in range(3000)]
        mean = sum(np.bincount(rows, minlength=12) for rows in drawn) / len(drawn)
        np.testing.assert_allclose(mean, expected, atol=0.05)


def test_shares_and_expectations_fit_each_other():
    labels, subset = curriculum()
    order = mixed(parts=(3, 2), data=(labels, subset))
    draws, share = order.expected_draws(), order.sampled_share()
    assert order.n_rows == 3000
    assert draws.sum() == pytest.approx(len(labels))
    np.testing.assert_allclose(np.bincount(labels, draws, 40) / draws.sum(), share, atol=1e-12)
    classes, later = filled(labels, subset), subset == 1
    by_hand = [0.6 * (c in classes) / len(classes) + 0.4 * (labels[later] == c).mean() for c in range(40)]
    np.testing.assert_allclose(share, by_hand, atol=1e-12)
    share[:] = 0
    assert order.sampled_share().sum() == pytest.approx(1)  # a copy was given out


def test_any_two_rows_and_classes_of_the_first_subset_can_meet():
    labels, subset = np.repeat(np.arange(4), 3), np.zeros(12, np.int8)
    order = CurriculumSampler(labels, subset=subset, parts=(1,), seed=0, stage="a")
    met = np.zeros((12, 12), int)
    for epoch in range(1500):
        for batch in order.batches(epoch, 6):
            met[np.ix_(batch, batch)] += 1
    # 3000 batches of 6; rows of two classes: places (1,1): 1/6, (1,2) or (2,1): 4/6, (2,2): 1/6
    across = 3000 * (1 / 6 * 1 / 9 + 4 / 6 * 2 / 9 + 1 / 6 * 4 / 9)
    within = 3000 * 1 / 2 * 1 / 3
    same = labels[:, None] == labels
    np.testing.assert_allclose(met[~same], across, rtol=0.15)
    np.testing.assert_allclose(met[same & ~np.eye(12, dtype=bool)], within, rtol=0.15)


def test_a_row_may_stand_anywhere_in_its_batch():
    labels, subset = curriculum()
    order = mixed(data=(labels, subset))
    first = np.concatenate([subset[np.stack(list(order.batches(e, 40)))] == 0 for e in range(10)])
    np.testing.assert_allclose(first.mean(axis=0), 0.5, atol=0.12)


# --- a pure function, from anywhere


def test_a_pure_function_of_seed_stage_epoch_and_batch():
    def epoch(number=7, **settings):
        return np.stack(list(mixed(**settings).batches(number, 48)))

    same = mixed()
    next(same.batches(3, 48))  # what was asked before does not matter
    assert np.stack(list(same.batches(7, 48))).tobytes() == epoch().tobytes()
    _, subset = curriculum()
    for other in ({"seed": 2}, {"stage": "b"}, {"number": 8}):
        for s in range(3):  # every part differs
            here, there = epoch(), epoch(**other)
            assert not np.array_equal(here[subset[here] == s], there[subset[there] == s])


def test_starting_anywhere_gives_the_batches_from_there_on():
    order = mixed(data=curriculum(n=400))
    for epoch in (0, 5):
        whole = list(order.batches(epoch, 24))
        for start in range(len(whole) + 1):
            rest = list(order.batches(epoch, 24, start))
            assert len(rest) == len(whole) - start
            assert all((a == b).all() for a, b in zip(rest, whole[start:], strict=True))


def test_ranks_split_each_batch_without_loss_or_overlap():
    order = mixed()
    parts = [list(order.batches(2, 48, rank=rank, world_size=3)) for rank in range(3)]
    for step, batch in enumerate(order.batches(2, 48)):
        assert (np.concatenate([part[step] for part in parts]) == batch).all()
        assert {len(part[step]) for part in parts} == {16}
    with pytest.raises(InputError, match="batch_size 10 cannot be divided among 3 processes"):
        next(order.batches(0, 10, world_size=3))


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


@pytest.mark.parametrize("block", [97, 1 << 17])
def test_batches_have_the_bytes_they_had_when_results_were_measured(block):
    labels = (20 * np.random.default_rng(0).random(5003) ** 2).astype(np.int32)
    labels[labels == 7] = 8
    subset = (np.random.default_rng(1).integers(0, 4, 5003) - 1).astype(np.int8)
    subset[np.unique(labels, return_index=True)[1]] = 0
    order = CurriculumSampler(labels, subset=subset, parts=(2, 1, 1), seed=1, stage="a", block=block)
    arrays = (
        np.concatenate(list(order.batches(3, 64, 5))),
        np.concatenate(list(order.batches(0, 64, 0, 1, 4))),
        order.expected_draws(),
    )
    hashes = [hashlib.sha256(array.tobytes()).hexdigest()[:16] for array in arrays]
    assert hashes == ["c8ee0278f498f3c5", "c727367a21b6d12d", "9fc1ece290ccce67"]
