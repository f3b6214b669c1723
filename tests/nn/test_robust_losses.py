"""Generalised and symmetric cross-entropy, early-learning regularisation and SOP, each against plain numpy."""

import math

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from urnet.config.remedies import Elr, Loss
from urnet.nn.losses import soft_targets, weighted_cross_entropy
from urnet.nn.robust_losses import early_learning, early_learning_mixed, remembered, weighted_loss
from urnet.nn.sparse_noise import Noise, sparse_noise_loss
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


def mixed_case():
    """Logits of mixed images, weights of the rows and their partners, the memory of all, partners."""
    logits, _, weight, _ = batch()
    rng = np.random.default_rng(5)
    weight[2], partner = 0, rng.permutation(12)
    p = softmax(rng.standard_normal((12, 7)))
    zeros = paddle.zeros([12, 7], "int64"), paddle.zeros([12, 7])
    return logits, weight, partner, remembered(paddle.to_tensor(p.astype("float32")), zeros, momentum=0.0), p


def mixed_by_hand(logits, weight, partner, memory, lam):
    """As ELR+ has it, with weights that go with their own rows."""
    p = np.clip(softmax(logits), 1e-4, 1 - 1e-4)
    own, other = lam * weight, (1 - lam) * weight[partner]
    m = (own[:, None] * memory + other[:, None] * memory[partner]) / (own + other)[:, None]
    return ((own + other) * np.log(1 - (m * p).sum(1))).sum() / weight.sum()


def test_the_term_of_mixed_rows():
    logits, weight, partner, (classes, values), p = mixed_case()
    x, lam = logits.numpy().astype(np.float64), 0.7
    held = [
        (paddle.to_tensor(share * weight[rows]), classes[rows], values[rows])
        for share, rows in ((np.float32(lam), np.arange(12)), (np.float32(1 - lam), partner))
    ]
    term = early_learning_mixed(logits, float(weight.sum()), held)
    assert float(term) == pytest.approx(mixed_by_hand(x, weight, partner, p, lam), rel=1e-4)
    grad = paddle.grad(term, logits)[0].numpy()
    for i, c in ((0, 0), (2, 5), (7, 2)):
        up, down = x.copy(), x.copy()
        up[i, c] += 1e-5
        down[i, c] -= 1e-5
        rise = mixed_by_hand(up, weight, partner, p, lam) - mixed_by_hand(down, weight, partner, p, lam)
        assert grad[i, c] == pytest.approx(rise / 2e-5, abs=1e-5)
    nothing = [(0 * w, c, v) for w, c, v in held]
    assert float(early_learning_mixed(logits, 0.0, nothing)) == 0


def test_rows_mixed_with_nothing_have_the_plain_term():
    logits, weight, partner, memory, _ = mixed_case()
    weights = paddle.to_tensor(weight)
    plain, classes, values = early_learning(logits, weights, 2.0, memory, momentum=0.5)
    alone = [(weights, classes, values)]
    assert float(early_learning_mixed(logits, 2.0, alone)) == float(plain)
    nothing = (0 * weights, classes[partner], values[partner])
    expected = paddle.grad(plain, logits, retain_graph=True)[0].numpy()
    mixed = early_learning_mixed(logits, 2.0, [*alone, nothing])
    np.testing.assert_allclose(paddle.grad(mixed, logits)[0].numpy(), expected, atol=1e-6)


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


# --- sparse over-parameterisation


def sop_by_hand(logits, labels, weight, u, v):
    """The loss of each row times its weight, as the paper writes it; ``v`` (B, C)."""
    p, rows = softmax(logits), np.arange(len(labels))
    own = np.eye(logits.shape[1])[labels]
    s = np.minimum(u**2, 1 - 1e-4)[:, None] * own - np.minimum(v**2, 1 - 1e-4) * (1 - own)
    moved = np.maximum(p + s, 1e-4)
    return -weight * np.log(np.maximum((moved / moved.sum(1, keepdims=True))[rows, labels], 1e-4))


