"""Whole networks written once more, with functions on variables: the release's, SENets and Inception-v2."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

import models
from models import senet
from tests.helpers.networks import assert_close, built, conv_bn, images, randomised
from urnet.checkpoints import checkpoint, fluid

N_CLASSES = 7

# --- the 2018 release's networks, on its variables' names

A_TO_D = ["2a", "2b", "2c", "3a", "3b", "3c", "3d"]
E_TO_H = ["3e", "3f", "3g", "3h"]
STAGE_5 = ["5a", "5b", "5c"]
UNITS = {
    50: [*A_TO_D, "4a", "4b", "4c", "4d", "4e", "4f", *STAGE_5],
    101: [*A_TO_D, "4a", *(f"4b{i}" for i in range(1, 23)), *STAGE_5],
    152: [*A_TO_D, *E_TO_H, "4a", *(f"4b{i}" for i in range(1, 36)), *STAGE_5],
}


def released_shapes(layers):
    """Variable name -> shape."""
    convolutions, n_in = {"_conv1": (64, 3, 7, 7)}, 64
    for unit in UNITS[layers]:
        width = 128 * 2 ** (int(unit[0]) - 1)
        convolutions[f"{unit}_branch2a"] = (width, n_in, 1, 1)
        convolutions[f"{unit}_branch2b"] = (width, width // 32, 3, 3)
        convolutions[f"{unit}_branch2c"] = (width, width, 1, 1)
        if unit.endswith("a"):
            convolutions[f"{unit}_branch1"] = (width, n_in, 1, 1)
        n_in = width
    shapes = {"fc_weights": (2048, N_CLASSES), "fc_offset": (N_CLASSES,)}
    for name, shape in convolutions.items():
        shapes[f"res{name}_weights"] = shape
        for part in ("scale", "offset", "mean", "variance"):
            shapes[f"bn{name}_{part}"] = shape[:1]
    return shapes


def released_variables(layers):
    """Random variables of a scale at which activations neither vanish nor explode."""
    block, variables = np.random.default_rng(0).standard_normal(1_000_003, np.float32), {}
    for name, shape in released_shapes(layers).items():
        block = np.roll(block, 1)  # large ones repeat it: drawing a billion takes too long
        noise = np.resize(block, shape)
        if name.endswith("_weights"):
            fan_in = shape[0] if name == "fc_weights" else np.prod(shape[1:])
            variables[name] = noise * np.float32(np.sqrt(2 / fan_in))
        elif name.endswith("_scale"):
            variables[name] = (0.2 if "2c" in name else 1.0) * (1 + 0.1 * noise)
        elif name.endswith("_variance"):
            variables[name] = 0.5 + np.abs(noise)
        else:
            variables[name] = 0.1 * noise
    return {name: value.astype(np.float32) for name, value in variables.items()}


def released_forward(variables, layers, x):
    """Logits."""
    v = {name: paddle.to_tensor(value) for name, value in variables.items()}

    def conv(x, name, stride=1, groups=1):
        norm = [v[f"bn{name}_{part}"] for part in ("mean", "variance", "scale", "offset")]
        return conv_bn(x, v[f"res{name}_weights"], norm, stride, groups)

    x = F.max_pool2d(F.relu(conv(x, "_conv1", stride=2)), 3, stride=2, padding=1)
    for unit in UNITS[layers]:
        stride = 2 if unit in ("3a", "4a", "5a") else 1
        y = F.relu(conv(x, f"{unit}_branch2a"))
        y = F.relu(conv(y, f"{unit}_branch2b", stride=stride, groups=32))
        y = conv(y, f"{unit}_branch2c")
        x = F.relu(y + (conv(x, f"{unit}_branch1", stride=stride) if unit.endswith("a") else x))
    return paddle.matmul(x.mean(axis=[2, 3]), v["fc_weights"]) + v["fc_offset"]


@pytest.mark.parametrize("layers", UNITS)
def test_a_released_network_has_the_variables_of_the_release(layers):
    with paddle.LazyGuard():
        network = models.build(f"ResNeXt{layers}_32x4d", N_CLASSES)
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert {name: own[key] for key, name in network.release_names().items()} == released_shapes(layers)
    assert set(own) == set(network.release_names())
    convolutions = [network.release_names()[key] for key, shape in own.items() if len(shape) == 4]
    assert convolutions == [name for name, shape in released_shapes(layers).items() if len(shape) == 4]


@pytest.mark.parametrize("layers", [50, 101, pytest.param(152, marks=pytest.mark.slow)])
def test_a_released_network_computes_what_its_variables_say(tmp_path, layers):
    variables = released_variables(layers)
    network = built(lambda: models.build(f"ResNeXt{layers}_32x4d", N_CLASSES))
    weights = {key: variables[name] for key, name in network.release_names().items()}
    if layers == 50:  # out of a folder as released; the larger ones would write hundreds of megabytes
        for name, value in variables.items():
            (tmp_path / name).write_bytes(b"".join(fluid.variable_bytes(value)))
        weights = checkpoint.read_weights(tmp_path, network)
    checkpoint.load_into(network, weights)
    network.eval()
    x = images(64, n=1)
    with paddle.no_grad():
        assert_close(network(x).numpy(), released_forward(variables, layers, x).numpy())


# --- squeeze-and-excitation networks, on our names

KINDS = {
    "plain": {"depths": (2, 1, 1, 1), "widths": (32, 32), "groups": 8},
    "deep": {"depths": (2, 1, 1, 1), "widths": (32, 64), "groups": 16, "deep": True},
}


def senet_forward(v, x, groups, deep):
    """Logits, one unit after the other."""

    def conv(x, key, stride=1, groups=1):
        norm = [v[f"{key}.bn.{part}"] for part in ("_mean", "_variance", "weight", "bias")]
        return conv_bn(x, v[f"{key}.conv.weight"], norm, stride, groups)

    for i in range(3 if deep else 1):
        x = F.relu(conv(x, f"stem.{i}" if deep else "stem", stride=2 if i == 0 else 1))
    x = F.max_pool2d(F.pad(x, [0, 1, 0, 1], value=-np.inf), 3, stride=2)  # even sizes, rounded up
    for i, stage in enumerate((0, 0, 1, 2, 3)):
        stride, key = 2 if i > 1 else 1, f"units.{i}"
        y = F.relu(conv(x, f"{key}.conv1"))
        y = conv(F.relu(conv(y, f"{key}.conv2", stride, groups)), f"{key}.conv3")
        z = y.mean(axis=[2, 3], keepdim=True)
        for part, activation in (("reduce", F.relu), ("expand", F.sigmoid)):
            z = activation(F.conv2d(z, v[f"{key}.scale.{part}.weight"], v[f"{key}.scale.{part}.bias"]))
        if i != 1:  # the second unit of stage 1 alone keeps width and size
            assert v[f"{key}.shortcut.conv.weight"].shape[-1] == (3 if deep and stage > 0 else 1)
            x = conv(x, f"{key}.shortcut", stride)
        x = F.relu(y * z + x)
    return paddle.matmul(x.mean(axis=[2, 3]), v["fc.weight"]) + v["fc.bias"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_squeeze_and_excitation_network(kind):
    paddle.seed(4)
    options = KINDS[kind]
    network = randomised(senet.SENet(5, **options))
    network.eval()
    with paddle.no_grad():
        x = images(64)
        expected = senet_forward(network.state_dict(), x, options["groups"], kind == "deep").numpy()
        assert_close(network(x).numpy(), expected)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3  # the images do matter


# --- Inception-v2: figure 5 of the batch-norm paper, a row a module: channels out, then its columns. -: there is none

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
STEMS = {
    "InceptionV2": {7: "units.0.0"},
    "InceptionV2_multiscale": {5: "units.0.0.branches.0", 9: "units.0.0.branches.1"},
}


def inception_v2_forward(v, stems, x):
    """The table's features. The stem is one 9x9 convolution: smaller kernels lie inside."""

    def norm(key):
        return [v[f"{key}.bn.{part}"] for part in ("_mean", "_variance", "weight", "bias")]

    def conv(x, key, n_out, stride=1):
        assert v[f"{key}.conv.weight"].shape[0] == int(n_out)
        return F.relu(conv_bn(x, v[f"{key}.conv.weight"], norm(key), stride))

    def halved(x):
        return F.max_pool2d(x, 3, stride=2, padding=1)

    kernels = [F.pad(v[f"{key}.conv.weight"], [(9 - k) // 2] * 4) for k, key in stems.items()]
    joined = [paddle.concat(parts) for parts in zip(*(norm(key) for key in stems.values()), strict=True)]
    x = halved(F.relu(conv_bn(x, paddle.concat(kernels), joined, stride=2)))
    x = halved(conv(conv(x, "units.1.0.0", 64), "units.1.0.1", 192))
    for i, (_, n_out, one, *columns, kind, pool) in enumerate(ROWS):
        a, b, c, d = columns
        at = [f"units.{2 + i}.branches.{j - (one == '-')}" for j in range(4)]  # without a 1x1 the others move up
        stride = 2 if pool == "-" else 1
        parts = [] if one == "-" else [conv(x, f"{at[0]}.0", one)]
        parts.append(conv(conv(x, f"{at[1]}.0", a), f"{at[1]}.1", b, stride))
        parts.append(conv(conv(conv(x, f"{at[2]}.0", c), f"{at[2]}.1", d), f"{at[2]}.2", d, stride))
        if pool == "-":
            parts.append(halved(x))
        elif kind == "max":
            parts.append(conv(F.max_pool2d(x, 3, stride=1, padding=1), f"{at[3]}.1.0", pool))
        else:
            inside = F.avg_pool2d(paddle.ones_like(x), 3, 1, 1, exclusive=False)  # share of a window in the image
            parts.append(conv(F.avg_pool2d(x, 3, 1, 1, exclusive=False) / inside, f"{at[3]}.1.0", pool))
        x = paddle.concat(parts, axis=1)
        assert x.shape[1] == int(n_out)
    return x.mean(axis=[2, 3])


@pytest.mark.parametrize(("name", "size"), [("InceptionV2", 224), ("InceptionV2_multiscale", 65)])
def test_inception_v2_is_the_paper_s_table(name, size):
    network = randomised(models.build(name, N_CLASSES))
    network.eval()
    x = images(size, 1)
    with paddle.no_grad():
        assert_close(network.features(x).numpy(), inception_v2_forward(network.state_dict(), STEMS[name], x).numpy())
