"""A network's parameters as views of long vectors: who writes to one writes to the other, and bytes are as before."""

import numpy as np
import paddle
import pytest
from paddle import nn

from urnet.nn.flat_parameters import FlatParameters, trainable
from urnet.nn.optimizer import clip_gradients


def network():
    paddle.seed(0)
    return nn.Sequential(nn.Conv2D(3, 5, 3), nn.BatchNorm2D(5), nn.Flatten(), nn.Linear(5 * 36, 7))


def gradients(seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(p.shape).astype("float32") for name, p in trainable(network()).items()}


def with_gradients(net, values):
    for name, p in trainable(net).items():
        p.grad_ = paddle.to_tensor(values[name])


def test_a_parameter_stays_a_view_whoever_writes_to_it():
    net = network()
    before = {name: p.numpy() for name, p in trainable(net).items()}
    flat = FlatParameters(net)
    assert sorted(flat.named) == sorted(before) and [v.shape[0] for v in flat.vectors] == [5 * 27 + 180 * 7, 5 * 3 + 7]
    for one in flat.flats:
        for name, values in one.split(one.vector.numpy()).items():
            np.testing.assert_array_equal(values, before[name])
    net[3].weight.set_value(np.ones([180, 7], np.float32))
    net[0].weight.set_value(paddle.full([5, 3, 3, 3], 2.0))
    with paddle.no_grad():
        net[3].bias.copy_(paddle.full([7], 3.0), False)
    net.set_state_dict({"1.weight": paddle.full([5], 4.0)})
    found = {name: values for one in flat.flats for name, values in one.split(one.vector.numpy()).items()}
    for name, value in (("3.weight", 1), ("0.weight", 2), ("3.bias", 3), ("1.weight", 4)):
        assert (found[name] == value).all() and (flat.named[name] == value).all(), name
    with paddle.no_grad():
        flat.vectors[0].scale_(10.0)
    assert (net[3].weight == 10).all() and (net[0].weight == 20).all()


def test_arrays_go_through_a_vector_and_what_is_missing_is_0():
    flat, values = FlatParameters(network()), gradients()
    for one in flat.flats:
        again = one.split(one.join(values))
        assert again.keys() == one.named.keys() and all((again[name] == values[name]).all() for name in again)
        name = next(iter(one.named))
        assert (one.split(one.join({}))[name] == 0).all()


def test_gradients_are_gathered_and_a_missing_one_is_0():
    net, values = network(), gradients()
    flat = FlatParameters(net)
    with_gradients(net, values)
    net[3].bias.clear_gradient(False)
    flat.gather_gradients()
    found = {name: part for one in flat.flats for name, part in one.split(one.vector.grad.numpy()).items()}
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], 0 if name == "3.bias" else value)
    assert all(p.grad is None for p in flat.named.values())


@pytest.mark.parametrize("nesterov", [False, True])
def test_an_elementwise_step_has_the_bytes_of_one_parameter_at_a_time(nesterov):
    one, other = network(), network()
    flat = FlatParameters(other)

    def made(parameters):
        return paddle.optimizer.Momentum(0.1, 0.9, parameters, weight_decay=0.01, use_nesterov=nesterov)

    plain, joined = made(list(trainable(one).values())), made(flat.vectors)
    for step in range(4):
        for net in (one, other):
            with_gradients(net, gradients(step))
        flat.gather_gradients()
        for optimizer in (plain, joined):
            optimizer.step()
            optimizer.clear_grad(set_to_zero=False)
    for name, p in trainable(one).items():
        assert p.numpy().tobytes() == flat.named[name].numpy().tobytes(), name


def test_clipping_is_by_the_norm_of_all_and_of_each_network_of_a_pair():
    pair, values = nn.Layer(), gradients()
    pair.first, pair.second = network(), network()
    for net, factor in ((pair.first, 1.0), (pair.second, 1e-6)):
        with_gradients(net, {name: value * np.float32(factor) for name, value in values.items()})
    flat = FlatParameters(pair, pair=True, classifier_apart=True)
    flat.gather_gradients()
    assert [len(vectors) for vectors in flat.of_networks()] == [2, 2]  # no layer of these is called fc
    for vectors in flat.of_networks():
        clip_gradients(vectors, 0.5)
    norms = [np.sqrt(sum(float((v.grad**2).sum()) for v in vectors)) for vectors in flat.of_networks()]
    own = np.sqrt(sum((value**2).sum() for value in values.values()))
    np.testing.assert_allclose(norms, [0.5, own * 1e-6], rtol=1e-4)
