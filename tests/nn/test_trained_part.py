"""The part of a network that is trained behind kept activations: what learns, and what stays."""

import numpy as np
import paddle
import pytest
from paddle.distributed.fleet.utils.log_util import logger

import models
from tests.helpers.networks import built
from urnet.nn.trained_part import TrainedPart, kept_shape


@pytest.fixture(params=[False, True], ids=["plain", "recomputed"])
def network(request):
    """With statistics that are none of a new batch norm's."""
    paddle.seed(4)
    made = built(lambda: models.build("ResNet8_small32", 5, recompute=request.param))
    for layer in made.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            layer._mean.set_value(0.1 * paddle.randn(layer._mean.shape))
            layer._variance.set_value(paddle.rand(layer._variance.shape) + 0.5)
    return made


def loss_of(logits):
    return paddle.nn.functional.cross_entropy(logits, paddle.to_tensor([0, 1, 2]))


def gradients(network):
    return {name: p.grad.numpy() for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("train", "front"), [("classifier", "features"), ("top", "front")])
def test_gradients_are_those_of_the_whole_network_in_evaluation(network, train, front, caplog):
    images = paddle.rand([3, 3, 16, 16])
    logger.addHandler(caplog.handler)
    network.eval()
    loss_of(network(images)).backward()
    whole = gradients(network)
    network.clear_gradients(set_to_zero=False)
    before = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    kept = getattr(network, front)(images).detach()
    assert list(kept.shape[1:]) == list(kept_shape(network, train, 16))
    part = TrainedPart(network, train)
    part.train()
    loss_of(part(kept)).backward()
    found = gradients(network)
    learns = [name for name in whole if name.startswith("fc.") or (train == "top" and name.startswith("units.2."))]
    assert sorted(found) == sorted(learns) == sorted(n for n, p in network.named_parameters() if not p.stop_gradient)
    for name in learns:
        np.testing.assert_allclose(found[name], whole[name], atol=1e-6, err_msg=name)
    for name, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name], err_msg=name)
    logger.removeHandler(caplog.handler)
    assert not caplog.records


def test_it_computes_what_the_network_does(network):
    images = paddle.rand([3, 3, 16, 16])
    network.eval()
    with paddle.no_grad():
        for train, front in (("classifier", "features"), ("top", "front")):
            part = TrainedPart(network, train)
            part.eval()
            kept = getattr(network, front)(images)
            np.testing.assert_array_equal(part(kept).numpy(), network(images).numpy())
            np.testing.assert_array_equal(part.features(kept).numpy(), network.features(images).numpy())
            half = part(kept.astype("float16")).numpy()
            np.testing.assert_allclose(half, network(images).numpy(), atol=0.02)
