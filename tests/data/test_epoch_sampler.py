"""Row order: purity, shares, low variance, rows of weight 0, batches, ranks and resuming."""

import hashlib
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from urnet.core.checks import InputError
from urnet.core.seeds import ORDER, draw_key, stage_key
from urnet.data.sampling.epoch_sampler import EpochSampler, ordered_by_class


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


@pytest.mark.parametrize("weighted", [False, True])
def test_a_pure_function_of_seed_stage_and_epoch(weighted):
    labels = noisy_labels()
    weight = np.random.default_rng(1).random(5000).astype(np.float32) if weighted else None

    def order(seed=1, stage="a", epoch=7):
        made = EpochSampler(labels, sampling_weight=weight, balance=0.5 * weighted, seed=seed, stage=stage)
        return made.order(epoch)

    same = EpochSampler(labels, sampling_weight=weight, balance=0.5 * weighted, seed=1, stage="a")
    same.order(3)  # what was asked before does not matter
    assert (same.order(7) == order()).all()
    for other in ({"seed": 2}, {"stage": "b"}, {"epoch": 8}):
        assert not (order(**other) == order()).all()


def test_the_same_in_another_process():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import numpy as np\n"
        "from urnet.data.sampling.epoch_sampler import EpochSampler\n"
        "order = EpochSampler(np.arange(50) % 3, balance=1.0, seed=5, stage='class')\n"
        "print(*order.order(2))"
    )
    root = str(Path(__file__).parents[2])
    out = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, check=True)
    here = EpochSampler(np.arange(50) % 3, balance=1.0, seed=5, stage="class").order(2)
    assert out.stdout.split() == [str(row) for row in here]
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
    times = np.array([np.bincount(half.order(e), minlength=16) for e in range(3000)])
    assert (times[:, :4] == 2).all()
    np.testing.assert_allclose(times[:, 4:].mean(0), 2 / 3, atol=0.04)
    together = (times[:, 4] * times[:, 5]).mean(), (times[:, 4] * times[:, 10]).mean()
    assert min(together) > 0.3  # any two can meet: 2/3 * 7/11 = 0.42
    position = np.array([np.argmax(half.order(e) == 0) for e in range(500)])
    assert np.unique(position).size > 8  # and the classes do not stand in blocks


def test_batches_cut_the_order_and_resume_anywhere():
    labels = noisy_labels(n=103)
    order = EpochSampler(labels, balance=0.5, seed=0, stage="a")
    whole = list(order.batches(4, 20))
    assert [len(batch) for batch in whole] == [20] * 5  # 3 rows are left over
    assert order.steps_per_epoch(20) == 5
    assert (np.concatenate(whole) == order.order(4)[:100]).all()
    for start in range(6):
        rest = list(order.batches(4, 20, start))
        assert len(rest) == 5 - start
        assert all((a == b).all() for a, b in zip(rest, whole[start:], strict=True))
    only = list(order.batches(0, 200))
    assert [len(batch) for batch in only] == [103]  # a lone short batch is kept
    assert order.steps_per_epoch(200) == 1


def test_ranks_split_each_batch_without_loss_or_overlap():
    order = EpochSampler(noisy_labels(n=60), seed=0, stage="a")
    parts = [list(order.batches(0, 12, rank=rank, world_size=3)) for rank in range(3)]
    for step, batch in enumerate(order.batches(0, 12)):
        assert (np.concatenate([part[step] for part in parts]) == batch).all()
        assert {len(part[step]) for part in parts} == {4}
    with pytest.raises(InputError, match="batch_size 10 cannot be divided among 3 processes"):
        next(order.batches(0, 10, world_size=3))


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


def test_expected_draws_are_the_mean_over_epochs():
    labels = np.repeat([0, 1], (6, 2))
    weight = np.array([3, 1, 1, 1, 0, 0, 2, 1], np.float32)
    order = EpochSampler(labels, sampling_weight=weight, balance=1.0, seed=0, stage="s")
    expected = order.expected_draws()
    np.testing.assert_allclose(expected, np.array([3, 1, 1, 1, 0, 0, 4, 2]) * 4 / 6, rtol=1e-6)
    mean = sum(np.bincount(order.order(epoch), minlength=8) for epoch in range(400)) / 400
    np.testing.assert_allclose(mean, expected, atol=0.1)
    np.testing.assert_array_equal(EpochSampler(labels, seed=0, stage="s").expected_draws(), 1)


# --- the order is what it was when results were measured, and takes little memory


