"""tools/bench_density.py: both densities beside the literal version, peak memory, at a size of no cost."""

import argparse

import numpy as np
import pytest

from tools.speed import density
from urnet.baselines.kmeans_1d import kmeans_1d
from urnet.core.checks import InputError


def arguments(*words):
    parser = argparse.ArgumentParser()
    density.add_arguments(parser)
    return parser.parse_args(words)


def test_every_version_is_measured(monkeypatch):
    figures = density.measure(arguments("--rows", "300", "--width", "8", "--rounds", "1"))
    assert [figure.name for figure in figures] == [
        "density: count, 300 x 8",
        "density: gaussian, 300 x 8",
        "density: count, its own process",
        "density: peak memory of that process",
    ]
    assert all(figure.value > 0 for figure in figures)
    assert [figure.limit is not None for figure in figures] == [True, True, False, False]
    assert figures[3].value > 20
    monkeypatch.setattr(density, "LITERAL_ROWS", 299)
    monkeypatch.setattr(density, "_own_process", lambda *_: {"seconds": 1.0, "peak_mib": 2.0})
    figures = density.measure(arguments("--rows", "300", "--width", "8"))
    assert [(figure.limit, figure.limit_name) for figure in figures] == [(None, "")] * 4


def test_both_versions_find_the_same():
    features = density.make_features(400, 16)
    for kind in ("count", "gaussian"):
        got = density.run(features, kind)
        expected = density.literal(features, kmeans_1d, density=kind)
        assert got["subset"].tolist() == expected["subset"].tolist()
        np.testing.assert_allclose(got["density"], expected["density"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("words", [("--rows", "0"), ("--width", "0"), ("--rounds", "0")])
def test_nothing_to_measure_is_bad_input(words):
    with pytest.raises(InputError, match="1 or more"):
        density.measure(arguments(*words))
