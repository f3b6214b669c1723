"""Early learning taught by averaged weights, with mixup: ELR+'s parts in a step."""

import dataclasses

import numpy as np
import paddle
import pytest

from tests.helpers.train_step import arrays, assert_close, stage, step_input, train_state
from urnet.config.remedies import Elr
from urnet.config.stage import Ema
from urnet.nn.mixup import Mixup
from urnet.nn.robust_losses import early_learning
from urnet.training.passes import Passes, passes_per_image
from urnet.training.step import train_step

TAUGHT = {"elr": Elr(weight=2.0, top_k=2, teacher="average"), "ema": Ema(0.9)}
MEMORY = np.tile([[1, 4]], (12, 1)), np.full((12, 2), 0.4, np.float16)


def mixup(lam=None):
    made = Mixup(0.8, 12, seed=0, stage="a", step=0)
    made.lam = made.lam if lam is None else lam
    return made


def outcome_of(data, **keys):
    """The weights after a step, its outcome, and what the network and the averages were before it."""
    made = train_state(stage(**keys))
    if made.ema is not None:  # otherwise they are the network's
        made.ema.load({name: 1.5 * value for name, value in made.ema.weights().items()})
    outcome = train_step(made, data, 0.3, 0)
    return arrays(made.network), outcome


@pytest.mark.parametrize("lam", [None, 1.0])
def test_at_first_it_is_plain_elr(lam):
    """The averages are the network's own weights then; images mixed with a share of 0 are not mixed."""
    data = dataclasses.replace(step_input(), memory=MEMORY)
    ends = []
    for keys, mixed in (({"elr": Elr(weight=2.0, top_k=2)}, None), (TAUGHT, None if lam is None else mixup(lam))):
        made = train_state(stage(**keys))
        outcome = train_step(made, dataclasses.replace(data, mixup=mixed), 0.3, 0)
        ends.append((arrays(made.network), outcome))
    assert_close(ends[0][0], ends[1][0])
    np.testing.assert_allclose(*(outcome.rows.memory_values.numpy() for _, outcome in ends), rtol=1e-5)
    assert [outcome.passes for _, outcome in ends] == [Passes(12, 12), Passes(24, 12)]


@pytest.mark.parametrize("mixed", [False, True])
def test_parts_of_a_step_add_up_and_the_memory_is_what_the_averages_say(mixed):
    data = dataclasses.replace(step_input(mixup=mixup() if mixed else None), memory=MEMORY)
    (whole, outcome), (parts, again) = (outcome_of(data, accumulate=n, **TAUGHT) for n in (1, 4))
    assert_close(whole, parts)
    assert outcome.passes == again.passes == Passes(24, 12) == passes_per_image(stage(**TAUGHT), 144) * 12
    twin = train_state(stage())
    twin.network.set_state_dict({name: 1.5 * value for name, value in twin.network.state_dict().items()})
    logits = twin.model(paddle.to_tensor(data.images))
    known = (paddle.to_tensor(MEMORY[0]), paddle.to_tensor(MEMORY[1].astype("float32")))
    _, classes, values = early_learning(logits, paddle.ones([12]), 1.0, known, momentum=0.7)
    for found in (outcome, again):
        np.testing.assert_array_equal(found.rows.memory_classes.numpy(), classes.numpy())
        np.testing.assert_allclose(found.rows.memory_values.numpy(), values.numpy(), rtol=1e-5)


def test_decided_rows_have_no_term_and_unreadable_ones_lend_no_memory():
    data = dataclasses.replace(step_input(mixup=mixup()), memory=MEMORY)
    plain, _ = outcome_of(data)
    certain, outcome = outcome_of(dataclasses.replace(data, certain=np.ones(12, bool)), **TAUGHT)
    assert_close(certain, plain)
    assert outcome.rows.memory_values.numpy().max() > 0
    data.weight[3] = 0
    ends = []
    for value in (0.1, 0.5):
        values = MEMORY[1].copy()
        values[3] = value
        ends.append(outcome_of(dataclasses.replace(data, memory=(MEMORY[0], values)), **TAUGHT)[0])
    assert_close(*ends, atol=0)
    assert np.abs(ends[0]["fc.weight"] - plain["fc.weight"]).max() > 1e-4
