"""Toys for tests of networks: images, statistics unlike a fresh network's, and recomputation's law."""

import numpy as np
import paddle
import paddle.nn.functional as F


def images(size, n=2, seed=0):
    return paddle.to_tensor(np.random.default_rng(seed).normal(size=(n, 3, size, size)).astype("float32"))


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
