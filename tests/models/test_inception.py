"""Inception-v4, Inception-ResNet-v2 and the parts of both: sizes, counts, exact answers on small cases."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

import models
from models.inception import Branches, Inception, average_pool, chain
from models.inception_resnet_v2 import Residual
from tests.helpers.networks import assert_recomputation_changes_nothing, images
from urnet.core.checks import InputError

N_CLASSES = 7
NAMES = ("InceptionV4", "InceptionResNetV2")


def shapes_of(name, size):
    network, found = models.build(name, N_CLASSES), []
    for unit in network.units:
        unit.register_forward_post_hook(lambda _, __, out: found.append((out.shape[1], out.shape[2])))
    network.eval()
    with paddle.no_grad():
        assert network(images(size, 1)).shape == [1, N_CLASSES]
    return network, found


def test_shapes_of_inception_v4():
    _, found = shapes_of("InceptionV4", 299)
    stem = [(64, 147), (160, 73), (192, 71), (384, 35)]
    assert found == [*stem, *[(384, 35)] * 4, *[(1024, 17)] * 8, *[(1536, 8)] * 4]


def test_shapes_and_scales_of_inception_resnet_v2():
    network, found = shapes_of("InceptionResNetV2", 299)
    stem = [(64, 147), (192, 71), (320, 35)]
    assert found == [*stem, *[(320, 35)] * 10, *[(1088, 17)] * 21, *[(2080, 8)] * 11, (1536, 8)]
    units = [unit for unit in network.units if isinstance(unit, Residual)]
    assert [unit.scale for unit in units] == [0.17] * 10 + [0.1] * 20 + [0.2] * 9 + [1.0]
    assert [unit.relu for unit in units] == [True] * 39 + [False]


@pytest.mark.parametrize("name", NAMES)
def test_batch_norm(name):
    with paddle.LazyGuard():
        network = models.build(name, N_CLASSES)
    norms = [layer for layer in network.sublayers() if isinstance(layer, paddle.nn.BatchNorm2D)]
    assert {norm._epsilon for norm in norms} == {1e-3}


# -------------------------------------------------------------------------------------------- the parts


def test_the_average_pool_keeps_a_constant_up_to_the_border():
    ones = paddle.ones([1, 2, 5, 4])
    np.testing.assert_allclose(average_pool()(ones).numpy(), ones.numpy(), rtol=1e-6)


def test_branches_lie_side_by_side_in_their_order():
    x = images(4, 1)
    found = Branches(paddle.nn.Identity(), paddle.nn.Tanh(), paddle.nn.ReLU())(x)
    expected = np.concatenate([x.numpy(), paddle.tanh(x).numpy(), np.maximum(x.numpy(), 0)], axis=1)
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize(("relu", "expected"), [(True, [2.5, 0.0]), (False, [2.5, -5.0])])
def test_a_residual_unit(relu, expected):
    unit = Residual(2, 2, 0.5, Branches(paddle.nn.Identity()), relu=relu)
    unit.projection.weight.set_value(np.float32([[2, 0], [0, -4]]).reshape(2, 2, 1, 1))
    unit.projection.bias.set_value(np.float32([1, 0]))
    x = paddle.to_tensor(np.float32([1, 5]).reshape(1, 2, 1, 1))
    # 1 + 0.5 (2 * 1 + 1) and 5 + 0.5 (-4 * 5)
    np.testing.assert_array_equal(unit(x).numpy().ravel(), np.float32(expected))


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_image(name):
    network = models.build(name, N_CLASSES)
    network.eval()
    with paddle.no_grad():
        assert network.features(images(75, 1)).shape == [1, 1536]
        with pytest.raises(InputError, match="images: 75 x 74 pixels; 75 or more are accepted"):
            network.features(images(75, 1)[:, :, :, 1:])


def test_the_smallest_image_is_known_to_an_export_too():
    network = Inception(N_CLASSES, [chain(3, (4, 3))], 4, least_size=9)
    network.eval()
    for sides, refused in (([None, None], False), ([9, None], False), ([None, 8], True)):
        spec = paddle.static.InputSpec([None, 3, *sides], "float32")
        static = paddle.jit.to_static(network, input_spec=[spec], full_graph=True)
        if refused:
            with pytest.raises(InputError, match="-1 x 8 pixels; 9 or more are accepted"):
                static.forward.concrete_program  # noqa: B018
        else:
            with paddle.no_grad():
                np.testing.assert_allclose(static(images(9, 1)).numpy(), network(images(9, 1)).numpy(), rtol=1e-5)


def small_residual(recompute):
    """A unit of Inception-ResNet between two chains."""
    unit = Residual(4, 6, 0.3, Branches(chain(4, (2, 1)), chain(4, (2, 1), (4, (1, 3)))))
    return Inception(N_CLASSES, [chain(3, (4, 3)), unit, chain(4, (5, 1))], 5, recompute=recompute)


def test_recomputation():
    assert_recomputation_changes_nothing(
        small_residual,
        lambda network: (network.units[1].branches.branches[1][1].conv, network.units[1].branches.branches[1][1].bn),
    )
