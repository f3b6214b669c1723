"""Near duplicates and leaks: what is planted is found, whatever was done to it, and nothing else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import urnet
from tests.helpers.near_pictures import cut, picture, recompressed, smaller, witnesses_of
from urnet.core.checks import InputError
from urnet.data.images.perceptual_hash import perceptual_hash, thumbnail
from urnet.reweight.evidence.nearest_pairs import UnitRows, nearest_pairs, second_nearest
from urnet.reweight.evidence.overlay import overlay

N = 60
COPIES = {
    "recompressed": lambda image: recompressed(image, 30),
    "smaller": lambda image: recompressed(smaller(image, 0.4), 75),
    "cut": lambda image: recompressed(smaller(cut(image, 0.04), 0.9), 75),
    "grey": lambda image: np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2),
    "mirrored": lambda image: image[:, ::-1].copy(),
    "equal": lambda image: image.copy(),
}


@pytest.fixture(scope="module")
def pictures():
    return [picture(seed) for seed in range(N)]


def test_one_copy_of_each_kind_is_found_and_nothing_else(pictures):
    images = [*pictures, *(make(pictures[7 * n]) for n, make in enumerate(COPIES.values()))]
    features, hashes, thumbnails = witnesses_of(images)
    group = urnet.near_duplicates(features, hashes, thumbnails=thumbnails)
    expected = np.full(len(images), -1)
    expected[[7 * n for n in range(len(COPIES))]] = expected[N:] = np.arange(len(COPIES))
    assert group.dtype == np.int32
    assert group.tolist() == expected.tolist()


@pytest.mark.parametrize("kind", COPIES)
def test_a_validation_picture_among_the_training_pictures_is_a_leak(pictures, kind):
    train, val = witnesses_of([*pictures[:40], COPIES[kind](pictures[50])]), witnesses_of(pictures[40:])
    found = urnet.leaks(*train[:2], *val[:2], thumbnails=train[2], val_thumbnails=val[2])
    assert found.dtype == np.int32
    assert found.tolist() == [-1] * 40 + [10]


def test_features_of_half_precision_and_any_order_give_the_same_groups(pictures):
    images = [*pictures, *(make(pictures[3 * n]) for n, make in enumerate(COPIES.values()))]
    features, hashes, thumbnails = witnesses_of(images)
    group = urnet.near_duplicates(features, hashes, thumbnails=thumbnails)
    assert np.array_equal(urnet.near_duplicates(features.astype(np.float16), hashes, thumbnails=thumbnails), group)
    order = np.random.default_rng(0).permutation(len(images))
    mixed = urnet.near_duplicates(features[order], hashes[order], thumbnails=thumbnails[order])
    together = group[order][:, None] == group[order]
    assert np.array_equal((mixed[:, None] == mixed) & (mixed >= 0), together & (group[order] >= 0))
    assert [k for n, k in enumerate(mixed) if k >= 0 and k not in mixed[:n]] == list(range(mixed.max() + 1))


@pytest.mark.parametrize("given", ["features", "hashes", "features and hashes", "hashes and thumbnails"])
def test_each_witness_alone_finds_a_recompressed_copy(pictures, given):
    features, hashes, thumbnails = witnesses_of([*pictures, recompressed(pictures[5], 60)])
    group = urnet.near_duplicates(
        features if "features" in given else None,
        hashes if "hashes" in given else None,
        thumbnails=thumbnails if "thumbnails" in given else None,
    )
    assert np.flatnonzero(group >= 0).tolist() == [5, N]


def test_many_copies_are_one_group(pictures):
    images = [*pictures, *(recompressed(pictures[4], quality) for quality in range(40, 80))]
    features, hashes, thumbnails = witnesses_of(images)
    group = urnet.near_duplicates(features, hashes, thumbnails=thumbnails)
    assert np.flatnonzero(group == 0).tolist() == [4, *range(N, N + 40)]
    assert group.max() == 0


def test_a_chain_of_pictures_of_which_only_neighbours_are_alike_is_cut():
    chain = [picture(1, 200, 200)[:, at : at + 100].copy() for at in range(0, 100, 4)]
    features, hashes, thumbnails = witnesses_of([*chain, *(picture(seed) for seed in range(2, 30))])
    group = urnet.near_duplicates(features, hashes, thumbnails=thumbnails)
    assert group[0] >= 0
    assert group[0] != group[len(chain) - 1]
    assert (group[len(chain) :] == -1).all()


def test_unreadable_and_black_pictures(pictures):
    black = np.zeros((50, 50, 3), np.uint8)
    features, hashes, thumbnails = witnesses_of([*pictures[:20], black, black, black + 90, black])
    features[[20, 21, 22]] = features[0] * 0 + [1.0, 0.5] * 24  # a network finds one-coloured pictures alike
    features[23], hashes[23] = 0, 0  # unreadable
    group = urnet.near_duplicates(features, hashes, thumbnails=thumbnails)
    assert np.flatnonzero(group >= 0).tolist() == [20, 21]
    assert perceptual_hash(black) == 0


def test_no_rows_one_row_and_no_copies(pictures):
    features, hashes, thumbnails = witnesses_of(pictures)
    assert urnet.near_duplicates(features[:0], hashes[:0]).tolist() == []
    assert urnet.near_duplicates(features[:1], hashes[:1]).tolist() == [-1]
    assert urnet.leaks(features, hashes, features[:0], hashes[:0]).tolist() == [-1] * N
    assert (urnet.near_duplicates(features, hashes, thumbnails=thumbnails) == -1).all()


def test_what_does_not_fit_is_refused(pictures):
    features, hashes, _ = witnesses_of(pictures[:5])
    with pytest.raises(InputError, match="features, hashes: found None"):
        urnet.near_duplicates(None, None)
    with pytest.raises(InputError, match="features has 5 rows but hashes has 4"):
        urnet.near_duplicates(features, hashes[:4])
    with pytest.raises(InputError, match=r"hashes: found int64 \(5,\)"):
        urnet.near_duplicates(features, hashes.astype(np.int64))
    with pytest.raises(InputError, match=r"features: found shape \(5,\)"):
        urnet.near_duplicates(features[:, 0], hashes)
    with pytest.raises(InputError, match="val_features: one is None"):
        urnet.leaks(features, hashes, None, hashes)
    with pytest.raises(InputError, match="48 columns but val_features has 47"):
        urnet.leaks(features, hashes, features[:, 1:], hashes)


@pytest.mark.parametrize("n_rows", [1, 5, 300])
@pytest.mark.parametrize("k", [1, 4])
def test_nearest_pairs_are_those_of_the_whole_matrix(n_rows, k):
    vectors = np.random.default_rng(n_rows).normal(0, 1, (n_rows, 3)).astype(np.float32)
    a = UnitRows(vectors)
    whole = a[:] @ a[:].T
    np.fill_diagonal(whole, -2)
    best = np.argsort(-whole, axis=1)[:, :k]
    wanted = {(min(i, j), max(i, j)) for i in range(n_rows) for j in best[i].tolist() if whole[i, j] >= 0.5}
    pairs, cosines = nearest_pairs(a, None, 0.5, k, block=(64, 100))
    assert {tuple(pair) for pair in pairs.tolist()} == wanted
    assert np.allclose(cosines, whole[pairs[:, 0], pairs[:, 1]], atol=1e-6)
    if n_rows > 2:
        rows = np.arange(0, n_rows, 2)
        assert np.allclose(second_nearest(a, rows, block=100), np.sort(whole[rows], axis=1)[:, -2], atol=1e-6)


def test_details_of_two_pictures_with_the_same_shades_do_not_fit():
    shades, one, two = (picture(seed).astype(int) for seed in (1, 2, 3))
    first, second = (np.clip(shades + (p - 128) // 3, 0, 255).astype(np.uint8) for p in (one, two))
    assert overlay(thumbnail(first), thumbnail(second)) < 0.9 < overlay(thumbnail(first), thumbnail(cut(first, 0.05)))
