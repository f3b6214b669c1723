"""TrivialAugment's operations beside slow ones in plain NumPy, as Pillow and torchvision define them."""

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.picture_files import picture
from urnet.config.recipe import Transform
from urnet.data.images.transforms import train_transform
from urnet.data.images.trivial_augment import OPERATIONS, STRENGTHS, operate, trivial_augment

SIZE = 24
GREY = np.array([0.299, 0.587, 0.114])


def pictures():
    noise = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    return [picture(SIZE, SIZE), noise, np.full((SIZE, SIZE, 3), 90, np.uint8), picture(SIZE, 17, seed=2) // 3 + 40]


def moved(image, source):
    """Of each pixel's centre (x, y) where ``source`` says it comes from; black outside."""
    height, width = image.shape[:2]
    out = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            u, v = (int(np.floor(value + 1e-7)) for value in source(x + 0.5, y + 0.5))
            if 0 <= u < width and 0 <= v < height:
                out[y, x] = image[v, u]
    return out


def turned(image, degrees):
    """Against the clock about the middle."""
    a, (h, w) = np.radians(degrees), np.array(image.shape[:2]) / 2
    return moved(
        image,
        lambda x, y: (w + np.cos(a) * (x - w) - np.sin(a) * (y - h), h + np.sin(a) * (x - w) + np.cos(a) * (y - h)),
    )


def away(image, anchor, factor):
    return np.clip(anchor + factor * (image - anchor), 0, 255)


def smooth(image):
    padded = np.pad(image.astype(float), ((1, 1), (1, 1), (0, 0)), mode="edge")
    shifted = [padded[i : i + image.shape[0], j : j + image.shape[1]] for i in range(3) for j in range(3)]
    inner = np.rint((sum(shifted) + 4.0 * image) / 13)
    out = image.astype(float)
    out[1:-1, 1:-1] = inner[1:-1, 1:-1]
    return out


def stretched(image):
    out = image.astype(float)
    for c in range(3):
        low, high = out[..., c].min(), out[..., c].max()
        if high > low:
            out[..., c] = (out[..., c] - low) * 255 / (high - low)
    return np.floor(out + 1e-9)


def evened(image):
    out = image.copy()
    for c in range(3):
        values = image[..., c]
        step = int((values < values.max()).sum()) // 255
        if step:
            for value in np.unique(values):
                out[values == value, c] = min(255, (step // 2 + int((values < value).sum())) // step)
    return out


SLOW = {  # with s from -1 to 1
    "identity": lambda image, s: image,
    "shear_x": lambda image, s: moved(image, lambda x, y: (x + 0.99 * s * y, y)),
    "shear_y": lambda image, s: moved(image, lambda x, y: (x, y + 0.99 * s * x)),
    "translate_x": lambda image, s: moved(image, lambda x, y: (x - np.trunc(round(32 * s, 9)), y)),
    "translate_y": lambda image, s: moved(image, lambda x, y: (x, y - np.trunc(round(32 * s, 9)))),
    "rotate": lambda image, s: turned(image, 135 * s),
    "brightness": lambda image, s: away(image, 0, 1 + 0.99 * s),
    "colour": lambda image, s: away(image, np.rint(image @ GREY)[..., None], 1 + 0.99 * s),
    "contrast": lambda image, s: away(image, np.rint(np.rint(image @ GREY).mean()), 1 + 0.99 * s),
    "sharpness": lambda image, s: away(image, smooth(image), 1 + 0.99 * s),
    "posterize": lambda image, s: image - image % 2 ** round(6 * s),
    "solarize": lambda image, s: np.where(image < 255 - 255 * s, image, 255 - image),
    "autocontrast": lambda image, s: stretched(image),
    "equalize": lambda image, s: evened(image),
}
NEAR = ("brightness", "colour", "contrast", "sharpness", "autocontrast")  # may differ by a grey level here and there
SIGNED = set(list(SLOW)[1:10])


@pytest.mark.parametrize("name", SLOW)
def test_an_operation_is_its_definition(name):
    for image in pictures():
        kept = image.copy()
        for strength in (0, 1, 7, 15, 20, 29, 28 if name == "rotate" else 30):  # 135 degrees: between pixels
            for negative in (False, True):
                got = operate(image, name, strength, negative=negative)
                want = SLOW[name](image, strength / 30 * (-1 if negative and name in SIGNED else 1))
                assert got.shape == image.shape and got.dtype == np.uint8
                difference = np.abs(got - np.floor(want + 1e-6))
                assert difference.max() <= (name in NEAR) and (difference > 0).mean() < 0.03, (strength, negative)
        assert np.array_equal(image, kept)


class Numbers:
    """A generator that gives the numbers from 0 on."""

    def __init__(self):
        self.next, self.ends = -1, set()

    def integers(self, end):
        self.next += 1
        self.ends.add(end)
        return self.next


def test_every_operation_strength_and_sign_is_drawn_equally_often():
    image, rng = pictures()[0], Numbers()
    got = [trivial_augment(image, rng).tobytes() for _ in range(len(SLOW) * STRENGTHS * 2)]
    assert rng.ends == {len(got)}  # one draw, of that many equal ones
    want = [
        operate(image, name, k, negative=sign).tobytes() for name in SLOW for k in range(31) for sign in (False, True)
    ]
    assert list(OPERATIONS) == list(SLOW) and sorted(got) == sorted(want)


def test_it_follows_crop_and_flip_and_costs_the_others_no_number():
    image = picture(SIZE, SIZE)
    plain = Transform(size=SIZE, train="pad_crop")
    same = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        want = trivial_augment(train_transform(image, plain, rng), rng)
        got = train_transform(image, replace(plain, trivial_augment=True), np.random.default_rng(seed))
        assert np.array_equal(got, want) and got.flags.c_contiguous
        same += np.array_equal(got, train_transform(image, plain, np.random.default_rng(seed)))
    assert same < 40  # identity, and what changes nothing at the mildest
