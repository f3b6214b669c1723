"""Random erasing: what is filled, how large it is, and that nothing else changes."""

from dataclasses import replace

import numpy as np

from tests.helpers.picture_files import picture
from urnet.config.recipe import Transform
from urnet.data.images.erasing import erase
from urnet.data.images.transforms import eval_transform, train_transform

MEAN = (0.2, 0.5, 0.8)
COLOUR = [51, 128, 204]  # of 0..255, the half to the even one
WHITE = np.full((40, 50, 3), 255, np.uint8)


def erased(seed, image=WHITE):
    return erase(image, MEAN, np.random.default_rng(seed))


def test_one_box_of_the_asked_size_is_filled_with_the_mean():
    shares, ratios, corners = [], [], set()
    for seed in range(500):
        filled = (erased(seed) == COLOUR).all(axis=-1)
        assert (erased(seed)[~filled] == 255).all()
        rows, columns = filled.any(axis=1).nonzero()[0], filled.any(axis=0).nonzero()[0]
        assert filled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        shares.append(filled.mean())
        ratios.append(len(columns) / len(rows))
        corners.add((rows[0], columns[0]))
    assert 0.015 < min(shares) < 0.03 and 0.31 < max(shares) < 0.35 and abs(np.mean(shares) - 0.175) < 0.01
    assert min(ratios) > 0.25 and max(ratios) < 4 and abs(np.mean(np.log(ratios))) < 0.1
    assert len(corners) > 300


def test_of_the_whole_training_view_that_share_is_erased_and_the_rest_is_as_without():
    image = picture(24, 24)
    kept = image.copy()
    plain = Transform(size=24, train="pad_crop", pad=0, mean=MEAN)
    n = 0
    for seed in range(400):
        got = train_transform(image, replace(plain, erasing=0.25), np.random.default_rng(seed))
        want = train_transform(image, plain, np.random.default_rng(seed))
        changed = (got != want).any(axis=-1)
        assert (got[changed] == COLOUR).all() and got.flags.c_contiguous
        n += changed.any()
    assert 70 < n < 130
    assert np.array_equal(image, kept)


def test_zero_is_off_one_is_always_and_evaluation_is_never():
    image, plain = picture(24, 24), Transform(size=24, trivial_augment=True)
    always = replace(plain, erasing=1.0, mean=(0.0, 0.0, 0.0))
    bright = np.maximum(image, 1)
    for seed in range(50):
        view = train_transform(bright, replace(always, trivial_augment=False), np.random.default_rng(seed))
        assert (view == 0).all(axis=-1).mean() > 0.01
    assert np.array_equal(eval_transform(image, always), eval_transform(image, Transform(size=24)))
