"""tools/bench.py data: every figure is there, beside its limit, on a handful of images."""

import argparse

import cv2
import pytest

from tools.speed import data
from urnet.core.checks import InputError


def arguments(*words):
    parser = argparse.ArgumentParser()
    data.add_arguments(parser)
    return parser.parse_args(words)


def test_every_pipeline_is_measured_beside_its_limit():
    threads = cv2.getNumThreads()
    try:
        words = ["--images", "4", "--large", "2", "--rounds", "1", "--workers", "1", "2"]
        figures = data.measure(arguments(*words))
    finally:
        cv2.setNumThreads(threads)
    names = [f"{figure.name} {figure.limit_name}" for figure in figures]
    assert len(set(names)) == len(names) == 10
    for word in (
        "train",
        "jitter",
        "eval straight",
        "eval short",
        "32",
        "thread",
        "1 processes",
        "2000 x 1500",
        "all pixels",
        "2 x without",
        "2 x one",
    ):
        assert any(word in name for name in names), word
    assert all(figure.value > 0 and figure.limit > 0 for figure in figures)


def test_the_photographs_differ_and_have_the_stated_size(tmp_path):
    files = data.make_photographs(tmp_path, 4)
    images = [cv2.imread(file) for file in files]
    assert all(image.shape == (375, 500, 3) for image in images)
    assert len({image.tobytes() for image in images}) == 4
    (large,) = data.make_photographs(tmp_path / "large", 1, enlarged=4)
    assert cv2.imread(large).shape == (1500, 2000, 3)


@pytest.mark.parametrize("words", [("--images", "0"), ("--large", "0"), ("--rounds", "0"), ("--workers", "0")])
def test_nothing_to_measure_is_bad_input(words):
    with pytest.raises(InputError, match="1 or more"):
        data.measure(arguments(*words))