def noise_of(u, v):
    """A Noise that keeps all classes."""
    classes = np.tile(np.arange(v.shape[1]), (len(u), 1))
    return Noise(*(paddle.to_tensor(values) for values in (u.astype("float32"), classes, v.astype("float32"))))


def sop_case(seed=0):
    logits, _, weight, labels = batch(seed=seed)
    rng = np.random.default_rng(seed)
    u, v = rng.random(12), rng.random((12, 7))
    u[:4], v[:4] = 1e-8, 1e-8
    u[4], v[5] = 1.5, 2.0  # clipped
    weight[3] = 0
    return logits, labels, weight, u, v


def test_sop_and_its_gradients():
    logits, labels, weight, u, v = sop_case()
    total, x = float(weight.sum()), logits.numpy().astype(np.float64)
    value, slope = sparse_noise_loss(logits, paddle.to_tensor(labels), paddle.to_tensor(weight), total, noise_of(u, v))
    assert float(value) == pytest.approx(sop_by_hand(x, labels, weight, u, v).sum() / total, rel=1e-5)
    grad = paddle.grad(value, logits)[0].numpy()
    assert (grad[3] == 0).all()
    for i, c in ((0, 0), (1, 5), (7, 2), (9, 6)):
        up, down = x.copy(), x.copy()
        up[i, c] += 1e-5
        down[i, c] -= 1e-5
        rise = sop_by_hand(up, labels, weight, u, v) - sop_by_hand(down, labels, weight, u, v)
        assert grad[i, c] == pytest.approx(rise.sum() / 2e-5 / total, abs=2e-6)
    more = u + 1e-6
    rise = (sop_by_hand(x, labels, weight, more, v) - sop_by_hand(x, labels, weight, u, v)) / 1e-6 / total
    np.testing.assert_allclose(-2 * u * slope.pull.numpy(), rise, atol=1e-5)
    assert (slope.pull.numpy()[[3, 4]] == 0).all() and slope.pull.stop_gradient
    np.testing.assert_allclose(slope.share.numpy(), weight / total, rtol=1e-6)
    np.testing.assert_array_equal(slope.predicted.numpy(), x.argmax(1))


def test_sop_without_noise_is_the_cross_entropy_and_certain_rows_have_no_other():
    rng = np.random.default_rng(1)
    logits = paddle.to_tensor(rng.standard_normal((12, 7)).astype("float32"), stop_gradient=False)
    labels, weight = paddle.to_tensor(rng.integers(0, 7, 12)), paddle.to_tensor(rng.random(12).astype("float32"))
    targets, total = soft_targets(labels, 7) * weight.unsqueeze(1), float(weight.sum())
    plain = weighted_cross_entropy(logits, targets, total)
    expected = paddle.grad(plain, logits)[0].numpy()
    none, some = noise_of(np.full(12, 1e-8), np.full((12, 7), 1e-8)), noise_of(rng.random(12), rng.random((12, 7)))
    for noise, certain in ((none, None), (some, paddle.ones([12], "bool"))):
        value, slope = sparse_noise_loss(logits, labels, weight, total, noise, certain)
        assert float(value) == pytest.approx(float(plain), rel=1e-6)
        np.testing.assert_allclose(paddle.grad(value, logits)[0].numpy(), expected, atol=1e-7)
    assert (slope.pull.numpy() == 0).all() and (slope.share.numpy() == 0).all()


def test_a_row_that_noise_has_fitted_no_longer_pulls():
    """Of two rows that the network is sure are wrong, one has grown u and v: its label is no longer learned."""
    logits = paddle.to_tensor([[6.0, 0.0, 0.0]] * 2, stop_gradient=False)
    noise = noise_of(np.array([1e-8, 1.0]), np.array([[1e-8] * 3, [1.0, 1e-8, 1e-8]]))
    value, _ = sparse_noise_loss(logits, paddle.to_tensor([1, 1]), paddle.ones([2]), 2.0, noise)
    pulls = np.abs(paddle.grad(value, logits)[0].numpy()).max(axis=1)
    assert pulls[0] > 0.4 and pulls[1] < 0.01
