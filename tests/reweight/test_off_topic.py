"""Off-topic pictures: planted ones are found, few others are, whatever the size."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from urnet.core.checks import InputError
from urnet.reweight.off_topic import off_topic


def pictures(n=600, off=0, *, classes=4, d=64, seed=0):
    """Rows >= 0 around class centres, and ``off`` rows in directions of their own, at the end."""
    rng = np.random.default_rng(seed)
    centres = rng.gamma(0.5, size=(classes, d))
    labels = np.arange(n) % classes
    centres /= np.linalg.norm(centres, axis=1, keepdims=True) / 8  # classes are equally wide
    features = centres[labels] + 0.4 * rng.gamma(1.0, size=(n, d))
    others = rng.gamma(0.5, size=(off, d)) + 0.4 * rng.gamma(1.0, size=(off, d))
    return np.concatenate([features, others]).astype(np.float32), np.r_[labels, rng.integers(classes, size=off)]


def test_exact_values_against_plain_numpy():
    features, _ = pictures(40, 3, d=8)
    unit = features.astype(float) / np.linalg.norm(features.astype(float), axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -9)
    distance = 1 - np.sort(cosine, axis=1)[:, -10:].mean(axis=1)
    got = off_topic(features)
    np.testing.assert_allclose(got["distance"], distance, atol=1e-6)
    assert got["distance"].dtype == got["in_classes"].dtype == np.float32
    order = np.argsort(distance)
    assert (np.diff(got["in_classes"][order]) <= 1e-7).all()  # the farther, the less in the classes


@pytest.mark.parametrize("off", [30, 100])
def test_planted_ones_are_found_whatever_their_share(off):
    features, _ = pictures(600, off)
    got = off_topic(features)
    planted = np.arange(600 + off) >= 600
    assert roc_auc_score(planted, got["distance"]) > 0.99
    assert np.mean(got["in_classes"][planted] < 0.5) > 0.9
    assert np.mean(got["in_classes"][~planted] < 0.5) < 0.01


def test_few_are_flagged_where_there_are_none():
    features, _ = pictures(600)
    assert np.mean(off_topic(features)["in_classes"] < 0.5) < 0.03


def test_rows_and_group_names_may_be_permuted():
    features, labels = pictures(200, 10)
    groups = np.where(np.arange(210) < 20, np.arange(210) // 2, -1)
    one = off_topic(features, labels=labels, groups=groups)
    order = np.random.default_rng(1).permutation(210)
    other = off_topic(features[order], labels=labels[order], groups=np.where(groups >= 0, 50 - groups, -1)[order])
    np.testing.assert_allclose(other["in_classes"], one["in_classes"][order], atol=1e-5)
    parts = off_topic(features, groups=groups, block_cells=1000)
    np.testing.assert_allclose(parts["distance"], one["distance"], atol=1e-6)


def test_copies_of_an_off_topic_picture_do_not_vouch_for_each_other():
    features, _ = pictures(300, 1)
    features = np.concatenate([features, features[-1:].repeat(5, axis=0), features[-1:] * 1.01 + 0.001])
    copies = np.arange(300, 307)
    alone = off_topic(features, groups=np.where(np.arange(307) >= 300, 0, -1))
    assert (alone["in_classes"][copies] < 0.5).all()
    assert off_topic(features[:306])["in_classes"][300:].max() < 0.5  # equal rows need no group


@pytest.mark.parametrize(
    "features",
    [
        np.ones((1, 3), np.float32),
        np.ones((50, 3), np.float16),
        np.zeros((50, 3), np.float32),
        np.eye(30, 5, dtype=np.float32),
        -np.random.default_rng(0).random((19, 4)).astype(np.float32),
    ],
)
def test_rows_that_say_nothing_are_all_in_the_classes(features):
    got = off_topic(features)
    assert np.isfinite(got["distance"]).all() and (got["in_classes"] >= 0.5).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros(4)}, r"shape \(4,\)"),
        ({"features": np.zeros((0, 3))}, "neither 0"),
        ({"features": np.array([[0.0], [np.inf], [1], [1]])}, "row 1 has a value that is not"),
        ({"labels": np.zeros(3, int)}, "labels has 3"),
        ({"groups": np.zeros(3, int)}, "groups has 3"),
        ({"groups": np.zeros(4)}, "groups: a one-dimensional integer array"),
    ],
)
def test_bad_input(change, message):
    arguments = {"features": np.eye(4, 2), **change}
    with pytest.raises(InputError, match=message):
        off_topic(arguments.pop("features"), **arguments)
