"""A network with the channels last, wherever one is used: the same numbers as with the channels first."""

import numpy as np
import paddle
import pytest

import models
from tests.helpers.networks import randomised
from tests.helpers.train_step import stage, step_input
from urnet.config.recipe import Transform
from urnet.config.stage import Ema as EmaSettings
from urnet.features.forward import Forward
from urnet.inference.program import Engine, write_program
from urnet.nn.ema import recompute_batch_norm
from urnet.nn.fold_batch_norm import folded
from urnet.nn.normalise import Normalise
from urnet.nn.pair import Pair
from urnet.nn.trained_part import TrainedPart, kept_shape
from urnet.training.step import TrainState, train_step

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
FORMATS = ("NCHW", "NHWC")


def both(name="ResNet8_small32", **options):
    """A network in either layout, with the same weights."""
    paddle.seed(2)
    first = randomised(models.build(name, 5, **options))
    last = models.build(name, 5, data_format="NHWC", **options)
    assert last.set_state_dict({key: value.numpy() for key, value in first.state_dict().items()}) == ([], [])
    for network in (first, last):
        network.eval()
    return first, last


def images(n=3, size=16):
    return np.random.default_rng(3).integers(0, 256, (n, size, size, 3)).astype(np.uint8)


def same(found, expected, tolerance=1e-4):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape and np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_images_come_as_they_are():
    first, last = (Normalise(network, MEAN, STD) for network in both())
    shown = paddle.to_tensor(images())
    same(last(shown), first(shown))
    same(last.features(shown), first.features(shown))
    same(last.normalise(shown).transpose([0, 3, 1, 2]), first.normalise(shown))


def test_the_trained_part_takes_maps_that_either_kept():
    first, last = both()
    maps = first.front(Normalise(first, MEAN, STD).normalise(paddle.to_tensor(images()))).detach()
    for train in ("top", "classifier"):
        assert list(kept_shape(last, train, 16)) == list(kept_shape(first, train, 16))
    same(TrainedPart(last, "top")(maps), TrainedPart(first, "top")(maps))


def test_measured_columns_are_in_the_same_order():
    transform = Transform(size=16, mean=MEAN, std=STD)
    found = [Forward(network, transform, None, 3, True)(images()) for network in both()]
    for a, b in zip(*found, strict=True):
        same(b.astype("float32"), a.astype("float32"), 2e-3)  # features are float16


@pytest.mark.parametrize("output", ["probabilities", "front"])
def test_programs_fold_and_give_the_same(tmp_path, output):
    answers, pairs = [], []
    for data_format, network in zip(FORMATS, both(), strict=True):
        (tmp_path / data_format).mkdir()
        normalised = Normalise(network, MEAN, STD)
        with folded(normalised, paddle.to_tensor(images(1))) as n:
            pairs.append(n)
        write_program(normalised, 16, tmp_path / data_format, output=output)
        answers.append(Engine(tmp_path / data_format, threads=1)(images()))
    assert pairs[0] == pairs[1] > 0
    same(answers[1], answers[0])


def test_two_networks_at_once():
    firsts, lasts = both(), both()
    pairs = [Pair(firsts[0], lasts[0]), Pair(firsts[1], lasts[1])]
    shown = paddle.to_tensor(images(4))
    for mode in ("eval", "train"):
        found = []
        for pair in pairs:
            getattr(pair, mode)()
            found.append(Normalise(pair, MEAN, STD)(shown))
        for a, b in zip(*([part if isinstance(part, tuple) else (part,) for part in found]), strict=True):
            same(b, a)


def test_training_averaging_and_statistics():
    """Losses of three steps, the moving average, and the statistics that belong to it."""
    results = []
    for network in both(recompute=True):
        state = TrainState(network, stage(ema=EmaSettings(decay=0.5)), Transform(size=16, mean=MEAN, std=STD))
        losses = []
        for step in range(3):
            data = step_input(seed=step)
            outcome = train_step(state, data, 0.01, step)
            losses.append(float(outcome.loss))
        average = state.ema.weights()["stem.conv.weight"]
        recompute_batch_norm(network, [state.model.normalise(paddle.to_tensor(data.images))])
        results.append((losses, average, network.stem.bn._variance.numpy()))
    for a, b in zip(*results, strict=True):
        same(b, a, 1e-3)
