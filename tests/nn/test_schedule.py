"""Learning rates at the joints of every schedule."""

import math

import pytest

from urnet.config.duration import parse_duration
from urnet.config.stage import Schedule
from urnet.core.checks import InputError
from urnet.nn.schedule import learning_rate


def rate(**keys):
    """Of a stage of 100 steps, 10 an epoch, 32 images per step."""
    for key in ("warmup", "every"):
        if key in keys:
            keys[key] = parse_duration(keys[key])
    keys["milestones"] = tuple(map(parse_duration, keys.pop("milestones", ())))
    return learning_rate(Schedule(**keys), 100, lambda d: d.steps(10, 32))


MILESTONES = ["30 steps", "5 epochs", "1920 images"]
QUARTER = 0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2


@pytest.mark.parametrize(
    ("keys", "rates"),
    [
        ({"name": "constant", "lr": 0.3}, {0: 0.3, 1: 0.3, 99: 0.3, 100: 0.3}),
        (  # a line from zero over 20 steps, which count towards the stage
            {"name": "constant", "lr": 0.4, "warmup": "2 epochs"},
            {0: 0.02, 9: 0.2, 18: 0.38, 19: 0.4, 20: 0.4, 21: 0.4},
        ),
        ({"name": "step", "gamma": 0.1, "every": "3 epochs"}, {0: 1, 29: 1, 30: 0.1, 59: 0.1, 60: 0.01, 99: 0.001}),
        ({"name": "step", "every": "30 steps", "warmup": "10 steps"}, {9: 1, 10: 1, 29: 1, 30: 0.1}),
        (
            {"name": "piecewise", "gamma": 0.5, "milestones": MILESTONES},
            {0: 1, 29: 1, 30: 0.5, 49: 0.5, 50: 0.25, 59: 0.25, 60: 0.125, 99: 0.125},
        ),
        (
            {"name": "cosine", "final_lr": 0.2},
            {0: 1, 25: QUARTER, 50: 0.6, 100: 0.2, 500: 0.2},
        ),  # past the end it stays
        ({"name": "cosine", "warmup": "20 steps"}, {19: 1, 20: 1, 60: 0.5, 100: 0}),  # begins where the warm-up ends
        ({"name": "cosine", "warmup": "100 steps"}, {99: 1, 100: 1}),  # nothing left to fall over
    ],
)
def test_rates(keys, rates):
    lr = rate(**{"lr": 1.0, **keys})
    assert {step: lr(step) for step in rates} == pytest.approx(rates)


def test_impossible_durations():
    with pytest.raises(InputError, match=r"schedule.warmup: 11 epochs is 110 steps, the stage has only 100"):
        rate(warmup="11 epochs")
    with pytest.raises(InputError, match=r"schedule.every: 0.01 epochs is less than one step"):
        rate(name="step", every="0.01 epochs")
