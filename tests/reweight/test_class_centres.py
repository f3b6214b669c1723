"""Where classes lie and whether something is near one: laws, and values worked out plainly."""

import numpy as np
import pytest

from urnet.core.checks import InputError
from urnet.reweight.class_centres import SHARE, ClassCentres, fit

D, C = 12, 4


@pytest.fixture
def rows():
    """Features (N, d) around a direction a class, their labels, and held-out ones (M, d)."""
    rng = np.random.default_rng(0)
    axes = np.eye(C, D) * 5
    labels = rng.permutation(np.repeat(np.arange(C), [40, 30, 20, 10]))
    features = (axes[labels] + rng.exponential(0.5, (100, D))).astype(np.float32)
    held_out = (axes[rng.integers(0, C, 200)] + rng.exponential(0.5, (200, D))).astype(np.float32)
    return features, labels, held_out


def test_the_centres_are_the_classes_means_and_the_score_is_the_formula(rows):
    features, labels, held_out = rows
    found = fit(features, labels, C, held_out)
    means = np.stack([features[labels == c].astype(np.float64).mean(axis=0) for c in range(C)])
    np.testing.assert_allclose(found.centres, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-6)
    cosine = max(held_out[3] @ mean / np.linalg.norm(mean) for mean in means) / np.linalg.norm(held_out[3])
    expected = 1 / (1 + np.exp((found.threshold - cosine) / found.scale))
    assert found.score(held_out)[3] == pytest.approx(expected, abs=1e-5)


def test_five_in_a_hundred_held_out_rows_are_below_a_half_and_what_points_elsewhere_too(rows):
    features, labels, held_out = rows
    found = fit(features, labels, C, held_out)
    scores = found.score(held_out)
    assert (scores < 0.5).mean() == pytest.approx(SHARE, abs=1 / len(held_out))
    assert np.median(scores) == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-3)
    elsewhere = np.roll(np.eye(C, D) * 5, C, axis=1) + 0.3
    assert found.score(elsewhere).max() < 0.01
    np.testing.assert_allclose(found.score(held_out * 7), scores, atol=1e-4)  # only the direction counts


def test_wrong_labels_and_a_missing_class(rows):
    features, labels, held_out = rows
    wrong = np.where(np.random.default_rng(1).random(len(labels)) < 0.3, (labels + 1) % C, labels)
    elsewhere = np.roll(np.eye(C, D) * 5, C, axis=1) + 0.3
    assert fit(features, wrong, C, held_out).score(elsewhere).max() < 0.05
    found = fit(features[labels != 2], labels[labels != 2], C, held_out)
    assert found.centres.shape == (C - 1, D)


def test_few_rows_and_none(rows):
    features, labels, held_out = rows
    same = fit(features[:1], labels[:1], C, features[:1])
    assert same.score(features[:1])[0] == pytest.approx(0.5, abs=1e-3) and np.isfinite(same.scale) and same.scale > 0
    assert np.isfinite(same.score(np.zeros((2, D), np.float32))).all()
    for arguments, message in (
        ((features, labels, C, held_out[:0]), "held_out: found no image"),
        ((features, labels, 3, held_out), "labels"),
        ((features[:5], labels, C, held_out), "features"),
        ((features * 0, labels, C, held_out), "no class has a centre"),
    ):
        with pytest.raises(InputError, match=message):
            fit(*arguments)
    with pytest.raises(InputError, match=r"features has shape \(3, 5\); \(rows, 12\) is accepted"):
        ClassCentres(same.centres, 0.5, 0.1).score(np.ones((3, 5)))
