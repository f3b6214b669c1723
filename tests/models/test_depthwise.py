"""Depthwise convolutions as matrix products: the result and both gradients of Paddle's own convolution."""

import copy

import numpy as np
import paddle
import pytest
from paddle import nn

import models
from models.depthwise import Conv2D, quicken
from models.depthwise_window import Window
from tests.helpers.networks import images, randomised

NETWORKS = ("EfficientNetLite0", "MobileNetV3_large")


def layer(channels, kernel, stride, padding, *, bias=False):
    paddle.seed(3)
    conv = nn.Conv2D(
        channels, channels, kernel, stride=stride, padding=padding, groups=channels, bias_attr=None if bias else False
    )
    if bias:
        conv.bias.set_value(paddle.arange(channels, dtype="float32"))
    quicken(nn.Sequential(conv))
    assert type(conv) is Conv2D
    return conv


def passed(forward, conv, maps, *, frozen=False):
    """Result, gradient of the maps, gradient of the weights; of a loss that weighs each value differently."""
    x = paddle.to_tensor(maps, stop_gradient=False)
    conv.weight.stop_gradient = frozen
    out = forward(x)
    (out * paddle.cos(paddle.arange(out.size, dtype="float32").reshape(out.shape))).sum().backward()
    found = out.numpy(), x.grad.numpy(), None if frozen else conv.weight.grad.numpy()
    conv.clear_gradients()
    conv.weight.stop_gradient = False
    return found


def close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-6 * np.abs(b).max() * max(1, np.sqrt(a.size) / 100))


@pytest.mark.parametrize("padding", ["SAME", 0, 1, 2, [1, 2], [0, 1, 2, 0]])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_result_and_gradients_are_paddles(kernel, stride, padding):
    conv = layer(3, kernel, stride, padding)
    rng = np.random.default_rng(0)
    for height, width, n in [(7, 7, 4), (8, 8, 5), (9, 14, 4), (14, 14, 64), (15, 13, 4), (28, 20, 4), (33, 41, 4),
                             (28, 28, 1), (112, 112, 1)]:  # fmt: skip
        maps = rng.normal(size=(n, 3, height, width)).astype("float32")
        close(passed(conv, conv, maps), passed(super(Conv2D, conv).forward, conv, maps))


@pytest.mark.parametrize(("side", "stride"), [(14, 1), (14, 2), (60, 1), (60, 2)])
def test_frozen_weights_a_bias_and_no_gradient(side, stride):
    conv = layer(4, 3, stride, 1, bias=True)
    maps = np.random.default_rng(1).normal(size=(4, 4, side, side)).astype("float32")
    ours, theirs = (passed(f, conv, maps, frozen=True) for f in (conv, super(Conv2D, conv).forward))
    close(ours[:2], theirs[:2])
    with paddle.no_grad():
        close([conv(paddle.to_tensor(maps)).numpy()], theirs[:1])
    x = paddle.to_tensor(maps)  # the first layer of what learns: its maps need no gradient
    conv(x).sum().backward()
    assert x.grad is None
    assert np.abs(conv.weight.grad.numpy()).max() > 0


def test_the_smallest_case_by_hand():
    conv = layer(2, 3, 1, 1)
    conv.weight.set_value(np.stack([np.zeros((1, 3, 3)), np.arange(9).reshape(1, 3, 3)]).astype("float32"))
    maps = np.zeros((4, 2, 7, 7), "float32")
    maps[2, 1, 6, 0] = 1  # a corner of one image: nothing may reach its neighbours in memory
    expected = np.zeros_like(maps)
    expected[2, 1, 5, 0], expected[2, 1, 5, 1], expected[2, 1, 6, 0], expected[2, 1, 6, 1] = 7, 6, 4, 3
    np.testing.assert_array_equal(conv(paddle.to_tensor(maps)).numpy(), expected)


@pytest.mark.parametrize("side", [7, 14, 60])
def test_the_same_bytes_twice_and_of_each_copy(side):
    conv = layer(8, 5, 1, "SAME")
    maps = np.random.default_rng(2).normal(size=(6, 8, side, side)).astype("float32")
    first = passed(conv, conv, maps)
    other = copy.deepcopy(conv)
    for again in (passed(conv, conv, maps), passed(other, other, maps)):
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_learns_the_same(name):
    """All depthwise convolutions of a network, in the evaluation's and in the training's gradients."""
    paddle.seed(4)
    ours = randomised(models.build(name, 3))
    quick = [each for each in ours.sublayers() if type(each) is Conv2D]
    assert len(quick) == {"EfficientNetLite0": 16, "MobileNetV3_large": 15}[name]
    assert not [
        each for each in ours.sublayers() if isinstance(each, nn.Conv2D) and each._groups > 1 and each not in quick
    ]
    found = []
    for kind in (Conv2D, nn.Conv2D):
        for each in quick:
            each.__class__ = kind
        ours.eval()
        logits = ours(images(48, 5))
        (logits * paddle.arange(15, dtype="float32").reshape([5, 3])).sum().backward()
        found.append([logits.numpy(), *(p.grad.numpy() for p in ours.parameters() if not p.stop_gradient)])
        ours.clear_gradients()
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-4 * np.abs(b).max() + 1e-30)


def test_recomputation_gives_the_same_gradients():
    found = []
    for recompute in (False, True):
        paddle.seed(6)
        network = models.build("EfficientNetLite0", 3, recompute=recompute)
        network(images(32, 4)).cos().sum().backward()
        found.append([p.grad.numpy() for p in network.parameters() if not p.stop_gradient])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_exported_program_has_paddles_operation(tmp_path):
    paddle.seed(5)
    conv = layer(4, 3, 1, "SAME")
    for kind in (Conv2D, nn.Conv2D):
        conv.__class__ = kind
        spec = [paddle.static.InputSpec([None, 4, 14, 14], "float32")]
        paddle.jit.save(paddle.jit.to_static(copy.copy(conv), spec, full_graph=True), str(tmp_path / kind.__module__))
    ours, theirs = ((tmp_path / f"{kind.__module__}.json").read_bytes() for kind in (Conv2D, nn.Conv2D))
    assert ours == theirs
    assert b"depthwise_conv2d" in ours


def test_only_what_is_quicker_is_another_form():
    def window(side, kernel, stride=1):
        return Window(
            side, side, (kernel,) * 2, (stride,) * 2, kernel // 2, kernel // 2, side // stride, side // stride
        )

    assert window(7, 5).is_quick and window(14, 3).is_quick and window(28, 5).is_quick
    assert not window(112, 3).is_quick and window(112, 3).can_turn
    assert not window(112, 3, 2).can_turn
    conv = nn.Conv2D(4, 8, 3, groups=4)
    quicken(nn.Sequential(conv))
    assert type(conv) is nn.Conv2D  # two results a channel
