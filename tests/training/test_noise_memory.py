"""The variables of SOP: their steps against finite differences of the paper's loss, room, repeated rows, saving."""

import dataclasses

import numpy as np
import paddle
import pytest

from tests.helpers.train_step import arrays, assert_close, stage, step_input, train_state
from urnet.config.remedies import Sop
from urnet.nn.sparse_noise import NoiseSlope
from urnet.training.noise_memory import START, NoiseMemory
from urnet.training.step import train_step

LABELS = np.array([0, 1, 2, 3, 4, 0])


def slope(share, pull, predicted):
    return NoiseSlope(
        *(
            paddle.to_tensor(np.array(values, kind))
            for values, kind in zip((share, pull, predicted), "ffl", strict=True)
        )
    )


def square_by_hand(u, v, label, predicted):
    """What v follows, of one row."""
    own = np.arange(len(v)) == label
    rest = (np.arange(len(v)) == predicted) + np.minimum(u**2, 1 - 1e-4) * own - own
    return ((rest - np.minimum(v**2, 1 - 1e-4) * ~own) ** 2).sum()


def test_v_follows_the_slope_of_the_square_and_u_its_pull():
    rng = np.random.default_rng(0)
    memory = NoiseMemory(Sop(lr_u=3.0, lr_v=2.0, top_k=5), LABELS, 5)
    u, v = rng.random(6).astype(np.float32), rng.random((6, 5)).astype(np.float32)
    v[3] = 1.2  # clipped: stands still
    v[np.arange(6), LABELS] = START
    memory.load({"noise": {"u": u.copy(), "v": v.copy()}})
    predicted, share, pull = np.array([1, 1, 0, 2, 3, 0]), np.array([0.2, 0.3, 0.1, 0.1, 0, 0.3]), rng.random(6)
    memory.take(np.arange(6), slope(share, pull, predicted))
    found = memory.state()["noise"]
    np.testing.assert_allclose(found["u"], u * (1 + 6 * pull), rtol=1e-6)
    for row, column in np.ndindex(6, 5):
        up, down = v[row].astype(np.float64), v[row].astype(np.float64)
        up[column] += 1e-5
        down[column] -= 1e-5
        of = (square_by_hand(u[row], moved, LABELS[row], predicted[row]) for moved in (up, down))
        rise = share[row] * (next(of) - next(of)) / 2e-5
        assert found["v"][row, column] == pytest.approx(v[row, column] - 2 * rise, abs=1e-5)
    assert (found["v"][4] == v[4]).all()  # no share: nothing moves


def test_a_short_memory_makes_room_where_v_is_smallest():
    memory = NoiseMemory(Sop(lr_u=0, lr_v=10, top_k=2), LABELS, 5)
    for predicted in (3, 3, 4, 4, 4):
        memory.take(np.array([0, 2]), slope([0.1, 0.0], [0, 0], [predicted, predicted]))
    u, classes, v = memory.of(np.array([0, 2]))
    assert sorted(classes[0]) == [3, 4] and v[0][classes[0] == 4] > v[0][classes[0] == 3] > START
    np.testing.assert_allclose(v[0][classes[0] == 4], START * 5**3, rtol=1e-5)
    memory.take(np.array([0]), slope([0.1], [0], [1]))
    _, classes, v = memory.of(np.array([0, 2]))
    assert sorted(classes[0]) == [1, 4] and v[0][classes[0] == 1] == pytest.approx(START * 5)
    assert (classes[1] == 0).all() and (v[1] == np.float32(START)).all() and (u == np.float32(START)).all()


@pytest.mark.parametrize("top_k", [1, 5])
def test_a_row_twice_in_a_step_moves_by_both(top_k):
    memory = NoiseMemory(Sop(lr_u=1, lr_v=1, top_k=top_k), LABELS, 5)
    memory.take(np.array([2, 1, 2]), slope([0.5] * 3, [1, 2, 3], [4, 4, 4]))
    u, classes, v = memory.of(np.array([2, 1]))
    np.testing.assert_allclose(u, START * np.array([9, 5]), rtol=1e-6)
    np.testing.assert_allclose(v[classes == 4], START * np.array([5, 3]), rtol=1e-6)
    memory.take(np.array([2, 2]), slope([0.5] * 2, [0, 0], [3, 0]))  # two that are new where there is room for one
    _, classes, v = memory.of(np.array([2]))
    assert classes.tolist() == ([[0]] if top_k == 1 else [[0, 1, 2, 3, 4]])


@pytest.mark.parametrize("top_k", [2, 5])
def test_rows_in_another_order_move_alike(top_k):
    rng, order = np.random.default_rng(3), np.array([4, 2, 0, 5, 1, 3])
    one = NoiseMemory(Sop(top_k=top_k), LABELS, 5)
    other = NoiseMemory(Sop(top_k=top_k), LABELS[order], 5)
    for _ in range(9):
        share, pull, predicted = rng.random(6), rng.random(6), rng.integers(0, 5, 6)
        one.take(np.arange(6), slope(share, pull, predicted))
        other.take(np.argsort(order), slope(share, pull, predicted))
    for name, values in one.state()["noise"].items():
        np.testing.assert_array_equal(values[order], other.state()["noise"][name])


def test_it_gives_back_what_it_was_given_and_is_empty_without_sop():
    memory, other = (NoiseMemory(Sop(top_k=2), LABELS, 5) for _ in range(2))
    memory.take(np.array([1, 3]), slope([0.5, 0.5], [1, 1], [4, 4]))
    other.load(memory.state())
    for made, again in zip(memory.of(np.arange(6)), other.of(np.arange(6)), strict=True):
        np.testing.assert_array_equal(made, again)
    none = NoiseMemory(None, LABELS, 5)
    assert none.of(LABELS) is None and none.state() == {}


def noise(rows=12, u=START, v=START):
    return np.full(rows, u, np.float32), np.tile(np.arange(5), (rows, 1)), np.full((rows, 5), v, np.float32)


def test_sop_in_a_step():
    """In parts or whole, with rates of 0 the plain step, and rows that are decided or cannot be read do not move."""
    data = step_input()
    weight = data.weight.copy()
    weight[[2, 5]] = 0
    data = dataclasses.replace(data, weight=weight)
    plain = train_state(stage())
    train_step(plain, data, 0.3, 0)
    for accumulate in (1, 4):
        made = train_state(stage(accumulate=accumulate, sop=Sop()))
        outcome = train_step(made, dataclasses.replace(data, noise=noise()), 0.3, 0)
        assert_close(arrays(made.network), arrays(plain.network))
        assert outcome.rows.noise_slope.share.shape == outcome.rows.noise_slope.predicted.shape == [12]
        assert (outcome.rows.noise_slope.share.numpy()[[2, 5]] == 0).all()
    fitted, certain = (train_state(stage(sop=Sop())) for _ in range(2))
    grown = dataclasses.replace(data, noise=noise(u=0.9, v=0.5))
    train_step(fitted, grown, 0.3, 0)
    assert np.abs(arrays(fitted.network)["fc.weight"] - arrays(plain.network)["fc.weight"]).max() > 1e-4
    outcome = train_step(certain, dataclasses.replace(grown, certain=np.ones(12, bool)), 0.3, 0)
    assert_close(arrays(certain.network), arrays(plain.network))
    assert (outcome.rows.noise_slope.pull.numpy() == 0).all() and (outcome.rows.noise_slope.share.numpy() == 0).all()
