"""The views that are measured: which there are, and what they make of an image."""

import numpy as np
import pytest

from urnet.features.views import MOST, View, views_of

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("flip", [True, False])
def test_views_begin_with_that_of_the_evaluation_and_none_comes_twice(flip):
    views = views_of(MOST[flip], 32, flip)
    assert views[0] == View() and len(set(views)) == len(views) == MOST[flip]
    assert any(view.mirrored for view in views) == flip
    assert all(views_of(n, 32, flip) == views[:n] for n in range(1, len(views)))
    for mirrored in {view.mirrored for view in views}:  # to no side farther than to the other
        assert sum(view.up for view in views if view.mirrored == mirrored) == 0
        assert sum(view.left for view in views if view.mirrored == mirrored) == 0
    assert {abs(view.up) for view in views} == {0, 2} and views_of(3, 8, False)[1] == View(False, 1, 1)


def test_a_view_is_the_image_mirrored_and_moved_and_its_border_repeated():
    assert np.array_equal(View().of(IMAGES), IMAGES)
    assert np.array_equal(View(True).of(IMAGES), IMAGES[:, :, ::-1])
    moved = View(False, 2, -3).of(IMAGES)
    padded = np.pad(IMAGES, ((0, 0), (3, 3), (3, 3), (0, 0)), mode="edge")
    assert np.array_equal(moved, padded[:, 5:37, 0:32])
    assert np.array_equal(View(True, 2, -3).of(IMAGES), View(False, 2, -3).of(IMAGES[:, :, ::-1]))
    assert moved.dtype == IMAGES.dtype and moved.flags.c_contiguous
