"""The weighted cross entropy against Paddle's own, targets against numpy, mixup."""

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from urnet.nn.losses import soft_targets, sparse_targets, weighted_cross_entropy
from urnet.nn.mixup import Mixup

RNG = np.random.default_rng(0)


def batch(n=12, c=7, seed=0):
    rng = np.random.default_rng(seed)
    logits = paddle.to_tensor(3 * rng.standard_normal((n, c)).astype("float32"), stop_gradient=False)
    return logits, paddle.to_tensor(rng.integers(0, c, n)), rng.random(n).astype("float32")


def loss_of(logits, labels, weight, smoothing=0.0, total=None):
    targets = soft_targets(labels, logits.shape[1], smoothing) * paddle.to_tensor(weight).unsqueeze(1)
    return weighted_cross_entropy(logits, targets, float(weight.sum()) if total is None else total)


def gradient(value, logits):
    return paddle.grad(value, logits)[0].numpy()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_paddles_cross_entropy_and_its_gradient(smoothing):
    logits, labels, weight = batch()
    ours = loss_of(logits, labels, weight, smoothing)
    targets = F.label_smooth(F.one_hot(labels, 7), epsilon=smoothing)
    rows = F.cross_entropy(logits, targets, soft_label=True, reduction="none").squeeze(-1)
    theirs = (rows * paddle.to_tensor(weight)).sum() / float(weight.sum())
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)
    np.testing.assert_allclose(gradient(ours, logits), gradient(theirs, logits), atol=1e-6)


def test_smoothed_targets_by_hand():
    targets = soft_targets(paddle.to_tensor([2, 0]), 4, 0.2).numpy()
    np.testing.assert_allclose(targets, [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]], rtol=1e-6)
    assert (soft_targets(paddle.to_tensor([2]), 3).numpy() == [[0, 0, 1]]).all()


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_targets_of_the_tables_top_k_are_the_sums_of_their_entries(kind, dtype):
    index, prob = RNG.integers(0, 8, (6, 3)).astype(kind), RNG.dirichlet(np.ones(3), 6).astype(dtype)
    expected = np.zeros((6, 8), np.float32)
    np.add.at(expected, (np.arange(6)[:, None], index), prob)  # a class may be there twice
    got = sparse_targets(paddle.to_tensor(index), paddle.to_tensor(prob), 8, 0.0)
    assert got.dtype == paddle.float32
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_certain_rows_of_the_table_are_the_targets_of_the_labels(smoothing):
    labels = np.array([3, 0, 7])
    index, prob = np.stack([labels, labels * 0], 1), np.array([[1, 0]] * 3, np.float16)
    got = sparse_targets(paddle.to_tensor(index), paddle.to_tensor(prob), 8, smoothing)
    assert got.numpy().tobytes() == soft_targets(paddle.to_tensor(labels), 8, smoothing).numpy().tobytes()


def test_mixup_is_a_function_of_seed_stage_and_step():
    made = [Mixup(0.4, 16, seed=1, stage="a", step=5) for _ in range(2)]
    assert made[0].lam == made[1].lam
    assert (made[0].partner == made[1].partner).all()
    assert (np.sort(made[0].partner) == np.arange(16)).all()
    others = [{"seed": 2}, {"stage": "b"}, {"step": 6}]
    lams = {Mixup(0.4, 16, **{"seed": 1, "stage": "a", "step": 5, **other}).lam for other in others}
    assert len(lams | {made[0].lam}) == 4


def test_mixups_lambda_follows_the_beta_distribution():
    lams = np.array([Mixup(0.4, 2, seed=0, stage="a", step=step).lam for step in range(2000)])
    assert lams.mean() == pytest.approx(0.5, abs=0.03)
    assert lams.var() == pytest.approx(0.25 / (2 * 0.4 + 1), abs=0.015)  # of Beta(a, a)


def test_mixup_mixes_images_targets_and_weights_alike():
    mixup = Mixup(1.0, 4, seed=3, stage="a", step=0)
    images = RNG.integers(0, 256, (4, 2, 2, 3)).astype(np.uint8)
    weight = np.array([1, 2, 0, 0.5], "float32")  # row 2 could not be read
    targets = soft_targets(paddle.to_tensor([0, 1, 2, 1]), 3).numpy() * weight[:, None]
    lam, partner = mixup.lam, mixup.partner
    mixed = mixup.mix(paddle.to_tensor(images), paddle.to_tensor(images[partner])).numpy()
    np.testing.assert_allclose(mixed, lam * images.astype(float) + (1 - lam) * images[partner], rtol=1e-5)
    both = mixup.mix(paddle.to_tensor(targets), paddle.to_tensor(targets[partner])).numpy()
    assert both.sum() == pytest.approx(weight.sum(), rel=1e-6)  # so Σ w of the update is unchanged
    assert (both[:, 2] == 0).all()  # a row without weight lends no label
    logits = paddle.to_tensor(RNG.standard_normal((4, 3)).astype("float32"))
    log_p = F.log_softmax(logits).numpy()
    expected = sum(
        -lam * weight[i] * log_p[i] @ (targets[i] / max(weight[i], 1e-9))
        - (1 - lam) * weight[j] * log_p[i] @ (targets[j] / max(weight[j], 1e-9))
        for i, j in enumerate(partner)
    )
    got = weighted_cross_entropy(logits, paddle.to_tensor(both), float(weight.sum()))
    assert float(got) == pytest.approx(expected / weight.sum(), rel=1e-5)
