"""Published weights on real photographs, through the predictor that infer.py and the service use."""

import numpy as np
import pytest

import models
from tests.helpers.photographs import PHOTOGRAPHS, photograph
from urnet.checkpoints.published import published
from urnet.inference.image_predictor import load_predictor


@pytest.fixture(scope="module")
def predictor():
    weights = published("imagenet", "EfficientNetLite0")
    if weights.find() is None:
        pytest.skip(weights.missing())
    return load_predictor(weights.word, build=models.build)


@pytest.mark.parametrize("file", PHOTOGRAPHS)
def test_the_first_of_a_thousand_classes_is_right(predictor, file):
    path = photograph(file)
    if path is None:
        pytest.skip(f"{file.partition('/')[0]} is not installed: pip install -e '.[dev]'")
    assert {predictor.top([path]).names[0][0]} <= PHOTOGRAPHS[file]


def test_several_at_once_are_each_alone(predictor):
    paths = [path for path in map(photograph, PHOTOGRAPHS) if path is not None]
    together = predictor(paths)
    assert together.shape == (len(paths), 1000)
    np.testing.assert_allclose(together[-1:], predictor(paths[-1:]), rtol=1e-3, atol=1e-6)
