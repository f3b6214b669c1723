"""fp16's loss scaling through the real step: overflows are skipped, the scale follows, the state is saved."""

import json
import warnings

import numpy as np
import paddle
import pytest

from tests.helpers.overflows import Overflowing, as_newer_numpy, scaling_allowed
from tests.helpers.train_step import arrays, assert_close, stage, step_input, train_state
from urnet.config.stage import Ema, Optimizer
from urnet.training.loss_scaler import FIRST_SCALE, HOPELESS
from urnet.training.step import train_step

CASES = {
    "plain": {},
    "clipped": {"optimizer": Optimizer(clip_norm=0.5)},
    "accumulated": {"accumulate": 3, "ema": Ema(0.9)},
    "adamw": {"optimizer": Optimizer(name="adamw")},
}


@pytest.fixture(autouse=True)
def newer_numpy(monkeypatch):
    """The NumPy of a fresh environment."""
    monkeypatch.setattr(paddle.Tensor, "__float__", as_newer_numpy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # auto_cast says that a CPU has no fp16
        yield


def scaled(**keys):
    with scaling_allowed():
        return train_state(stage(**keys), Overflowing(), amp="float16")


def scale_of(made):
    return float(made.scaler.state_dict()["scale"].item())


def outcome(made, step):
    return train_step(made, step_input(seed=step), 0.1, step)


@pytest.mark.parametrize("keys", CASES.values(), ids=CASES)
def test_an_overflow_touches_nothing_and_halves_the_scale(keys, capsys):
    made, exact = scaled(**keys), train_state(stage(**keys), Overflowing())
    for step in (0, 1):
        outcome(made, step), outcome(exact, step)
    before = made.state(), arrays(made.network)
    made.network.overflows = True
    assert outcome(made, 2).not_finite
    assert scale_of(made) == FIRST_SCALE / 2
    after = made.state(), arrays(made.network)
    for name, value in before[1].items():
        np.testing.assert_array_equal(after[1][name], value)
    for name, value in before[0]["optimizer"].items():
        np.testing.assert_array_equal(after[0]["optimizer"][name], value)
    made.network.overflows = False
    for step in (3, 4):  # as if the overflow had never been
        outcome(made, step), outcome(exact, step)
    assert_close(arrays(made.network), arrays(exact.network), atol=1e-6)
    assert scale_of(made) == FIRST_SCALE / 2
    assert capsys.readouterr().out == ""  # stdout is for results


def test_the_scale_and_its_counts_are_saved_and_resumed():
    made, other = scaled(), scaled()
    for step, overflows in enumerate([False, True, True, False, False]):
        made.network.overflows = overflows
        outcome(made, step)
    state = made.state()
    kept = json.loads(json.dumps(state["scaler"]))  # state.json
    assert kept["scale"] == [FIRST_SCALE / 4] and kept["incr_count"] == 2
    other.network.set_state_dict(made.network.state_dict())
    other.load_state(state["optimizer"], state["extra"], kept)
    for one in (made, other):
        one.network.overflows = False
        for step in (5, 6):
            outcome(one, step)
    assert other.state()["scaler"] == made.state()["scaler"]
    for name, value in arrays(made.network).items():
        np.testing.assert_array_equal(arrays(other.network)[name], value)


def test_the_scale_doubles_after_enough_good_steps():
    made = scaled()
    made.scaler.double_after = 2
    for step in range(3):
        outcome(made, step)
    assert scale_of(made) == 2 * FIRST_SCALE


def test_steps_that_all_overflow_end_the_training():
    made = scaled()
    made.network.overflows = True
    with pytest.raises(FloatingPointError, match=r"^stage a: the gradients of 50 steps in a row .*amp=bf16"):
        for step in range(HOPELESS + 2):
            outcome(made, step)
    assert step == HOPELESS + 1  # read two steps later


def test_what_is_read_in_a_step(monkeypatch):
    """What is logged, and whether the step overflowed: both a step later, which tests/training/test_waits.py counts."""
    made, read = scaled(optimizer=Optimizer(clip_norm=0.5)), []
    outcome(made, 0)
    numpy = paddle.Tensor.numpy
    monkeypatch.setattr(paddle.Tensor, "numpy", lambda self, *rest: (read.append(self.shape), numpy(self, *rest))[1])
    monkeypatch.setattr(paddle.Tensor, "__array__", lambda self, *rest, **more: self.numpy())
    outcome(made, 1)
    assert read == [[3], [1]]
