"""Learning rates at the joints of every schedule."""

import itertools
import math

import pytest

from urnet.config.duration import Duration, parse_duration
from urnet.config.stage import Schedule
from urnet.core.checks import InputError
from urnet.nn.schedule import learning_rate


def rate(total=100, **keys):
    for key in ("warmup", "every"):
        if key in keys:
            keys[key] = parse_duration(keys[key])
    keys["milestones"] = tuple(map(parse_duration, keys.pop("milestones", ())))
    return learning_rate(Schedule(**keys), total, lambda d: d.steps(10, 32))


def test_constant():
    lr = rate(name="constant", lr=0.3)
    assert [lr(step) for step in (0, 1, 99, 100)] == [0.3] * 4


def test_warmup_is_a_line_from_zero_and_counts_towards_the_stage():
    lr = rate(name="constant", lr=0.4, warmup="2 epochs")  # 20 steps
    assert [lr(step) for step in (0, 9, 18, 19, 20, 21)] == pytest.approx([0.02, 0.2, 0.38, 0.4, 0.4, 0.4])
    steps = [lr(step) for step in range(20)]
    assert [b - a for a, b in itertools.pairwise(steps)] == pytest.approx([0.02] * 19)


def test_step_falls_after_every_stretch():
    lr = rate(name="step", lr=1.0, gamma=0.1, every="3 epochs")
    assert [lr(step) for step in (0, 29, 30, 59, 60, 99)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.001])


def test_piecewise_falls_at_its_milestones():
    lr = rate(name="piecewise", lr=1.0, gamma=0.5, milestones=["30 steps", "5 epochs", "1920 images"])
    assert [lr(s) for s in (0, 29, 30, 49, 50, 59, 60, 99)] == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_cosine_from_lr_to_final():
    lr = rate(name="cosine", lr=1.0, final_lr=0.2)
    assert lr(0) == 1.0
    assert lr(50) == pytest.approx(0.6)
    assert lr(25) == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)
    assert lr(99) > 0.2
    assert lr(100) == pytest.approx(0.2)
    assert lr(500) == pytest.approx(0.2)  # past the end it stays
    assert all(lr(step) > lr(step + 1) for step in range(100))


def test_cosine_begins_where_the_warmup_ends():
    lr = rate(name="cosine", lr=1.0, warmup="20 steps")
    assert lr(19) == lr(20) == 1.0
    assert lr(60) == pytest.approx(0.5)
    assert lr(100) == pytest.approx(0.0)
    whole = rate(name="cosine", lr=1.0, warmup="100 steps")
    assert whole(99) == 1.0
    assert whole(100) == 1.0  # nothing left to fall over


def test_step_and_milestones_count_from_the_start_of_the_stage():
    lr = rate(name="step", lr=1.0, every="30 steps", warmup="10 steps")
    assert [lr(step) for step in (9, 10, 29, 30)] == pytest.approx([1, 1, 1, 0.1])


def test_impossible_durations():
    with pytest.raises(InputError, match=r"schedule.warmup: 11 epochs is 110 steps, the stage has only 100"):
        rate(warmup="11 epochs")
    with pytest.raises(InputError, match=r"schedule.every: 0.01 epochs is less than one step"):
        rate(name="step", every="0.01 epochs")
    assert Duration(0.01, "epochs").steps(10, 32) == 0
