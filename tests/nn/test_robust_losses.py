"""Generalised and symmetric cross-entropy and early-learning regularisation, each against plain numpy."""

import math

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from urnet.config.stage import Elr, Loss
from urnet.nn.losses import soft_targets, weighted_cross_entropy
from urnet.nn.robust_losses import early_learning, weighted_loss
from urnet.training.elr_memory import ElrMemory

GENERALISED = [Loss("generalised", q=q) for q in (0.3, 0.7, 1.0)]
SYMMETRIC = [Loss("symmetric", alpha=a, beta=b, log_zero=z) for a, b, z in ((0.1, 1, -4), (2, 0.5, -6))]


def batch(n=12, c=7, seed=0, smoothing=0.0):
    """Logits, weighted targets, weights, labels."""
    rng = np.random.default_rng(seed)
    logits = paddle.to_tensor(3 * rng.standard_normal((n, c)).astype("float32"), stop_gradient=False)
    labels, weight = rng.integers(0, c, n), rng.random(n).astype("float32")
    targets = soft_targets(paddle.to_tensor(labels), c, smoothing) * paddle.to_tensor(weight).unsqueeze(1)
    return logits, targets, weight, labels


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def by_hand(logits, targets, weight, loss):
    """As the papers write them."""
    p = softmax(logits.astype(np.float64))
    t = targets / np.where(weight > 0, weight, 1)[:, None]
    if loss.name == "generalised":
        rows = t * (1 - p**loss.q) / loss.q
    else:
        log_t = np.log(np.maximum(t, math.exp(loss.log_zero)))
        rows = -loss.alpha * t * np.log(p) - loss.beta * p * log_t
    return weight @ rows.sum(1)


@pytest.mark.parametrize("loss", GENERALISED + SYMMETRIC)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_values_and_gradients(loss, smoothing):
    logits, targets, weight, _ = batch(smoothing=smoothing)
    weight[3] = 0
    targets[3] = 0
    total = float(weight.sum())
    value = weighted_loss(logits, targets, total, loss)
    x, t = logits.numpy().astype(np.float64), targets.numpy().astype(np.float64)
    assert float(value) == pytest.approx(by_hand(x, t, weight, loss) / total, rel=1e-5)
    grad = paddle.grad(value, logits)[0].numpy()
    assert (grad[3] == 0).all()
    for i, c in ((0, 0), (1, 5), (7, 2)):
        up, down = x.copy(), x.copy()
        up[i, c] += 1e-5
        down[i, c] -= 1e-5
        slope = (by_hand(up, t, weight, loss) - by_hand(down, t, weight, loss)) / 2e-5 / total
        assert grad[i, c] == pytest.approx(slope, abs=2e-6)


@pytest.mark.parametrize("loss", [GENERALISED[1], SYMMETRIC[0]])
def test_extreme_logits_have_finite_gradients_and_wrong_labels_a_bounded_pull(loss):
    """Of two rows that the network is sure are wrong, cross entropy follows fully, these hardly."""
    logits = paddle.to_tensor(np.array([[500.0, 0, 0], [0, 500, 0]], "float32"), stop_gradient=False)
    targets = soft_targets(paddle.to_tensor([1, 0]), 3)
    grad = paddle.grad(weighted_loss(logits, targets, 2.0, loss), logits)[0].numpy()
    full = paddle.grad(weighted_cross_entropy(logits, targets, 2.0), logits)[0].numpy()
    assert np.isfinite(grad).all()
    assert np.abs(full).max() == pytest.approx(0.5)
    assert np.abs(grad).max() <= 0.05 + 1e-6  # alpha = 0.1 of it, or nothing


# --- early learning


def dense_elr(logits, weight, memory, momentum):
    """The paper's, with all classes in the memory."""
    p = np.clip(softmax(logits), 1e-4, 1 - 1e-4)
    memory = momentum * memory + (1 - momentum) * p / p.sum(1, keepdims=True)
    agreement = np.minimum((memory * p).sum(1), 1 - 1e-4)
    return (weight * np.log(1 - agreement)).sum() / weight.sum(), memory


