"""Dense targets from the table's top-k: against numpy, with smoothing, mixup and weights."""

import numpy as np
import paddle
import pytest

from urnet.nn.losses import soft_targets, sparse_targets


def dense(index, prob, n_classes):
    """One entry after another."""
    targets = np.zeros((len(index), n_classes))
    for row, (classes, values) in enumerate(zip(index, prob, strict=True)):
        for c, value in zip(classes, values, strict=True):
            targets[row, c] += value
    return targets


def stored(n=6, k=3, c=8, seed=0):
    rng = np.random.default_rng(seed)
    index = np.array([rng.permutation(c)[:k] for _ in range(n)]).astype(np.int32)
    return index, rng.dirichlet(np.ones(k), n).astype(np.float16)


def made(index, prob, c=8, smoothing=0.0):
    return sparse_targets(paddle.to_tensor(index), paddle.to_tensor(prob), c, smoothing)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_equals_a_plain_loop(kind, dtype):
    index, prob = stored()
    got = made(index.astype(kind), prob.astype(dtype))
    assert got.dtype == paddle.float32
    assert (got.numpy() == dense(index, prob, 8).astype(np.float32)).all()
    np.testing.assert_allclose(got.numpy().sum(1), 1, atol=2e-3)  # as exact as float16


def test_a_class_that_stands_twice_gets_the_sum():
    index, prob = np.array([[2, 2, 0], [1, 0, 0]]), np.array([[0.5, 0.25, 0.25], [1, 0, 0]], np.float32)
    assert (made(index, prob, 3).numpy() == [[0.25, 0, 0.75], [0, 1, 0]]).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_certain_rows_are_the_targets_of_the_labels(smoothing):
    labels = np.array([3, 0, 7])
    index, prob = np.stack([labels, labels * 0], 1), np.array([[1, 0]] * 3, np.float16)
    expected = soft_targets(paddle.to_tensor(labels), 8, smoothing).numpy()
    assert made(index, prob, smoothing=smoothing).numpy().tobytes() == expected.tobytes()
