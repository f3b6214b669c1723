"""The gate: its schedule, which rows are open, and that a gated row passes exactly no gradient."""

import dataclasses

import numpy as np
import paddle
import pytest

from tests.helpers.train_step import TRANSFORM, Plain, arrays, assert_close, stage, step_input, train_state
from urnet.baselines.gated import open_rows, threshold_at
from urnet.config.duration import parse_duration
from urnet.config.remedies import Gate
from urnet.core.checks import InputError
from urnet.nn.flat_parameters import trainable
from urnet.nn.normalise import Normalise
from urnet.nn.schedule import gate_plan
from urnet.training.objective import StepInput
from urnet.training.step import train_step


def test_the_threshold_falls_to_zero():
    linear = [threshold_at(step, 4, threshold=0.8) for step in range(6)]
    np.testing.assert_allclose(linear, [0.8, 0.6, 0.4, 0.2, 0, 0])
    steps = [threshold_at(step, 6, threshold=0.9, schedule="step", levels=3) for step in range(8)]
    np.testing.assert_allclose(steps, [0.9, 0.9, 0.6, 0.6, 0.3, 0.3, 0, 0])
    uneven = [threshold_at(step, 5, threshold=1.0, schedule="step", levels=2) for step in range(5)]
    assert uneven == [1.0, 1.0, 1.0, 0.5, 0.5]
    with pytest.raises(InputError, match=r"gate\.schedule: found 'cosine'"):
        threshold_at(0, 4, threshold=0.5, schedule="cosine")


@pytest.mark.parametrize("kind", [np.asarray, paddle.to_tensor])
def test_open_rows(kind):
    confidence, agrees = kind([0.2, 0.5, 0.7]), kind([True, True, False])
    assert open_rows(confidence, 0.5).tolist() == [False, True, True]
    assert open_rows(confidence, 0.5, agrees).tolist() == [False, True, False]
    assert open_rows(confidence, 0.0, agrees).tolist() == [True, True, True]


def lasting(gate):
    return dataclasses.replace(stage(gate=gate), duration=parse_duration("3 epochs"))


def test_the_plan_of_a_stage():
    gate = Gate(0.5, until=parse_duration("2 epochs"))
    plan = gate_plan(lasting(gate), 10)
    assert [plan(0), plan(10), plan(20), plan(99)] == [0.5, 0.25, 0, 0]
    for until, steps in (("2 images", 0), ("4 epochs", 40)):
        with pytest.raises(InputError, match=f"gate.until: {until} is {steps} steps; 1 to .* 30 are"):
            gate_plan(lasting(Gate(0.5, until=parse_duration(until))), 10)
    assert gate_plan(lasting(None), 10)(0) is None
    assert gate_plan(lasting(Gate(0.5)), 10)(15) == 0.25


def sharp(seed=0):
    """A network whose confidences differ a lot from row to row."""
    network = Plain(seed)
    network.fc.weight.set_value(2 * network.fc.weight)
    return network


def half_right():
    """A step of which every other row's label is what the network says."""
    data = step_input()
    return dataclasses.replace(data, labels=np.where(np.arange(12) % 2, data.labels, confidence_of(data)[1]))


def confidence_of(data):
    logits = Normalise(sharp(), TRANSFORM.mean, TRANSFORM.std)(paddle.to_tensor(data.images))
    p = paddle.nn.functional.softmax(logits, axis=-1).numpy()
    return p.max(1), p.argmax(1)


def gated(threshold=None, agree=False, accumulate=1, data=None):
    """The weights after one step, and its notes."""
    data = half_right() if data is None else data
    made = train_state(stage(accumulate=accumulate, gate=Gate(0.5, agree=agree)), network=sharp())
    outcome = train_step(made, dataclasses.replace(data, gate=threshold), 0.5, 0)
    return arrays(made.network), outcome.rows, float(outcome.loss)


@pytest.mark.parametrize("agree", [False, True])
def test_a_step_with_gated_rows_is_the_one_without_them(agree):
    data = half_right()
    confidence, top = confidence_of(data)
    threshold = float(np.sort(confidence)[2 if agree else 6])
    open_ = (confidence >= threshold) & ((top == data.labels) | (not agree))
    assert 0 < open_.sum() < 12
    mine, notes, loss = gated(threshold, agree)
    without = StepInput(data.images[open_], data.labels[open_], data.weight[open_])
    theirs, _, expected = gated(None, data=without)
    assert (notes.opened.numpy() == open_).all()
    assert loss == pytest.approx(expected, rel=1e-5)
    assert_close(mine, theirs)


def test_gated_rows_pass_exactly_no_gradient():
    """Whatever their labels say: not one bit of the weights moves with them, and by finite differences."""
    data = half_right()
    confidence, _ = confidence_of(data)
    threshold = float(np.median(confidence))
    shut = confidence < threshold
    base, _, loss = gated(threshold, data=data)
    labels = np.where(shut, (data.labels + 1) % 5, data.labels)
    changed, _, same = gated(threshold, data=dataclasses.replace(data, labels=labels))
    for name in base:
        np.testing.assert_array_equal(base[name], changed[name], err_msg=name)
    assert loss == same
    # A nudge of a shut row's image moves no loss, that of an open row's does.
    for i, moves in ((int(np.flatnonzero(shut)[0]), False), (int(np.flatnonzero(~shut)[0]), True)):
        images = data.images.copy()
        images[i, 4, 4] ^= 1
        nudged = gated(threshold, data=dataclasses.replace(data, images=images))[2]
        assert (nudged != loss) == moves


def test_micro_batches_share_one_gate():
    threshold = float(np.median(confidence_of(half_right())[0]))
    whole, _, loss = gated(threshold)
    for accumulate in (3, 4):
        parts, notes, again = gated(threshold, accumulate=accumulate)
        assert_close(whole, parts, atol=1e-5)
        assert again == pytest.approx(loss, rel=1e-5)
        assert notes.opened.shape == [12]


def test_all_rows_open_is_no_gate_and_none_open_moves_nothing():
    plain, opened = gated(None), gated(0.0)
    assert_close(plain[0], opened[0])
    before, after = arrays(sharp()), gated(1.1)[0]
    for name, p in trainable(sharp()).items():
        if p.ndim == 1:  # weight decay moves the others
            np.testing.assert_array_equal(before[name], after[name])
        else:
            np.testing.assert_allclose(after[name], before[name] * (1 - 0.5 * 1e-4), rtol=1e-5)
