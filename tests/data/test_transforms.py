"""Transforms beside slow, obvious versions of their definitions; and what randomness may depend on."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from tests.helpers.picture_files import picture
from urnet.config.recipe import Transform
from urnet.data.images.random_box import random_resized_box
from urnet.data.images.transforms import colour_jitter, eval_transform, train_transform

PLAIN = Transform(size=24, flip=False)
FULL = (1.0, 1.0)


def bilinear(image, size):
    """Bilinear resizing with half-pixel centres, edges repeated; float64."""
    factors = (size[0] / image.shape[0], size[1] / image.shape[1], 1)
    return ndimage.zoom(image.astype(float), factors, order=1, mode="nearest", grid_mode=True)


@pytest.mark.parametrize("shape", [(36, 48), (100, 17), (24, 24), (7, 5), (1, 300)])
def test_straight_is_bilinear_to_a_square(shape):
    image = picture(*shape)
    view = eval_transform(image, PLAIN)
    assert view.shape == (24, 24, 3) and view.dtype == np.uint8
    assert np.abs(view - bilinear(image, (24, 24))).max() <= 1.01


@pytest.mark.parametrize("shape", [(36, 48), (48, 36), (101, 67), (32, 32), (33, 512)])
def test_short_is_the_centre_of_the_resized_image(shape):
    image = picture(*shape)
    view = eval_transform(image, replace(PLAIN, eval="short", resize_short=32))
    scale = 32 / min(shape)
    height, width = round(shape[0] * scale), round(shape[1] * scale)
    whole = bilinear(image, (height, width))
    top, left = int((height - 24) / 2), int((width - 24) / 2)
    assert np.abs(view - whole[top : top + 24, left : left + 24]).max() <= 1.01


@pytest.mark.parametrize("shape", [(1, 20000), (20000, 1), (3, 2000), (1, 1)])
def test_short_of_a_strip_shows_its_centre_and_stays_small(shape):
    long = max(shape)
    ramp = np.abs(np.arange(long) - (long - 1) / 2) < 1.5  # bright in the middle only
    line = np.repeat((ramp * 200).astype(np.uint8)[:, None], 3, axis=1)
    image = np.resize(line, (min(shape), long, 3)) if shape[0] < shape[1] else line[:, None]
    view = eval_transform(image, replace(PLAIN, eval="short", resize_short=32))
    assert view.shape == (24, 24, 3)
    assert view[12, 12].tolist() == [200, 200, 200]


def boxes(n, *args):
    """(n, 4): top, bottom, left and right of random boxes."""
    rng = np.random.default_rng(0)
    found = (random_resized_box(*args, rng) for _ in range(n))
    return np.array([(rows.start, rows.stop, columns.start, columns.stop) for rows, columns in found])


def test_boxes_have_the_asked_area_and_ratio_and_lie_inside():
    top, bottom, left, right = boxes(4000, 375, 500, (0.08, 1.0), (3 / 4, 4 / 3)).T
    assert (top >= 0).all() and (top < bottom).all() and (bottom <= 375).all()
    assert (left >= 0).all() and (left < right).all() and (right <= 500).all()
    areas, ratios = (bottom - top) * (right - left) / (375 * 500), (right - left) / (bottom - top)
    assert areas.min() > 0.079 and areas.max() <= 1
    assert ratios.min() > 0.745 and ratios.max() < 1.345


def test_area_and_log_ratio_are_uniform_where_every_box_fits():
    top, bottom, left, right = boxes(4000, 2000, 2000, (0.1, 0.5), (0.5, 2.0)).T
    for values, low, high in (
        ((bottom - top) * (right - left) / 2000**2, 0.1, 0.5),
        (np.log((right - left) / (bottom - top)), math.log(0.5), math.log(2)),
    ):
        shares = np.sort((values - low) / (high - low))
        assert np.abs(shares - (np.arange(4000) + 0.5) / 4000).max() < 0.03  # Kolmogorov-Smirnov, p ~ 0.001


def test_box_positions_are_uniform_and_reach_both_ends():
    top, bottom, left, _ = boxes(3600, 10, 10, (0.25, 0.25), FULL).T
    assert set(bottom - top) == {5}
    counts = np.bincount(6 * top + left, minlength=36)
    assert len(counts) == 36 and counts.min() > 60 and counts.max() < 150  # 100 each


@pytest.mark.parametrize(
    ("shape", "box"),
    [((1, 20000), (0, 1, 9999, 10000)), ((300, 10), (143, 156, 0, 10)), ((10, 300), (0, 10, 143, 156))],
)
def test_where_no_box_fits_the_centre_is_taken(shape, box):
    assert boxes(1, *shape, (0.9, 1.0), (3 / 4, 4 / 3)).tolist() == [list(box)]


def test_random_resized_crop_is_its_box_resized():
    image = picture(60, 80)
    view = train_transform(image, PLAIN, np.random.default_rng(5))
    rows, columns = random_resized_box(60, 80, PLAIN.scale, PLAIN.ratio, np.random.default_rng(5))
    assert np.abs(view - bilinear(image[rows, columns], (24, 24))).max() <= 1.01


@pytest.mark.parametrize("pad", [0, 1, 4, 23])
def test_pad_crop_is_a_window_of_the_mirrored_image(pad):
    settings = replace(PLAIN, train="pad_crop", pad=pad)
    image = picture(24, 24)
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    places = set()
    for seed in range(40):
        view = train_transform(image, settings, np.random.default_rng(seed))
        corners = np.argwhere((padded[: 2 * pad + 1, : 2 * pad + 1] == view[0, 0]).all(axis=-1))
        found = [(y, x) for y, x in corners if np.array_equal(padded[y : y + 24, x : x + 24], view)]
        assert found
        places.add(found[0])
    assert len(places) >= min(40, (2 * pad + 1) ** 2) * 0.5


def test_flip_mirrors_half_of_the_images():
    settings = replace(PLAIN, train="pad_crop", pad=0, flip=True)
    image = picture(24, 24)
    flipped = 0
    for seed in range(400):
        view = train_transform(image, settings, np.random.default_rng(seed))
        flipped += np.array_equal(view, image[:, ::-1])
        assert np.array_equal(view, image[:, ::-1]) or np.array_equal(view, image)
    assert 160 < flipped < 240


def slow_jitter(image, jitter, seed):
    """The three steps one after the other, in float64, as the docstring of colour_jitter defines them."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(3)
    factors = 1 + jitter * (2 * rng.random(3) - 1)
    x = image.astype(float)
    for step in order:
        f = factors[step]
        grey = x @ [0.299, 0.587, 0.114]
        anchor = [0, grey.mean(), grey[..., None]][step]
        x = anchor + f * (x - anchor)
    return np.clip(x, 0, 255)


