"""What every ``Sampler`` promises: a pure function, batches from anywhere, shares, known bytes, memory."""

import hashlib
import tracemalloc

import numpy as np
import pytest

from urnet.core.checks import InputError
from urnet.data.sampling.bag_sampler import BagSampler
from urnet.data.sampling.curriculum_sampler import CurriculumSampler
from urnet.data.sampling.epoch_sampler import EpochSampler

BATCH = 48
KINDS = {
    "plain": lambda labels, weight, subset, **keys: EpochSampler(labels, **keys),
    "weighted": lambda labels, weight, subset, **keys: EpochSampler(
        labels, sampling_weight=weight, balance=0.5, **keys
    ),
    "bags": lambda labels, weight, subset, **keys: BagSampler(
        labels, size=4, sampling_weight=weight, balance=0.5, **keys
    ),
    "curriculum": lambda labels, weight, subset, **keys: CurriculumSampler(
        labels, subset=subset, parts=(2, 1, 1), **keys
    ),
}


def known_data(n=5003):
    """Labels of unequal classes, class 7 without rows; weights; subsets 0 to 2, or -1."""
    rng = np.random.default_rng(0)
    labels = (20 * rng.random(n) ** 2).astype(np.int32)
    labels[labels == 7] = 8
    weight = rng.integers(0, 9, n).astype(np.float32) / np.float32(4)
    subset = (np.random.default_rng(1).integers(0, 4, n) - 1).astype(np.int8)
    subset[np.unique(labels, return_index=True)[1]] = 0
    return labels, weight, subset


@pytest.fixture(params=KINDS)
def make(request):
    """Makes a sampler of one kind over 1,203 rows."""
    data = known_data(1203)
    return lambda seed=1, stage="a", **keys: KINDS[request.param](*data, seed=seed, stage=stage, **keys)


def test_a_pure_function_of_seed_stage_and_epoch(make):
    def epoch(number=7, **keys):
        return np.stack(list(make(**keys).batches(number, BATCH)))

    asked_before = make()
    next(asked_before.batches(3, BATCH))
    assert np.stack(list(asked_before.batches(7, BATCH))).tobytes() == epoch().tobytes()
    assert epoch(block=97).tobytes() == epoch().tobytes()
    for other in ({"seed": 2}, {"stage": "b"}, {"number": 8}):
        assert not np.array_equal(epoch(**other), epoch())


def test_batches_are_full_and_can_begin_anywhere(make):
    sampler = make()
    whole = list(sampler.batches(5, BATCH))
    assert len(whole) == sampler.steps_per_epoch(BATCH) == 25  # the rows that are left over are dropped
    assert all(batch.shape == (BATCH,) and batch.dtype == np.int64 for batch in whole)
    for start in (0, 1, 24, 25):
        rest = list(sampler.batches(5, BATCH, start))
        assert [batch.tolist() for batch in rest] == [batch.tolist() for batch in whole[start:]]


