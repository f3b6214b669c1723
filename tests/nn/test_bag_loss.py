"""The bag loss against plain Python and finite differences; unreadable rows; micro-batches; limits."""

import math

import numpy as np
import paddle
import pytest

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


def slow(
    logits,
    labels,
    weight,
    size=4,
    temperature=1.0,
    bag_term=1.0,
    instance_term=1.0,
    label_smoothing=0.0,
    attention=None,
):
    """The docstring's formulas bag by bag in Python's own numbers; a given attention is held fixed."""
    n, c = logits.shape
    loss, used = 0.0, []
    for first in range(0, n, size):
        rows = range(first, first + size)
        p = {j: [math.exp(v - max(logits[j])) for v in logits[j]] for j in rows}
        p = {j: [v / sum(values) for v in values] for j, values in p.items()}
        if attention is None:
            raw = [weight[j] * p[j][labels[j]] ** (1 / temperature) for j in rows]
            a = [v / sum(raw) if sum(raw) else 0.0 for v in raw]
        else:
            a = attention[first : first + size]
        used += list(a)
        total = sum(weight[j] for j in rows)
        if not total:
            continue
        bag = sum(a[j - first] * p[j][labels[j]] for j in rows)
        instances = 0.0
        for j in rows:
            target = [label_smoothing / c + (1 - label_smoothing) * (k == labels[j]) for k in range(c)]
            instances -= a[j - first] * sum(t * math.log(q) for t, q in zip(target, p[j], strict=True))
        loss += total * (instance_term * instances - bag_term * math.log(bag))
    return loss / sum(weight), np.array(used)


@pytest.mark.parametrize("settings", SETTINGS)
def test_agrees_with_the_slow_version(settings):
    logits, labels, weight = batch(size=settings.get("size", 4))
    got, attention = loss_of(logits, labels, weight, **settings)
    expected, expected_attention = slow(logits.numpy(), labels, weight, **settings)
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
        values = [slow(v, labels, weight, **settings, attention=attention.numpy())[0] for v in (up, down)]
        assert gradient[i, c] == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-8)


def test_unreadable_rows_have_no_attention_and_no_gradient():
    logits, labels, weight = batch()
    loss, attention = loss_of(logits, labels, weight)
    gradient = paddle.grad(loss, logits)[0].numpy()
    assert (gradient[weight == 0] == 0).all()
    assert (attention.numpy()[weight == 0] == 0).all()
    sums = attention.numpy().reshape(-1, 4).sum(1)
    np.testing.assert_allclose(sums, [1, 0, 1], rtol=1e-12)
    changed = logits.numpy()
    changed[weight == 0] = 1e4
    assert float(loss_of(paddle.to_tensor(changed), labels, weight)[0]) == float(loss)


def test_no_weight_at_all_gives_zero_not_nan():
    logits, labels, weight = batch()
    loss, attention = loss_of(logits, labels, 0 * weight)
    assert float(loss) == 0
    assert (attention.numpy() == 0).all()
    assert (paddle.grad(loss, logits)[0].numpy() == 0).all()


def test_micro_batches_of_whole_bags_add_up_to_the_large_batch():
    logits, labels, weight = batch(n=24)
    settings = {"total": float(weight.sum()), "label_smoothing": 0.1, "instance_term": 0.5}
    whole, attention = loss_of(logits, labels, weight, **settings)
    cuts = [slice(0, 8), slice(8, 20), slice(20, 24)]
    parts = [loss_of(logits[s], labels[s], weight[s], **settings) for s in cuts]
    total = sum(part[0] for part in parts)
    assert float(total) == pytest.approx(float(whole), rel=1e-12)
    np.testing.assert_allclose(paddle.grad(total, logits)[0].numpy(), paddle.grad(whole, logits)[0].numpy(), atol=1e-14)
    assert (paddle.concat([part[1] for part in parts]).numpy() == attention.numpy()).all()


def test_one_right_row_among_wrong_ones_by_hand():
    log = math.log  # p(y) is 0.9, 0.1, 0.1, 0.1: attention 9/12, 1/12 each; P = (9 * 0.9 + 3 * 0.1) / 12
    logits = paddle.to_tensor([[log(0.9), log(0.1)]] + 3 * [[log(0.1), log(0.9)]], "float64")
    loss, attention = loss_of(logits, np.zeros(4, int), np.ones(4), instance_term=0.0, total=4.0)
    np.testing.assert_allclose(attention.numpy(), [9 / 12, 1 / 12, 1 / 12, 1 / 12], rtol=1e-12)
    assert float(loss) == pytest.approx(-log(0.7))
    instances, _ = loss_of(logits, np.zeros(4, int), np.ones(4), bag_term=0.0, total=4.0)
    assert float(instances) == pytest.approx(-(9 * log(0.9) + 3 * log(0.1)) / 12)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_extreme_logits_stay_finite(dtype):
    logits = np.zeros((8, 3), dtype)
    logits[0, 0], logits[1:4, 1], logits[4:, 2] = 6e4, 6e4, 6e4
    logits = paddle.to_tensor(logits, stop_gradient=False)
    loss, attention = loss_of(logits, np.zeros(8, int), np.ones(8, "float32"), temperature=0.01)
    assert loss.dtype == paddle.float32
    assert np.isfinite(float(loss))
    assert np.isfinite(paddle.grad(loss, logits)[0].astype("float32").numpy()).all()
    np.testing.assert_allclose(attention.numpy(), [1, 0, 0, 0, 0.25, 0.25, 0.25, 0.25], atol=1e-6)


def test_rows_that_are_no_whole_bags_are_refused():
    logits, labels, weight = batch()
    with pytest.raises(InputError, match="12 rows cannot be cut into bags of 5"):
        loss_of(logits, labels, weight, size=5)
