"""The moving average against plain numpy; recomputed batch-norm statistics; the raw weights come back."""

import numpy as np
import paddle
import pytest
from paddle import nn

from urnet.core.checks import InputError
from urnet.nn.ema import Ema, recompute_batch_norm
from urnet.nn.flat_parameters import FlatParameters


def network(seed=0):
    paddle.seed(seed)
    return nn.Sequential(
        nn.Conv2D(3, 4, 3, bias_attr=False),
        nn.BatchNorm2D(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(4 * 36, 5),
    )


def trainable(net):
    """Name and array of what is trained; Paddle counts batch norm's statistics among the parameters."""
    return {name: p.numpy() for name, p in net.named_parameters() if not p.stop_gradient}


def batches(n=3, seed=0):
    rng = np.random.default_rng(seed)
    return [paddle.to_tensor(rng.standard_normal((6, 3, 8, 8)).astype("float32") * (i + 1)) for i in range(n)]


def raw(net):
    return {name: value.numpy().tobytes() for name, value in net.state_dict().items()}


def shake(net, seed):
    """Put random numbers into every parameter and buffer."""
    rng = np.random.default_rng(seed)
    for value in net.state_dict().values():
        value.set_value(rng.random(value.shape).astype("float32"))


def test_follows_the_formula_with_the_ramp_of_the_first_updates():
    net = network()
    net[5].bias.stop_gradient = True  # frozen: not averaged
    average = {name: value.astype(np.float64) for name, value in trainable(net).items()}
    ema = Ema(FlatParameters(net), 0.3)
    for update in range(1, 9):
        shake(net, update)
        ema.update(update)
        decay = min(0.3, (1 + update) / (10 + update))
        for name, value in trainable(net).items():
            average[name] = decay * average[name] + (1 - decay) * value
    assert ema.decay_at(1) == pytest.approx(2 / 11)
    assert ema.decay_at(8) == 0.3
    got = ema.weights()
    assert set(got) == set(average)  # trainable parameters only: no batch-norm statistics
    for name, value in average.items():
        assert got[name].dtype == np.float32
        np.testing.assert_allclose(got[name], value, rtol=1e-5)


def test_saved_and_loaded_it_goes_on_with_the_same_bytes():
    net = network()
    flat = FlatParameters(net)
    first, second = Ema(flat, 0.9), Ema(flat, 0.9)
    for update in (1, 2):
        shake(net, update)
        first.update(update)
    second.load(first.weights())
    shake(net, 3)
    first.update(3)
    second.update(3)
    assert all(value.tobytes() == second.weights()[name].tobytes() for name, value in first.weights().items())
    with pytest.raises(InputError, match="names do not match the network"):
        second.load({"0.weight": np.zeros(3)})


def test_statistics_are_the_plain_average_over_the_batches():
    net, data = network(), batches()
    shake(net, 1)
    before = trainable(net)
    recompute_batch_norm(net, data)
    with paddle.no_grad():
        maps = [net[0](batch).numpy().astype(np.float64) for batch in data]
    mean = np.mean([m.mean((0, 2, 3)) for m in maps], axis=0)
    variance = np.mean([m.var((0, 2, 3)) for m in maps], axis=0)
    np.testing.assert_allclose(net[1]._mean.numpy(), mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(net[1]._variance.numpy(), variance, rtol=1e-4)
    assert all((value == before[name]).all() for name, value in trainable(net).items())
    assert net[1]._momentum == 0.9


def test_modes_come_back_and_dropout_stays_off():
    net = network()
    net.train()
    net[3].eval()
    seen = []
    net[3].register_forward_post_hook(lambda layer, inputs, out: seen.append((inputs[0] == out).all().item()))
    recompute_batch_norm(net, batches(1))
    assert seen == [True]
    assert [layer.training for layer in net] == [True, True, True, False, True, True]
    recompute_batch_norm(nn.Linear(2, 2), [])  # nothing to do, and no batch is asked for


def test_synchronised_batch_norm_is_recomputed_without_the_other_processes():
    """A process may have a batch less than the others, who would wait for it."""
    layers = nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4)
    expected = nn.Sequential(*layers)
    network = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4)))
    network.set_state_dict(expected.state_dict())
    data = [paddle.randn([2, 3, 8, 8]) for _ in range(3)]
    for one in (expected, network):
        recompute_batch_norm(one, data)
    assert type(network[1]) is nn.SyncBatchNorm
    for name, value in network.state_dict().items():
        assert (value == expected.state_dict()[name]).all(), name


def test_in_place_shows_the_averages_and_gives_every_byte_back():
    net, data = network(), batches()
    ema = Ema(FlatParameters(net), 0.5)
    shake(net, 1)
    ema.update(1)
    before = raw(net)
    with ema.in_place(net, data):
        assert all((value == ema.weights()[name]).all() for name, value in trainable(net).items())
        expected = network()
        for name, value in ema.weights().items():
            expected.state_dict()[name].set_value(value)
        recompute_batch_norm(expected, data)
        np.testing.assert_array_equal(net[1]._mean.numpy(), expected[1]._mean.numpy())
    assert raw(net) == before
    with pytest.raises(ZeroDivisionError), ema.in_place(net, data):
        raise ZeroDivisionError
    assert raw(net) == before


def test_the_averages_alone_may_stand_in_for_the_weights():
    """A batch goes through them with its own statistics; weights, statistics and momenta are as before."""
    net = network()
    ema = Ema(FlatParameters(net), 0.5)
    averages = ema.weights()
    shake(net, 3)
    before, x = raw(net), batches(1)[0]
    twin = network()
    twin.set_state_dict(net.state_dict())
    for name, p in twin.named_parameters():
        if not p.stop_gradient:
            p.set_value(averages[name])
    paddle.seed(1)
    expected = twin(x).numpy()
    paddle.seed(1)
    with ema.weights_in_place(net), paddle.no_grad():
        np.testing.assert_array_equal(net(x).numpy(), expected)
    assert raw(net) == before and net[1]._momentum == twin[1]._momentum
    with pytest.raises(ZeroDivisionError), ema.weights_in_place(net):
        raise ZeroDivisionError
    assert raw(net) == before
