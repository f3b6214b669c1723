"""What is drawn of a JPEG before it is decoded is what its view was made with; other files are not drawn."""

import struct

import cv2
import numpy as np
import pytest

from tests.helpers.picture_files import encode, kinds, picture, pillow, with_orientation
from urnet.config.recipe import Transform
from urnet.data.images.decode import UnreadableImage, decode
from urnet.data.images.drawn_view import SAME_COLOURS, drawn_view
from urnet.data.images.reduced_decode import train_view
from urnet.data.images.transforms import resize, train_transform


def made(drawn, size):
    """The view of what was drawn, without its colours."""
    top, left, height, width = drawn.box
    view = resize(decode(drawn.data, exif="ignore")[top : top + height, left : left + width], size, size)
    return cv2.flip(view, 1) if drawn.flip else view


@pytest.mark.parametrize("jitter", [0.0, 0.4])
@pytest.mark.parametrize("flip", [True, False])
def test_the_view_is_made_with_the_same_numbers(jitter, flip):
    transform = Transform(size=24, jitter=jitter, flip=flip)
    data, flips = encode(".jpg", picture(47, 61)), set()
    for seed in range(30):
        drawn = drawn_view(data, transform, np.random.default_rng(seed))
        expected = train_transform(decode(data), transform, np.random.default_rng(seed))
        view, (a, s, k) = made(drawn, 24).astype(np.float64), drawn.colours
        grey = view @ [0.299, 0.587, 0.114]
        view = a * view + s * grey[..., None] + k * grey.mean()
        assert np.abs(np.clip(view, 0, 255) - expected).max() <= (1.1 if jitter else 0)
        assert (drawn.colours == SAME_COLOURS) == (not jitter)
        flips.add(drawn.flip)
    assert flips == ({True, False} if flip else {False})


def test_large_images_are_those_that_are_decoded_at_a_part_of_their_size():
    transform = Transform(size=16)
    large, small = encode(".jpg", picture(120, 90)), encode(".jpg", picture(39, 90))
    answers = []
    for seed in range(20):
        drawn, plain = (drawn_view(large, transform, np.random.default_rng(seed), reduced=r) for r in (True, False))
        views = [train_view(large, transform, np.random.default_rng(seed), reduced=r) for r in (True, False)]
        assert drawn._replace(low_pass=False) == plain and not plain.low_pass
        assert drawn.low_pass == (not np.array_equal(*views))
        answers.append(drawn.low_pass)
        assert not drawn_view(small, transform, np.random.default_rng(seed)).low_pass
    assert {True, False} == set(answers)


def changed(data, marker, at, value):
    """A JPEG whose first segment of that kind has another byte there."""
    start = data.index(bytes([0xFF, marker])) + 4 + at
    return data[:start] + bytes([value]) + data[start + 1 :]


def with_adobe(data, transform):
    body = b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform)
    return data[:2] + b"\xff\xee" + struct.pack(">H", len(body) + 2) + body + data[2:]


def files():
    jpeg = encode(".jpg", picture())
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR
    return {
        "plain": (jpeg, True),
        "progressive": (kinds()["jpeg progressive"], True),
        "restart markers": (kinds()["jpeg restart"], True),
        "4:4:4": (encode(".jpg", picture(), sampling, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444), True),
        "4:1:1": (encode(".jpg", picture(), sampling, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411), True),
        "fill bytes": (jpeg[:2] + b"\xff\xff" + jpeg[2:], True),
        "Adobe, Y Cb Cr": (with_adobe(jpeg, 1), True),
        "Adobe, RGB": (with_adobe(jpeg, 0), False),
        "grey": (kinds()["jpeg grey"], False),
        "12 bits": (changed(jpeg, 0xC0, 0, 12), False),
        "rare sampling": (changed(jpeg, 0xC0, 10, 0x12), False),
        "turned": (with_orientation(encode(".jpg", picture()), 6), False),
        "PNG": (kinds()["png"], False),
        "WebP": (kinds()["webp"], False),
    }


@pytest.mark.parametrize("name", files())
def test_what_is_drawn_is_a_common_jpeg(name):
    data, common = files()[name]
    drawn = drawn_view(data, Transform(size=16), np.random.default_rng(0))
    assert (drawn is not None) == common


def test_four_colours_are_not_drawn():
    image = pytest.importorskip("PIL.Image").fromarray(picture()).convert("CMYK")
    assert drawn_view(pillow(image, "JPEG"), Transform(size=16), np.random.default_rng(0)) is None


def test_what_is_shown_as_stored_is_not_turned():
    turned, transform, rng = (
        with_orientation(encode(".jpg", picture()), 6),
        Transform(size=16),
        np.random.default_rng(0),
    )
    assert drawn_view(turned, transform, rng, exif="ignore") is not None
    assert drawn_view(with_orientation(encode(".jpg", picture()), 1), transform, rng) is not None


@pytest.mark.parametrize("damage", [lambda d: b"", lambda d: d[:-2], lambda d: b"x" + d])
def test_an_unreadable_file_says_why(damage):
    with pytest.raises(UnreadableImage):
        drawn_view(damage(encode(".jpg", picture())), Transform(size=16), np.random.default_rng(0))
    with pytest.raises(UnreadableImage, match="at most 100"):
        drawn_view(encode(".jpg", picture()), Transform(size=16), np.random.default_rng(0), max_pixels=100)