@pytest.mark.parametrize("jitter", [0.1, 0.4, 0.95])
def test_colour_jitter_is_its_three_steps(jitter):
    image = picture(40, 50)
    for seed in range(30):
        got = colour_jitter(image, jitter, np.random.default_rng(seed))
        # coefficients to 1/1024, four of them, of values up to 255; then rounding
        assert np.abs(got - slow_jitter(image, jitter, seed)).max() <= 0.5 + 4 * 255 / 2048
        assert got.dtype == np.uint8


def test_colour_jitter_of_nothing_and_of_grey():
    image = picture(40, 50)
    assert np.array_equal(colour_jitter(image, 0.0, np.random.default_rng(0)), image)
    flat = np.full((4, 4, 3), 100, np.uint8)
    brightness = {int(colour_jitter(flat, 0.2, np.random.default_rng(seed)).mean()) for seed in range(200)}
    assert min(brightness) == 80 and 118 <= max(brightness) <= 120  # contrast and saturation leave it alone


@pytest.mark.parametrize("train", ["random_resized_crop", "pad_crop"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 20000), (2000, 1), (375, 500)])
def test_every_view_has_the_shape_and_one_state_gives_one_view(train, shape):
    settings = replace(PLAIN, train=train, flip=True, jitter=0.4)
    image = picture(*shape)
    kept = image.copy()
    one, two = (train_transform(image, settings, np.random.default_rng(3)) for _ in range(2))
    assert one.shape == (24, 24, 3) and one.dtype == np.uint8 and one.flags.c_contiguous
    assert np.array_equal(one, two)
    assert np.array_equal(image, kept)
    other = train_transform(image, settings, np.random.default_rng(4))
    assert min(shape) == 1 or not np.array_equal(one, other)
