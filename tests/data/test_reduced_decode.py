"""Reduced decoding: what it may change, what it may not; size, orientation, box, nearness to all pixels."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.helpers.picture_files import encode, kinds, picture, with_orientation
from urnet.config.recipe import Transform
from urnet.data.images import reduced_decode
from urnet.data.images.decode import UnreadableImage, check_header, decode, decode_checked
from urnet.data.images.random_box import draw_box, random_resized_box
from urnet.data.images.reduced_decode import FINER, choose_reduction, train_view
from urnet.data.images.transforms import augment, resize, train_transform
from urnet.data.loading.loader import ImageSource, RowRandom

SMALL = Transform(size=16, flip=True, jitter=0.2)
PLAIN = replace(SMALL, flip=False, jitter=0.0)
WIDE = replace(PLAIN, scale=(0.01, 1.0))


def rng(seed=0):
    return np.random.default_rng(seed)


def full(data, transform, seed, **options):
    return train_transform(decode(data, **options), transform, rng(seed))


def reductions(data, transform, n=200):
    header = check_header(data)
    return [choose_reduction(draw_box(rng(seed)), header, transform) for seed in range(n)]


@pytest.mark.parametrize("name", kinds())
@pytest.mark.parametrize("size", [16, 32])
def test_small_images_and_other_kinds_are_byte_for_byte_what_they_were(name, size):
    transform = replace(SMALL, size=size)
    for seed in range(20):
        assert np.array_equal(train_view(kinds()[name], transform, rng(seed)), full(kinds()[name], transform, seed))


def test_nothing_is_reduced_where_it_is_switched_off_or_no_box_is_cut():
    data = encode(".jpg", picture(300, 400))
    for seed in range(10):
        assert np.array_equal(train_view(data, SMALL, rng(seed), reduced=False), full(data, SMALL, seed))
        padded = replace(SMALL, train="pad_crop")
        assert np.array_equal(train_view(data, padded, rng(seed)), full(data, padded, seed))
    assert not np.array_equal(train_view(data, SMALL, rng(1)), full(data, SMALL, 1))


@pytest.mark.parametrize("shape", [(500, 375), (375, 500), (559, 559), (2000, 559)])
def test_ordinary_web_images_are_never_reduced_at_224(shape, monkeypatch):
    data = encode(".jpg", picture(*shape))
    monkeypatch.setattr(reduced_decode, "choose_reduction", None)  # asking would fail
    assert np.array_equal(train_view(data, Transform(), rng(3)), full(data, Transform(), 3))


@pytest.mark.parametrize("shape", [(301, 403), (403, 301), (301, 301), (160, 2000)])
def test_the_reduction_is_the_largest_that_leaves_the_box_large_enough(shape):
    data = encode(".jpg", picture(*shape))
    least, seen = FINER * WIDE.size, set()
    for seed in range(300):
        draws = draw_box(rng(seed))
        n = choose_reduction(draws, check_header(data), WIDE)
        sides = [
            side.stop - side.start
            for height, width in (shape, shape[::-1])
            for side in random_resized_box(height, width, WIDE.scale, WIDE.ratio, rng(seed))
        ]
        good = [m for m in (1, 2, 4, 8) if m == 1 or min(sides) / m >= least]
        assert n == max(good)
        seen.add(n)
    assert len(seen) >= 3


def test_the_generator_gives_the_same_numbers_whatever_the_reduction():
    """So flip and colours, and whoever draws after, do not depend on how the file was decoded."""
    data = encode(".jpg", picture(300, 400))
    for seed in range(10):
        one, two = rng(seed), rng(seed)
        train_view(data, SMALL, one)
        train_view(data, SMALL, two, reduced=False)
        assert one.random() == two.random()


@pytest.mark.parametrize("n", [2, 4, 8])
@pytest.mark.parametrize("shape", [(64, 48), (65, 49), (71, 55), (1, 9)])
@pytest.mark.parametrize("name", ["baseline", "progressive", "grey"])
def test_a_reduced_image_has_each_side_divided_and_rounded_up(name, shape, n):
    rgb = picture(*shape)
    options = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1) if name == "progressive" else ()
    data = encode(".jpg", rgb[..., 0] if name == "grey" else rgb, *options)
    image = decode_checked(data, check_header(data), reduction=n)
    assert image.shape == (-(-shape[0] // n), -(-shape[1] // n), 3)
    assert image.dtype == np.uint8 and image.flags.c_contiguous
    mean = decode(data).astype(float).mean(axis=(0, 1))
    if shape == (64, 48):
        assert np.abs(image.astype(float).mean(axis=(0, 1)) - mean).max() < 5  # RGB, not BGR


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("exif", ["honour", "ignore"])
def test_every_orientation_shows_the_same_part_as_all_pixels_do(orientation, exif, progressive):
    """Smooth pictures; another part is 20 and more away. Where the sides are not multiples of 8, a turned
    image's filled-up blocks lie at its top or left, which shifts the view by a part of a pixel."""
    for shape, limit in (((304, 416), 4), ((301, 413), 7)):
        data = encode(".jpg", picture(*shape), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
        turned = with_orientation(data, orientation)
        assert max(reductions(turned, PLAIN)) == 8
        for seed in range(6):
            view = train_view(turned, PLAIN, rng(seed), exif=exif).astype(int)
            assert np.abs(view - full(turned, PLAIN, seed, exif=exif)).mean() < limit


def test_sides_that_could_not_be_told_apart_are_not_reduced():
    """303 and 304 are both 38 eighths, 76 quarters, 152 halves: the shape would not tell the orientation."""
    assert set(reductions(encode(".jpg", picture(303, 304)), PLAIN)) == {1}
    assert {8} < set(reductions(encode(".jpg", picture(304, 304)), PLAIN))
    told = set(reductions(encode(".jpg", picture(304, 305)), PLAIN))  # halves: 152 and 153, and so on
    assert {2, 4, 8} <= told


def test_the_view_is_the_box_of_the_reduced_image_rounded():
    data = encode(".jpg", picture(301, 413))
    for seed in range(20):
        n = choose_reduction(draw_box(rng(seed)), check_header(data), SMALL)
        generator = rng(seed)
        box = random_resized_box(301, 413, SMALL.scale, SMALL.ratio, generator)
        image = decode_checked(data, check_header(data), reduction=n)
        rows, columns = (slice(round(s.start / n), round(s.stop / n)) for s in box)
        expected = augment(resize(image[rows, columns], 16, 16), SMALL, generator)
        assert np.array_equal(train_view(data, SMALL, rng(seed)), expected)


def photograph(side=600):
    """Detail down to single pixels, falling off like a photograph's: energy 1 / frequency."""
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    noise = np.fft.fft2(rng(1).normal(0, 1, (side, side, 3)), axes=(0, 1))
    image = np.fft.ifft2(noise / np.maximum(frequencies, 1 / side)[..., None], axes=(0, 1)).real
    return np.clip(128 + 40 * image / image.std(), 0, 255).astype(np.uint8)


def test_the_reduced_view_is_nearer_to_the_mean_over_areas_than_the_full_one():
    """Bilinear reduction of all pixels looks at two of many in a row; the reduced image has seen them all."""
    data = encode(".jpg", photograph(), cv2.IMWRITE_JPEG_QUALITY, 95)
    transform, image, errors = replace(PLAIN, size=32), decode(data), []
    for seed in range(30):
        if choose_reduction(draw_box(rng(seed)), check_header(data), transform) > 1:
            box = random_resized_box(*image.shape[:2], transform.scale, transform.ratio, rng(seed))
            best = cv2.resize(image[box], (32, 32), interpolation=cv2.INTER_AREA).astype(int)
            views = (train_view(data, transform, rng(seed), reduced=reduced) for reduced in (True, False))
            errors.append([np.abs(view - best).mean() for view in views])
    reduced, full_size = np.mean(errors, axis=0)
    assert len(errors) > 20
    assert reduced < 0.7 * full_size


def test_bombs_and_files_without_their_end_are_refused_as_ever():
    data = encode(".jpg", picture(300, 400))
    with pytest.raises(UnreadableImage, match=r"x\.jpg: .*at most 119999 are accepted"):
        train_view(data, SMALL, rng(), max_pixels=119_999, name="x.jpg")
    with pytest.raises(UnreadableImage, match="cut off"):
        train_view(data[:-20], SMALL, rng())


def test_the_source_reduces_for_training_and_never_for_evaluation(tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(encode(".jpg", picture(300, 400)))

    def view(train, **options):
        return ImageSource(lambda row: str(file), SMALL, train=train, seed=5, **options)(3, 8)[0]

    assert np.array_equal(view(False), view(False, reduced=False))
    assert np.array_equal(view(True), train_view(file.read_bytes(), SMALL, RowRandom(5)(8, 3)))
    assert np.array_equal(
        view(True, reduced=False), train_transform(decode(file.read_bytes()), SMALL, RowRandom(5)(8, 3))
    )
    assert not np.array_equal(view(True), view(True, reduced=False))
