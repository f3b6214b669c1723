"""For tests of networks: images, random statistics, plain computations to compare with, recomputation's law."""

import math

import numpy as np
import paddle
import paddle.nn.functional as F


def images(size, n=2, seed=0):
    return paddle.to_tensor(np.random.default_rng(seed).normal(size=(n, 3, size, size)).astype("float32"))


def built(construct):
    """What ``construct()`` builds, but large arrays repeat a block of He's normal: drawing a billion takes too long."""
    block = np.random.default_rng(0).normal(size=1_000_003).astype("float32")
    with paddle.LazyGuard():
        network = construct()
    for value in network.state_dict().values():
        if value._is_initialized():
            continue
        if value.size < 100_000:
            value.initialize()
            continue
        fan_in = value.shape[0] if value.ndim == 2 else math.prod(value.shape[1:])
        large = np.resize(block * np.float32(math.sqrt(2 / fan_in)), value.shape)
        value.get_tensor().set(large, paddle.CPUPlace())
    return network


def trainable(network):
    return {key: p for key, p in network.named_parameters() if not p.stop_gradient}


def count(construct):
    """Trainable parameters of what ``construct()`` builds, without memory for them or time to draw them."""
    with paddle.LazyGuard():
        return sum(int(p.size) for p in trainable(construct()).values())


def randomised(network, seed=0):
    """Random batch-norm statistics and biases: fresh ones are 0 and 1 and would hide that they are unused."""
    rng = np.random.default_rng(seed)
    for key, value in network.state_dict().items():
        if key.endswith("_variance"):
            value.set_value(rng.uniform(0.5, 2, value.shape).astype("float32"))
        elif len(value.shape) == 1:
            value.set_value((value.numpy() + rng.normal(0, 0.1, value.shape)).astype("float32"))
    return network


def scrambled(layer, seed, least_variance=0.5):
    """Random parameters and statistics in evaluation, of a scale at which every operation shows."""
    rng = np.random.default_rng(seed)
    for key, value in layer.state_dict().items():
        low = least_variance if key.endswith("_variance") else -1.0
        value.set_value(rng.uniform(low, 1.0, value.shape).astype("float32"))
    layer.eval()
    return layer


def plain_bn(x, bn, epsilon=1e-5):
    """A batch norm in evaluation over (B, C, H, W), in numpy and double precision."""
    mean, variance, gamma, beta = (
        v.numpy().astype("float64").reshape(-1, 1, 1) for v in (bn._mean, bn._variance, bn.weight, bn.bias)
    )
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def plain_conv(x, conv, stride=1, groups=1):
    """A convolution that keeps the size at stride 1, in numpy, one group after the other."""
    weight = conv.weight.numpy().astype("float64")
    pad = weight.shape[-1] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    parts = zip(np.split(windows, groups, axis=1), np.split(weight, groups), strict=True)
    y = np.concatenate([np.einsum("bihwyx,oiyx->bohw", part, w) for part, w in parts], axis=1)
    return y if conv.bias is None else y + conv.bias.numpy().reshape(-1, 1, 1)


def conv_bn(x, weight, norm, stride=1, groups=1):
    """Convolution that keeps the size at stride 1, and batch norm in evaluation, by functions.

    ``norm``: mean, variance, scale and offset, a tensor (C,) each.
    """
    x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
    mean, variance, scale, offset = (part.reshape([1, -1, 1, 1]) for part in norm)
    return (x - mean) / paddle.sqrt(variance + 1e-5) * scale + offset


def assert_close(found, expected, tolerance=1e-4):
    """The same shape, and within ``tolerance`` of the largest value, which is not next to nothing."""
    assert tuple(found.shape) == tuple(expected.shape)
    largest = np.abs(expected).max()
    assert largest > 1e-3
    assert np.abs(np.asarray(found) - np.asarray(expected)).max() / largest < tolerance


def on_this_process(monkeypatch):
    """Paddle's synchronised batch norms run, without CUDA, on the rows of this process."""

    def forward(norm, x):
        statistics = norm._mean, norm._variance, norm.weight, norm.bias
        return F.batch_norm(x, *statistics, norm.training, norm._momentum, norm._epsilon, norm._data_format)

    monkeypatch.setattr(paddle.nn.SyncBatchNorm, "forward", forward)


def assert_recomputation_changes_nothing(construct, inside, size=32):
    """``construct(recompute=…)`` trained on two batches, plain and recomputing: bit for bit the same.

    ``inside(network)``: a convolution in a unit and a batch norm beside it.
    """
    (plain, once), (again, twice) = (_trained(construct, inside, size, recompute) for recompute in (False, True))
    assert (once, twice) == (2, 4)  # it did compute again
    for key, value in plain.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), again.state_dict()[key].numpy(), err_msg=key)
    recomputed = trainable(again)
    for key, p in trainable(plain).items():
        assert np.abs(p.grad.numpy()).max() > 0, key
        np.testing.assert_array_equal(p.grad.numpy(), recomputed[key].grad.numpy(), err_msg=key)
    assert inside(again)[1]._momentum == 0.9


def _trained(construct, inside, size, recompute):
    paddle.seed(3)
    network, calls = construct(recompute=recompute), []
    inside(network)[0].register_forward_post_hook(lambda *_: calls.append(1))
    for seed in (0, 1):  # two batches, so that wrong running statistics would show in the second too
        outputs = network(images(size, 4, seed))
        heads = outputs if isinstance(outputs, tuple) else (outputs,)
        sum(F.cross_entropy(logits, paddle.to_tensor([0, 1, 2, 3])) for logits in heads).backward()
    return network, len(calls)
