"""What every loss of a batch promises: rows without weight, parts of a batch, logits of any size."""

import numpy as np
import paddle
import pytest

from urnet.config.remedies import Loss
from urnet.nn.losses import bag_loss, soft_targets, weighted_cross_entropy
from urnet.nn.robust_losses import weighted_loss
from urnet.nn.sparse_noise import Noise, sparse_noise_loss


def of_targets(function, *settings):
    def loss(logits, labels, weight, total):
        targets = soft_targets(labels, logits.shape[1], 0.1) * weight.unsqueeze(1)
        return function(logits, targets, total, *settings)

    return loss


def of_bags(logits, labels, weight, total):
    return bag_loss(logits, labels, weight, total, size=4, label_smoothing=0.1, temperature=0.5)[0]


def of_noise(logits, labels, weight, total):
    n, some = logits.shape[0], paddle.full([logits.shape[0]], 0.3)
    noise = Noise(some, paddle.zeros([n, 1], "int64"), some.unsqueeze(1))
    return sparse_noise_loss(logits, labels, weight, total, noise)[0]


LOSSES = {
    "cross_entropy": of_targets(weighted_cross_entropy),
    "generalised": of_targets(weighted_loss, Loss("generalised", q=0.7)),
    "symmetric": of_targets(weighted_loss, Loss("symmetric", alpha=0.1, beta=1, log_zero=-4)),
    "bag": of_bags,
    "sop": of_noise,
}


def batch(n=24, c=7):
    """Logits, labels of whole bags, weights; the second row cannot be read, nor any of the second bag."""
    rng = np.random.default_rng(0)
    logits = paddle.to_tensor(3 * rng.standard_normal((n, c)).astype("float32"), stop_gradient=False)
    weight = rng.random(n).astype("float32")
    weight[1] = weight[4:8] = 0
    return logits, paddle.to_tensor(np.repeat(rng.integers(0, c, n // 4), 4)), paddle.to_tensor(weight)


def gradient(loss, logits):
    return paddle.grad(loss, logits)[0].astype("float32").numpy()


@pytest.mark.parametrize("loss_of", LOSSES.values(), ids=LOSSES)
def test_rows_without_weight_have_no_say(loss_of):
    logits, labels, weight = batch()
    total, unread = float(weight.sum()), weight.numpy() == 0
    loss = loss_of(logits, labels, weight, total)
    assert (gradient(loss, logits)[unread] == 0).all()
    changed = logits.numpy()
    changed[unread] = 1e4
    assert float(loss_of(paddle.to_tensor(changed), labels, weight, total)) == float(loss)
    nothing = loss_of(logits, labels, 0 * weight, 0.0)
    assert float(nothing) == 0
    assert (gradient(nothing, logits) == 0).all()


@pytest.mark.parametrize("loss_of", LOSSES.values(), ids=LOSSES)
def test_micro_batches_add_up_to_the_large_batch(loss_of):
    logits, labels, weight = batch()
    total = float(weight.sum())
    whole = loss_of(logits, labels, weight, total)
    cuts = (slice(0, 8), slice(8, 20), slice(20, 24))
    parts = sum(loss_of(logits[s], labels[s], weight[s], total) for s in cuts)
    assert float(parts) == pytest.approx(float(whole), rel=1e-6)
    np.testing.assert_allclose(gradient(parts, logits), gradient(whole, logits), atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("loss_of", LOSSES.values(), ids=LOSSES)
def test_extreme_logits_stay_finite_and_are_summed_in_float32(loss_of, dtype):
    logits = np.zeros((8, 3), dtype)
    logits[0, 0], logits[1:4, 1], logits[4:, 2] = 6e4, 6e4, 6e4
    logits = paddle.to_tensor(logits, stop_gradient=False)
    loss = loss_of(logits, paddle.zeros([8], "int64"), paddle.ones([8]), 8.0)
    assert loss.dtype == paddle.float32
    assert np.isfinite(float(loss))
    assert np.isfinite(gradient(loss, logits)).all()
