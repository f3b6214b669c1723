"""Calibration: the right scale and biases are found, whatever was planted."""

import numpy as np
from scipy.special import softmax

from urnet.reweight.evidence.calibration import calibrate


def drawn(n, scale, bias, seed=0, n_classes=5):
    """Logits, and classes drawn from softmax(scale * logits + bias)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, n_classes)).astype(np.float32)
    p = softmax(scale * logits + bias, axis=1)
    classes = (p.cumsum(1) > rng.random((n, 1))).argmax(1)
    return logits, classes[:, None], np.ones((n, 1))


def test_the_planted_scale_and_biases_are_found():
    bias = np.array([1.0, -1.0, 0.5, 0.0, -0.5])
    found = calibrate(*drawn(60_000, 0.5, bias))
    assert abs(found.scale - 0.5) < 0.01
    np.testing.assert_allclose(found.bias - found.bias.mean(), bias, atol=0.05)


def test_few_rows_teach_no_bias():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20, 200)).astype(np.float32)
    found = calibrate(logits, rng.integers(0, 200, (20, 1)), np.ones((20, 1)))
    assert np.abs(found.bias).max() < 0.3


def test_soft_targets_count_by_their_probability():
    logits, index, _ = drawn(500, 0.7, np.zeros(5), seed=5)
    both = np.concatenate([index, (index + 1) % 5], 1)
    soft = calibrate(logits, both, np.tile([1.0, 0.0], (500, 1)))
    hard = calibrate(logits, index, np.ones((500, 1)))
    np.testing.assert_allclose([soft.scale, *soft.bias], [hard.scale, *hard.bias], atol=1e-6)


def test_a_class_that_cannot_be_has_no_probability():
    logits, index, weight = drawn(500, 1.0, np.zeros(5), seed=6)
    logits = np.concatenate([logits, np.full((500, 1), -np.inf, np.float32)], 1)
    found = calibrate(logits, index, weight)
    p = np.exp(found.apply(logits))
    assert (p[:, 5] == 0).all()
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)


def test_nothing_to_learn_from_changes_nothing():
    found = calibrate(np.zeros((4, 3)), np.zeros((4, 1), int), np.zeros((4, 1)))
    assert found.scale == 1
    assert (found.bias == 0).all()
