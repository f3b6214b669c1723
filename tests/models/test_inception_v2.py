"""models/inception_v2.py: the paper's table counted by hand, and an independent forward pass on it."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

import models
from tests.helpers.networks import count, images

N_CLASSES = 7
# Figure 5 of the batch-norm paper, a row a module: channels out, then its columns. "-": there is none.
FIGURE_5 = """
3a  256   64  64  64  64  96  avg 32
3b  320   64  64  96  64  96  avg 64
3c  576    -  128 160 64  96  max -
4a  576   224 64  96  96  128 avg 128
4b  576   192 96  128 96  128 avg 128
4c  576   160 128 160 128 160 avg 96
4d  576   96  128 192 160 192 avg 96
4e  1024   -  128 192 192 256 max -
5a  1024  352 192 320 160 224 avg 128
5b  1024  352 192 320 192 224 max 128
"""
ROWS = [line.split() for line in FIGURE_5.split("\n") if line]


def number(text):
    return 0 if text == "-" else int(text)


def convolutions(rows, kernels=((7, 64),)):
    """Name -> (out, in, kernel) of every convolution, by hand from the table; the names are the test's."""
    found = {f"stem{k}": (n, 3, k) for k, n in kernels}
    found |= {"reduce": (64, 64, 1), "conv": (192, 64, 3)}
    n_in = 192
    for name, n_out, a, b, c, d, e, _, pool in rows:
        a, b, c, d, e, pool = map(number, (a, b, c, d, e, pool))
        columns = {"1": (a, n_in, 1), "3r": (b, n_in, 1), "3": (c, b, 3)}
        columns |= {"dr": (d, n_in, 1), "d1": (e, d, 3), "d2": (e, e, 3), "pool": (pool, n_in, 1)}
        found |= {f"{name}/{key}": shape for key, shape in columns.items() if shape[0]}
        assert a + c + e + (pool or n_in) == number(n_out)
        n_in = number(n_out)
    return found


def by_hand(shapes, bias=0):
    """Convolutions, gamma and beta of each, and the classifier of 1,000 classes."""
    return sum(out * n_in * k * k + (2 + bias) * out for out, n_in, k in shapes.values()) + 1024 * 1000 + 1000


def test_the_paper_and_the_caffe_port_by_the_same_count():
    """With the port's two differences the hand count gives the port's known size: the table is right."""
    port = [list(row) for row in ROWS]
    for row, n_out in ((port[5], "608"), (port[6], "608"), (port[7], "1056")):
        row[1] = n_out
    port[5][-1] = port[6][-1] = "128"
    assert by_hand(convolutions(port), bias=1) == 11_295_240
    assert by_hand(convolutions(ROWS)) == 11_194_984


@pytest.mark.parametrize(
    ("name", "kernels"), [("InceptionV2", ((7, 64),)), ("InceptionV2_multiscale", ((5, 32), (9, 32)))]
)
def test_parameters_of_inception_v2(name, kernels):
    assert count(lambda: models.build(name, 1000)) == by_hand(convolutions(ROWS, kernels))


def keys(kernels):
    """The test's names -> our names."""
    stems = ["units.0.0"] if len(kernels) == 1 else ["units.0.0.branches.0", "units.0.0.branches.1"]
    found = {f"stem{k}": stem for (k, _), stem in zip(kernels, stems, strict=True)}
    found |= {"reduce": "units.1.0.0", "conv": "units.1.0.1"}
    for i, row in enumerate(ROWS):
        at = [f"units.{2 + i}.branches.{j}" for j in range(4)]
        if row[2] == "-":  # no 1x1: the others move up
            at = [None, *at[:3]]
        places = {"1": f"{at[0]}.0", "3r": f"{at[1]}.0", "3": f"{at[1]}.1"}
        places |= {"dr": f"{at[2]}.0", "d1": f"{at[2]}.1", "d2": f"{at[2]}.2", "pool": f"{at[3]}.1.0"}
        found |= {f"{row[0]}/{key}": place for key, place in places.items()}
    return found


def random_variables(kernels):
    """Random variables at which activations neither vanish nor explode."""
    rng, variables = np.random.default_rng(0), {}
    for name, (n_out, n_in, k) in convolutions(ROWS, kernels).items():
        variables[name, "conv.weight"] = rng.normal(size=(n_out, n_in, k, k)) * np.sqrt(2 / (n_in * k * k))
        variables[name, "bn.weight"] = 1 + 0.1 * rng.normal(size=n_out)
        variables[name, "bn.bias"] = 0.1 * rng.normal(size=n_out)
        variables[name, "bn._mean"] = 0.1 * rng.normal(size=n_out)
        variables[name, "bn._variance"] = 0.5 + np.abs(rng.normal(size=n_out))
    return {key: paddle.to_tensor(value.astype("float32")) for key, value in variables.items()}


