"""Several views of one image at test time, beside slow versions of their definitions."""

import cv2
import numpy as np
import pytest

from tests.helpers.picture_files import picture
from urnet.config.recipe import Transform
from urnet.core.answers import mean_answers
from urnet.data.images.multi_crop import MultiCrop
from urnet.data.images.transforms import eval_transform

SHAPES = [(36, 48), (48, 36), (101, 67), (32, 32), (33, 512), (1, 900)]


def at_short_side(image, scale):
    """The image with that short side, as OpenCV resizes it."""
    height, width = image.shape[:2]
    factor = scale / min(height, width)
    return cv2.resize(image, (round(width * factor), round(height * factor)))


def five(image, size):
    """The windows at the four corners and in the middle."""
    bottom, right = image.shape[0] - size, image.shape[1] - size
    places = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    return [image[top : top + size, left : left + size] for top, left in places]


def inception(image, size):
    """Szegedy et al. 2014, section 7, one scale: three squares, six views of each."""
    side, views = min(image.shape[:2]), []
    for share in (0, 1, 2):
        top = (image.shape[0] - side) * share // 2
        left = (image.shape[1] - side) * share // 2
        square = image[top : top + side, left : left + side]
        views += [*five(square, size), cv2.resize(square, (size, size))]
    return views


def mirrored_too(views):
    """Those, and their mirror images after them."""
    return np.stack([*views, *(view[:, ::-1] for view in views)])


@pytest.mark.parametrize("shape", SHAPES[:-1])
def test_views_are_the_windows_they_are_named_after(shape):
    image = picture(*shape)
    small, large = at_short_side(image, 28), at_short_side(image, 40)
    views = MultiCrop(24, (28, 40), 5)(image)
    np.testing.assert_array_equal(views, np.stack(five(small, 24) + five(large, 24)))
    np.testing.assert_array_equal(MultiCrop(24, (28,), 10)(image), mirrored_too(five(small, 24)))
    np.testing.assert_array_equal(MultiCrop(24, (28,), 5, flip=True)(image), mirrored_too(five(small, 24)))
    np.testing.assert_array_equal(MultiCrop(24, (40,), 1, flip=True)(image), mirrored_too(five(large, 24)[4:]))
    scales = (24, 28, 40, 51)
    expected = [view for scale in scales for view in inception(at_short_side(image, scale), 24)]
    np.testing.assert_array_equal(MultiCrop(24, scales, 144)(image), mirrored_too(expected))


@pytest.mark.parametrize("shape", SHAPES)
def test_one_crop_is_the_evaluation_s_view(shape):
    image = picture(*shape)
    short = eval_transform(image, Transform(size=24, eval="short", resize_short=28))
    np.testing.assert_array_equal(MultiCrop(24, (28,))(image), short[None])
    straight = eval_transform(image, Transform(size=24))
    np.testing.assert_array_equal(MultiCrop(24, ())(image), straight[None])
    np.testing.assert_array_equal(MultiCrop(24, (), flip=True)(image), mirrored_too([straight]))


@pytest.mark.parametrize("wrong", [((28,), 7), ((), 5), ((20,), 1), ((28, 30, 40), 144)])
def test_views_that_cannot_be_cut(wrong):
    with pytest.raises(ValueError, match=r"accepted|crops 144 needs four"):
        MultiCrop(24, *wrong)


@pytest.mark.parametrize("most", [1, 3, 4, 16])
def test_the_mean_is_over_an_image_s_own_views(most):
    views = np.random.default_rng(1).integers(0, 256, (3, 4, 2, 2, 3), np.uint8)
    sizes = []

    def probabilities(images):
        sizes.append(len(images))
        return images.reshape(len(images), -1)[:, :5].astype(np.float32)

    expected = [[np.mean([view.ravel()[c] for view in image]) for c in range(5)] for image in views]
    np.testing.assert_allclose(mean_answers(probabilities, views, most).probabilities, expected)
    assert max(sizes) <= most and sum(sizes) == 12
