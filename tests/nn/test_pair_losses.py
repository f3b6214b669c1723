"""Two networks beside each other: their mean, who teaches whom, and DivideMix's targets and loss, against NumPy."""

import numpy as np
import paddle
import pytest

from tests.helpers.train_step import Headed, Plain
from urnet.core.checks import InputError
from urnet.nn.pair import Pair, mean_logits
from urnet.nn.pair_losses import (
    co_teaching_loss,
    dividemix_loss,
    dividemix_targets,
    negative_entropy,
    sharpened,
    smallest,
)


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def drawn(n=12, c=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng, rng.normal(0, 2, (n, c)).astype(np.float32), rng.integers(0, c, n)


def t(array):
    return paddle.to_tensor(array)


# --- the pair


def test_a_pair_is_the_mean_of_both_softmaxes():
    pair = Pair(Plain(0), Plain(1))
    pair.feature_width = 8
    for each in (pair.first, pair.second):
        each.features = lambda x, each=each: paddle.nn.functional.relu(each.conv(x)).mean([2, 3])
    images = paddle.randn([4, 3, 8, 8])
    pair.eval()
    logits = pair(images).numpy()
    expected = (softmax(pair.first(images).numpy()) + softmax(pair.second(images).numpy())) / 2
    np.testing.assert_allclose(np.exp(logits), expected, atol=1e-6)
    np.testing.assert_allclose(pair.fc(pair.features(images)).numpy(), logits, atol=1e-6)
    far = np.array([[200.0, 0.0]], np.float32)  # no probability of 0, whose logarithm nobody could use
    assert np.isfinite(mean_logits(t(far), t(far)).numpy()).all()


def test_in_training_each_network_has_images_of_its_own():
    pair = Pair(Plain(0), Plain(1))
    images = paddle.randn([6, 3, 8, 8])
    first, second = pair(images)
    np.testing.assert_allclose(first.numpy(), pair.first(images[:3]).numpy(), atol=1e-6)
    np.testing.assert_allclose(second.numpy(), pair.second(images[3:]).numpy(), atol=1e-6)


def test_a_network_with_an_auxiliary_head_is_refused():
    with pytest.raises(InputError, match="auxiliary head"):
        Pair(Headed(), Headed())


# --- co-teaching


def test_the_smallest_values_are_chosen_the_earlier_of_equal_ones():
    np.testing.assert_array_equal(smallest(t(np.float32([3, 1, 2, 1, 1])), 2).numpy(), [0, 1, 0, 1, 0])
    np.testing.assert_array_equal(smallest(t(np.float32([3, 1])), 0).numpy(), [0, 0])


def by_hand(logits, labels, weight, rate, certain=None):
    losses = [-np.log(softmax(each.astype(np.float64))[np.arange(len(labels)), labels]) for each in logits]
    usable = np.flatnonzero(weight > 0)
    keep = max(int((1 - rate) * len(usable) + 1e-9), 1)
    chosen = []
    for loss in losses:
        rank = np.where(certain, -1.0, loss) if certain is not None else loss
        chosen.append(usable[np.argsort(rank[usable], kind="stable")][:keep])
    return sum(np.average(losses[k][chosen[1 - k]], weights=weight[chosen[1 - k]]) for k in (0, 1)), chosen


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.99])
def test_each_network_learns_from_the_rows_the_other_chose(rate):
    rng, first, labels = drawn()
    second, weight = rng.normal(0, 2, first.shape).astype(np.float32), rng.random(12).astype(np.float32)
    weight[3] = 0
    certain = np.arange(12) == 5
    for known in (None, certain):
        logits = t(first), t(second)
        for each in logits:
            each.stop_gradient = False
        loss = co_teaching_loss(logits, t(labels), t(weight), rate, None if known is None else t(known))
        expected, chosen = by_hand((first, second), labels, weight, rate, known)
        assert float(loss) == pytest.approx(expected, rel=1e-5)
        loss.backward()
        for k in (0, 1):
            moved = np.flatnonzero(np.abs(logits[k].grad.numpy()).sum(axis=1))
            assert moved.tolist() == sorted(chosen[1 - k].tolist())
        assert known is None or all(5 in rows for rows in chosen)


def test_without_a_readable_row_nothing_is_learned():
    _, logits, labels = drawn()
    assert float(co_teaching_loss((t(logits), t(logits)), t(labels), paddle.zeros([12]), 0.3)) == 0


# --- DivideMix


@pytest.mark.parametrize("temperature", [0.5, 0.05, 1.0])
def test_sharpening(temperature):
    p = softmax(drawn()[1])
    expected = p.astype(np.float64) ** (1 / temperature)
    found = sharpened(t(p), temperature).numpy()
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    tiny = sharpened(t(np.float32([[1e-30, 2e-30]])), 0.5).numpy()
    np.testing.assert_allclose(tiny, [[0.2, 0.8]], atol=1e-6)


def test_labels_are_refined_and_others_guessed():
    rng, logits, labels = drawn()
    own, both = softmax(logits), softmax(rng.normal(0, 1, logits.shape).astype(np.float32))
    clean = rng.random(12).astype(np.float32)
    labelled = clean > 0.5
    found = dividemix_targets(t(labels), t(clean), t(labelled), t(own), t(both), 0.5).numpy()
    for i in range(12):
        raw = clean[i] * np.eye(5)[labels[i]] + (1 - clean[i]) * own[i] if labelled[i] else both[i]
        np.testing.assert_allclose(found[i], raw**2 / (raw**2).sum(), atol=1e-5)


@pytest.mark.parametrize("share", [0.5, 0.0, 1.0])
def test_the_loss_of_mixed_rows(share):
    rng, logits, _ = drawn(n=20)
    targets = softmax(rng.normal(0, 1, logits.shape).astype(np.float32))
    there = np.arange(20) != 7
    labelled = there & (np.arange(20) < 20 * share)
    unlabelled = there & ~labelled
    p = softmax(logits.astype(np.float64))
    expected = 0.0
    if labelled.any():
        expected -= (targets * np.log(p))[labelled].sum(axis=1).mean()
    if unlabelled.any():
        expected += 25 * ((p - targets)[unlabelled] ** 2).mean()
    mean = p[there].mean(axis=0)
    expected += (0.2 * np.log(0.2 / mean)).sum()
    found = dividemix_loss(t(logits), t(targets), t(labelled), t(unlabelled), 25.0)
    assert float(found) == pytest.approx(expected, rel=1e-4)
    none = paddle.zeros([20], "bool")
    assert float(dividemix_loss(t(logits), t(targets), none, none, 25.0)) == pytest.approx(0, abs=1e-6)


def test_the_warm_up_s_term():
    rng, logits, _ = drawn()
    weight, p = rng.random(12).astype(np.float32), softmax(logits.astype(np.float64))
    assert float(negative_entropy(t(logits), t(weight))) == pytest.approx(
        (weight * (p * np.log(p)).sum(axis=1)).sum(), rel=1e-5
    )