def spread(classes, values, c):
    full = np.zeros((len(classes), c))
    np.put_along_axis(full, classes, values, 1)
    return full


def test_a_memory_of_all_classes_is_the_papers():
    weight = batch()[2]
    index, values = paddle.zeros([12, 7], "int64"), paddle.zeros([12, 7])
    dense = np.zeros((12, 7))
    for step in range(4):
        logits = batch(seed=step)[0]
        term, index, values = early_learning(
            logits, paddle.to_tensor(weight), float(weight.sum()), (index, values), momentum=0.7
        )
        expected, dense = dense_elr(logits.numpy().astype(np.float64), weight, dense, 0.7)
        assert float(term) == pytest.approx(expected, rel=1e-4)
        np.testing.assert_allclose(spread(index.numpy(), values.numpy(), 7), dense, atol=1e-6)
    assert index.stop_gradient and values.stop_gradient


def test_a_short_memory_keeps_the_likeliest():
    logits, _, weight, _ = batch()
    known = paddle.to_tensor(np.tile([[6, 2]], (12, 1))), paddle.to_tensor(np.full((12, 2), 0.45, "float32"))
    _, index, values = early_learning(logits, paddle.to_tensor(weight), 1.0, known, momentum=0.5)
    p = np.clip(softmax(logits.numpy()), 1e-4, 1 - 1e-4)
    full = 0.5 * spread(known[0].numpy(), known[1].numpy(), 7) + 0.5 * p / p.sum(1, keepdims=True)
    np.testing.assert_allclose(values.numpy(), np.sort(full, 1)[:, :-3:-1], rtol=1e-5)
    np.testing.assert_array_equal(index.numpy(), np.argsort(-full, 1)[:, :2])


def test_the_term_pulls_towards_what_was_said_before():
    """Cross entropy alone goes to the wrong label; with the term the row stays where its memory is."""
    memory = paddle.to_tensor([[0, 1]]), paddle.to_tensor([[0.99, 0.005]])
    for weight, winner in ((0.0, 1), (3.0, 0)):
        logits = paddle.to_tensor([[3.0, 0.0, 0.0]], stop_gradient=False)
        for _ in range(300):
            loss = F.cross_entropy(logits, paddle.to_tensor([1]))
            loss = loss + weight * early_learning(logits, paddle.ones([1]), 1.0, memory, momentum=0.999)[0]
            logits = (logits - 0.5 * paddle.grad(loss, logits)[0]).detach()
            logits.stop_gradient = False
        assert int(logits.argmax()) == winner


def test_rows_without_weight_have_no_gradient_and_agreement_is_clipped():
    logits = paddle.to_tensor([[80.0, 0.0], [80.0, 0.0], [0.3, 0.1]], stop_gradient=False)
    memory = paddle.zeros([3, 2], "int64"), paddle.to_tensor([[1.0, 0.0]] * 3)
    weight = paddle.to_tensor([1.0, 0.0, 1.0])
    term, _, _ = early_learning(logits, weight, 2.0, memory, momentum=0.9)
    grad = paddle.grad(term, logits)[0].numpy()
    assert math.isfinite(float(term)) and np.isfinite(grad).all()
    assert (grad[1] == 0).all() and (grad[2] != 0).all()


def test_the_memory_gives_back_what_it_was_given():
    memory, other = (ElrMemory(Elr(top_k=3), 5, 100) for _ in range(2))
    rows = np.array([4, 1])
    memory.take(rows, paddle.to_tensor([[7, 8, 9], [1, 2, 3]]), paddle.to_tensor([[0.5, 0.25, 0.125]] * 2))
    for made in (memory, other):
        other.load(memory.state())
        classes, values = made.of(np.array([1, 0, 4]))
        assert classes.tolist() == [[1, 2, 3], [0, 0, 0], [7, 8, 9]]
        assert values.tolist() == [[0.5, 0.25, 0.125], [0, 0, 0], [0.5, 0.25, 0.125]]
    assert ElrMemory(Elr(top_k=10), 5, 4).of(rows)[0].shape == (2, 4)  # no more classes than there are
    assert ElrMemory(None, 5, 4).of(rows) is None and ElrMemory(None, 5, 4).state() == {}