def independent_features(v, kernels, x):
    """The table's features, functions only. The stem is one 9x9 convolution: smaller kernels lie inside."""

    def normalised(x, name):
        mean, variance, scale, offset = (
            v[name, f"bn.{part}"].reshape([1, -1, 1, 1]) for part in ("_mean", "_variance", "weight", "bias")
        )
        return F.relu((x - mean) / paddle.sqrt(variance + 1e-5) * scale + offset)

    def conv(x, name, stride=1):
        w = v[name, "conv.weight"]
        return normalised(F.conv2d(x, w, stride=stride, padding=w.shape[-1] // 2), name)

    def halved(x):
        return F.max_pool2d(x, 3, stride=2, padding=1)

    stems = [F.pad(v[f"stem{k}", "conv.weight"], [(9 - k) // 2] * 4) for k, _ in kernels]
    outputs = F.conv2d(x, paddle.concat(stems), stride=2, padding=4).split([n for _, n in kernels], axis=1)
    x = halved(paddle.concat([normalised(y, f"stem{k}") for y, (k, _) in zip(outputs, kernels, strict=True)], axis=1))
    x = halved(conv(conv(x, "reduce"), "conv"))
    inside = F.avg_pool2d(paddle.ones_like(x), 3, 1, 1, exclusive=False)  # share of a window in the image
    for name, n_out, one, *_, kind, pool in ROWS:
        stride = 2 if pool == "-" else 1
        double = conv(conv(conv(x, f"{name}/dr"), f"{name}/d1"), f"{name}/d2", stride)
        parts = [conv(conv(x, f"{name}/3r"), f"{name}/3", stride), double]
        parts = parts if one == "-" else [conv(x, f"{name}/1"), *parts]
        if pool == "-":
            parts.append(halved(x))
        elif kind == "max":
            parts.append(conv(F.max_pool2d(x, 3, stride=1, padding=1), f"{name}/pool"))
        else:
            mean = F.avg_pool2d(x, 3, stride=1, padding=1, exclusive=False) / inside[:, :1]
            parts.append(conv(mean, f"{name}/pool"))
        x = paddle.concat(parts, axis=1)
        inside = F.avg_pool2d(paddle.ones_like(x), 3, 1, 1, exclusive=False)
        assert x.shape[1] == int(n_out)
    return x.mean(axis=[2, 3])


@pytest.mark.parametrize(
    ("name", "kernels", "size"), [("InceptionV2", ((7, 64),), 224), ("InceptionV2_multiscale", ((5, 32), (9, 32)), 65)]
)
def test_inception_v2_against_the_independent_forward(name, kernels, size):
    network, variables = models.build(name, N_CLASSES), random_variables(kernels)
    state, ours = network.state_dict(), keys(kernels)
    moved = {f"{ours[at]}.{part}": value for (at, part), value in variables.items()}
    assert set(moved) == {key for key in state if not key.startswith("fc.")}
    for key, value in moved.items():
        state[key].set_value(value)
    network.eval()
    x = images(size, 1)
    with paddle.no_grad():
        found = network.features(x).numpy()
        expected = independent_features(variables, kernels, x).numpy()
        logits = network(x).numpy()
        last = found @ network.fc.weight.numpy() + network.fc.bias.numpy()
    assert np.abs(expected).max() > 0.1  # something did come through
    assert np.abs(found - expected).max() / np.abs(expected).max() < 1e-4
    np.testing.assert_allclose(logits, last, rtol=1e-4, atol=1e-5)


def test_shapes():
    network, found = models.build("InceptionV2", N_CLASSES), []
    for unit in network.units:
        unit.register_forward_post_hook(lambda _, __, out: found.append(tuple(out.shape[1:])))
    network.eval()
    with paddle.no_grad():
        assert network(images(224, 1)).shape == [1, N_CLASSES]
    size = {"3": 28, "4": 14, "5": 7}  # a module's input
    sides = [size[row[0][0]] // (1 if row[-1] != "-" else 2) for row in ROWS]
    assert found[:2] == [(64, 56, 56), (192, 28, 28)]
    assert found[2:] == [(int(row[1]), side, side) for row, side in zip(ROWS, sides, strict=True)]