BLOCKS = pytest.mark.parametrize("block", [97, 1 << 17])


def known_data():
    rng = np.random.default_rng(0)
    labels = (20 * rng.random(5003) ** 2).astype(np.int32)
    labels[labels == 7] = 8
    return labels, rng.integers(0, 9, 5003).astype(np.float32) / np.float32(4)


@BLOCKS
@pytest.mark.parametrize(
    ("weighted", "settings", "hashes"),
    [
        (False, {}, ["3e7cadc11fba8437", "af5d021a7038c692", "447686804638973b"]),
        (True, {}, ["0f45d784ace2485f", "715425ac53821ce2", "8ae144c8b08123d1"]),
        (False, {"balance": 1.0}, ["7b32d44cee0aa482", "04959b94c3fbcfe9", "67caf512a0c8b4d9"]),
        (True, {"balance": 0.3, "n_classes": 25}, ["6f577850a1c95ad2", "a01ef0307e7e5f13", "b6a6d504e1110251"]),
        (True, {"balance": 0.5, "n_classes": 70_000}, ["71beb8ca7458c30a", "cde58cc193a0d1ed", "8f281887bc705c94"]),
    ],
)
def test_orders_have_the_bytes_they_had_when_results_were_measured(block, weighted, settings, hashes):
    labels, weight = known_data()
    order = EpochSampler(
        labels, sampling_weight=weight if weighted else None, seed=1, stage="a", block=block, **settings
    )
    arrays = order.order(0), order.order(7), order.expected_draws()
    assert [hashlib.sha256(array.tobytes()).hexdigest()[:16] for array in arrays] == hashes


def in_one_go(labels, weight, balance, epoch):
    """The order as its definition says, with whole arrays of 64 bits."""
    counts, n = np.bincount(labels), len(labels)
    share = (1 - balance) * counts / n + balance * ((counts > 0) / np.count_nonzero(counts))
    mass = np.bincount(labels, weights=weight)
    rows = np.flatnonzero(weight > 0)
    expected = (n * share / np.where(mass > 0, mass, 1))[labels[rows]] * weight[rows]
    rng = np.random.default_rng([ORDER, 1, stage_key("a"), epoch])
    shuffled = rng.permutation(len(rows))
    by_class = shuffled[np.argsort(labels[rows][shuffled], kind="stable")]
    edges = np.minimum(np.floor(np.cumsum(expected[by_class]) + rng.random()), n).astype(np.int64)
    edges[-1] = n
    return rng.permutation(rows[np.repeat(by_class, np.diff(edges, prepend=0))])


@BLOCKS
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("balance", [0.0, 0.4, 1.0])
def test_blocks_change_no_byte(block, dtype, balance):
    labels = noisy_labels(seed=4, n=2101)
    weight = np.random.default_rng(3).exponential(size=2101).astype(dtype)
    weight[::5] = 0
    weight[3] = 600  # drawn many times: its copies cross many edges
    order = EpochSampler(labels, sampling_weight=weight, balance=balance, seed=1, stage="a", block=block)
    for epoch in (0, 5):
        assert order.order(epoch).tobytes() == in_one_go(labels, weight, balance, epoch).tobytes()


@BLOCKS
def test_rows_in_order_of_class_keep_their_order_inside(block):
    rng = np.random.default_rng(0)
    labels, rows = rng.integers(0, 9, 500), rng.permutation(500)[:300].astype(np.int32)
    labels[labels == 4] = 5
    got = ordered_by_class(rows, labels, np.bincount(labels[rows], minlength=12), block)
    assert got.tolist() == sorted(rows.tolist(), key=lambda row: labels[row])  # sorted is stable
    assert got.dtype == np.int32


@pytest.mark.parametrize(("weighted", "limit"), [(False, 6), (True, 10)])
def test_an_order_takes_few_bytes_a_row_and_a_ranks_part_hardly_any(weighted, limit):
    n, megabytes = 1 << 20, 8 << 20  # blocks are not in proportion to the rows
    labels = (np.arange(n) % 1000).astype(np.int32)
    weight = np.random.default_rng(0).random(n, np.float32) if weighted else None
    tracemalloc.start()
    try:
        order = EpochSampler(labels, sampling_weight=weight, balance=0.5 * weighted, seed=0, stage="a")
        assert tracemalloc.get_traced_memory()[0] < 1 << 20  # nothing is kept of a row
        batches = order.batches(0, 64 * 32, rank=5, world_size=64)
        next(batches)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit * n + megabytes
    assert now < 4 * n / 64 + (1 << 20)
