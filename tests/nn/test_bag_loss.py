"""The bag loss against its formulas and finite differences."""

import numpy as np
import paddle
import pytest
from scipy.special import log_softmax

from urnet.core.checks import InputError
from urnet.nn.losses import bag_loss

SETTINGS = [
    {},
    {"temperature": 0.3},
    {"temperature": 5.0, "bag_term": 0.0},
    {"instance_term": 0.0},
    {"bag_term": 0.7, "instance_term": 0.25, "label_smoothing": 0.1},
    {"size": 1},
    {"size": 6},
]


def batch(n=12, c=5, size=4, seed=0, dtype="float64"):
    """Logits, labels of whole bags, weights; the second row cannot be read, nor any of the second bag."""
    rng = np.random.default_rng(seed)
    logits = paddle.to_tensor((3 * rng.standard_normal((n, c))).astype(dtype), stop_gradient=False)
    labels = np.repeat(rng.integers(0, c, n // size), size)
    weight = rng.random(n)
    weight[1] = 0
    weight[size : 2 * size] = 0
    return logits, labels, weight


def loss_of(logits, labels, weight, *, size=4, total=None, **settings):
    total = float(np.sum(weight)) if total is None else total
    return bag_loss(logits, paddle.to_tensor(labels), paddle.to_tensor(weight), total, size=size, **settings)


def by_hand(
    logits, labels, weight, size=4, temperature=1.0, bag_term=1.0, instance_term=1.0, label_smoothing=0.0, **at
):
    """Loss and attention by the docstring's formulas; an ``attention`` that is given is held fixed."""
    (n, c), log_p = logits.shape, log_softmax(logits, axis=1)
    p = np.exp(log_p[np.arange(n), labels]).reshape(-1, size)
    w = weight.reshape(-1, size)
    raw = w * p ** (1 / temperature)
    attention = raw / np.maximum(raw.sum(1, keepdims=True), 1e-300)
    attention = at.get("attention", attention.ravel()).reshape(-1, size)
    target = label_smoothing / c + (1 - label_smoothing) * np.eye(c)[labels]
    instances = -(attention * (target * log_p).sum(1).reshape(-1, size)).sum(1)
    bag = np.log(np.maximum((attention * p).sum(1), 1e-300))
    loss = w.sum(1) @ (instance_term * instances - bag_term * bag) / weight.sum()
    return loss, attention.ravel()


@pytest.mark.parametrize("settings", SETTINGS)
def test_agrees_with_the_formulas(settings):
    logits, labels, weight = batch(size=settings.get("size", 4))
    got, attention = loss_of(logits, labels, weight, **settings)
    expected, expected_attention = by_hand(logits.numpy(), labels, weight, **settings)
    assert float(got) == pytest.approx(expected, rel=1e-7)  # smoothed targets are float32
    np.testing.assert_allclose(attention.numpy(), expected_attention, rtol=1e-9, atol=1e-300)
    assert attention.stop_gradient
    logits = logits.astype("float32").detach()
    single, attention = loss_of(logits, labels, weight.astype("float32"), **settings)
    assert single.dtype == attention.dtype == paddle.float32
    assert float(single) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("settings", SETTINGS)
def test_gradient_by_finite_differences_with_the_attention_held_fixed(settings):
    logits, labels, weight = batch(size=settings.get("size", 4))
    loss, attention = loss_of(logits, labels, weight, **settings)
    gradient, x = paddle.grad(loss, logits)[0].numpy(), logits.numpy()
    for i, c in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[i, c] += 1e-5
        down[i, c] -= 1e-5
        values = [by_hand(v, labels, weight, **settings, attention=attention.numpy())[0] for v in (up, down)]
        assert gradient[i, c] == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-8)


def test_rows_that_are_no_whole_bags_are_refused():
    logits, labels, weight = batch()
    with pytest.raises(InputError, match="12 rows cannot be cut into bags of 5"):
        loss_of(logits, labels, weight, size=5)