def test_ranks_split_each_batch_without_loss_or_overlap(make):
    sampler = make()
    parts = [list(sampler.batches(2, BATCH, rank=rank, world_size=3)) for rank in range(3)]
    for step, batch in enumerate(sampler.batches(2, BATCH)):
        assert np.concatenate([part[step] for part in parts]).tolist() == batch.tolist()
        assert {len(part[step]) for part in parts} == {BATCH // 3}
    with pytest.raises(InputError, match=r"batch_size 20.*3 process"):
        next(sampler.batches(0, 20, world_size=3))


def test_expected_draws_and_shares_are_the_means_over_epochs(make):
    labels, _, _ = known_data(1203)
    sampler = make()
    expected, share = sampler.expected_draws(), sampler.sampled_share()
    assert sampler.n_rows == 1203
    assert expected.sum() == pytest.approx(1203)
    np.testing.assert_allclose(np.bincount(labels, expected) / 1203, share, atol=1e-9)
    epochs = [np.concatenate(list(sampler.batches(epoch, 48))) for epoch in range(200)]  # 1,200 rows each
    mean = sum(np.bincount(rows, minlength=1203) for rows in epochs) / 200
    assert np.abs(mean - expected * 1200 / 1203).max() < 0.35 * np.sqrt(expected.max())
    np.testing.assert_allclose(np.bincount(labels, mean) / 1200, share, atol=0.01)
    share[:] = 0
    assert sampler.sampled_share().sum() == pytest.approx(1)  # a copy was given out


# --- the order is what it was when results were measured


def hashes_of(*arrays):
    return [hashlib.sha256(array.tobytes()).hexdigest()[:16] for array in arrays]


@pytest.mark.parametrize("block", [97, 1 << 17])
@pytest.mark.parametrize(
    ("size", "weighted", "settings", "hashes"),
    [
        (None, False, {}, ["3e7cadc11fba8437", "af5d021a7038c692", "447686804638973b"]),
        (None, True, {}, ["0f45d784ace2485f", "715425ac53821ce2", "8ae144c8b08123d1"]),
        (None, False, {"balance": 1.0}, ["7b32d44cee0aa482", "04959b94c3fbcfe9", "67caf512a0c8b4d9"]),
        (None, True, {"balance": 0.3, "n_classes": 25}, ["6f577850a1c95ad2", "a01ef0307e7e5f13", "b6a6d504e1110251"]),
        (
            None,
            True,
            {"balance": 0.5, "n_classes": 70_000},
            ["71beb8ca7458c30a", "cde58cc193a0d1ed", "8f281887bc705c94"],
        ),
        (1, False, {}, ["385875036f4efe9c", "e04b34b0969da9a6", "b2e413f9c526da4b"]),
        (4, False, {}, ["522a040e7751c476", "46e353f2ae125db0", "b2e413f9c526da4b"]),
        (4, False, {"balance": 1.0}, ["1e499ce877d32e58", "e168b29142089a7e", "67caf512a0c8b4d9"]),
        (1, True, {}, ["c4f4d13d3b56873c", "55fdc9660a999fc0", "8ae144c8b08123d1"]),
        (4, True, {}, ["5a2782c5f812feb9", "1e0495e264654d5a", "8ae144c8b08123d1"]),
        (4, True, {"balance": 0.3}, ["91aa687c4482a320", "6c85dbff850465cc", "b6a6d504e1110251"]),
    ],
)
def test_orders_have_the_bytes_they_had_when_results_were_measured(block, size, weighted, settings, hashes):
    labels, weight, _ = known_data()
    keys = {"sampling_weight": weight if weighted else None, "seed": 1, "stage": "a", "block": block, **settings}
    sampler = (
        EpochSampler(labels, **keys) if size is None else BagSampler(labels, size=size, **{"n_classes": 25, **keys})
    )
    assert hashes_of(sampler.order(0), sampler.order(7), sampler.expected_draws()) == hashes


@pytest.mark.parametrize("block", [97, 1 << 17])
def test_curricula_have_the_bytes_they_had_when_results_were_measured(block):
    sampler = KINDS["curriculum"](*known_data(), seed=1, stage="a", block=block)
    batches = np.concatenate(list(sampler.batches(3, 64, 5))), np.concatenate(list(sampler.batches(0, 64, 0, 1, 4)))
    expected = ["c8ee0278f498f3c5", "c727367a21b6d12d", "9fc1ece290ccce67"]
    assert hashes_of(*batches, sampler.expected_draws()) == expected


# --- memory


@pytest.mark.parametrize(("kind", "bytes_a_row"), [("plain", 6), ("weighted", 10), ("bags", 10)])
def test_an_order_takes_few_bytes_a_row_and_a_ranks_part_hardly_any(kind, bytes_a_row):
    n, block = 1 << 19, 1 << 14
    labels, weight = (np.arange(n) % 1000).astype(np.int32), np.random.default_rng(0).random(n, np.float32)
    tracemalloc.start()
    try:
        sampler = KINDS[kind](labels, weight, None, seed=0, stage="a", block=block)
        assert tracemalloc.get_traced_memory()[0] < 1 << 20  # nothing is kept of a row
        batches = sampler.batches(0, 64 * 32, rank=5, world_size=64)
        next(batches)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < bytes_a_row * n + (2 << 20)  # and what blocks and classes take
    assert now < 4 * n / 64 + (1 << 20)
