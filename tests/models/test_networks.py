"""Every registered network through one battery; the released ones against an independent forward pass."""

import functools
import subprocess
import sys

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

import models
from tests.helpers.networks import assert_recomputation_changes_nothing, count, images, trainable
from urnet.checkpoints import checkpoint
from urnet.core.checks import InputError

N_CLASSES = 7
# Trainable parameters with 1,000 classes; the release's 101 layers with 5,000 are asked for below.
PARAMETERS = {
    "ResNeXt50_32x4d_standard": 25_028_904,  # the paper's network
    "ResNeXt101_32x4d_standard": 44_177_704,
    "ResNeXt101_32x4d": 88_791_336,  # known elsewhere as ResNeXt101_32x8d
    "ResNet18": 11_689_512,
    "ResNet34": 21_797_672,
    "ResNet50": 25_557_032,
    "ResNet101": 44_549_160,
    "ResNet152": 60_192_808,
    "SE_ResNeXt50_32x4d": 27_559_896,
    "SE_ResNeXt101_32x4d": 48_955_416,
    "InceptionV4": 42_679_816,
    "InceptionResNetV2": 55_843_464,
    "ResNeSt50": 27_483_240,
    "ResNeSt101": 48_275_016,
    "DPN92": 37_668_392,
    "DPN131": 79_254_504,
    "SENet154": 115_088_984,
    "DenseNet121": 7_978_856,
    "DenseNet161": 28_681_000,
    "DenseNet169": 14_149_480,
    "DenseNet201": 20_013_928,
    "InceptionV3": 27_161_264,  # with its auxiliary head; 23,834,568 without
}
LARGE = 30_000_000  # values; above it a second instance and a file would take seconds and show nothing new


def smallest(name):
    return max(models.LEAST_SIZES.get(name, 1), 32)


@pytest.fixture(scope="module", params=models.NAMES)
def network(request):
    paddle.seed(1)
    return models.build(request.param, N_CLASSES), request.param


@pytest.mark.parametrize("size", ["smallest", 224])
def test_forward(network, size):
    net, name = network
    net.eval()
    with paddle.no_grad():
        x = images(smallest(name) if size == "smallest" else size, n=1)
        features, logits = net.features(x), net(x)
    assert features.shape == [1, net.feature_width]
    assert logits.shape == [1, N_CLASSES]
    assert np.isfinite(logits.numpy()).all()
    np.testing.assert_array_equal(logits.numpy(), net.fc(features).numpy())


def test_gradients_reach_every_parameter(network):
    net, name = network
    net.train()
    outputs = net(images(smallest(name)))
    assert isinstance(outputs, tuple) == hasattr(net, "auxiliary_weight")
    assert getattr(net, "least_size", 1) == models.LEAST_SIZES.get(name, 1)
    heads = outputs if isinstance(outputs, tuple) else (outputs,)
    sum(F.cross_entropy(logits, paddle.to_tensor([1, 2])) for logits in heads).backward()
    dead = [key for key, p in trainable(net).items() if p.grad is None or not np.abs(p.grad.numpy()).max() > 0]
    net.clear_gradients()
    assert not dead


def test_save_and_load_into_a_second_instance(network, tmp_path):
    net, name = network
    weights = {key: value.numpy() for key, value in net.state_dict().items()}
    if sum(value.size for value in weights.values()) > LARGE:
        with paddle.LazyGuard():
            second = models.build(name, N_CLASSES)
        shapes = {key: tuple(value.shape) for key, value in second.state_dict().items()}
        assert shapes == {key: value.shape for key, value in weights.items()}
    else:
        second = models.build(name, N_CLASSES)
        checkpoint.save(tmp_path / "best", weights=weights, state={})
        assert checkpoint.load_into(second, checkpoint.read_weights(tmp_path)) == []
        for key, value in second.state_dict().items():
            np.testing.assert_array_equal(value.numpy(), weights[key], err_msg=key)
    assert not {p.name for p in second.parameters()} & {p.name for p in net.parameters()}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name):
    assert count(lambda: models.build(name, 1000)) == PARAMETERS[name]


def test_the_released_network_has_96987336_parameters():
    assert count(lambda: models.build("ResNeXt101_32x4d", 5000)) == 96_987_336


def test_unknown_names_and_class_counts():
    with pytest.raises(InputError, match=r"model: 'ResNext101' is not known; nearest: ResNet101"):
        models.build("ResNext101", 10)
    with pytest.raises(InputError, match="n_classes is 0; 1 or more"):
        models.build("ResNeXt_small32", 0)


def test_names_are_there_without_paddle():
    code = "import models, sys; print('ResNet50' in models.NAMES, 'paddle' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["True", "False"]


# ---------------------------------------------------------------- recomputation


def conv_bn(unit):
    return unit.conv, unit.bn


UNITS_INSIDE = {  # one of each family: a convolution in the middle, and the batch norm behind it
    "ResNeXt_small32": lambda network: conv_bn(network.stage2[1].conv2),
    "ResNet18": lambda network: (network.layer2[1].conv2, network.layer2[1].bn2),
    "SE_ResNeXt50_32x4d": lambda network: conv_bn(network.units[2].conv2),
    "ResNeSt50": lambda network: conv_bn(network.units[8].conv2.conv),
    "DPN92": lambda network: (network.units[15].conv2.conv, network.units[15].conv2.bn),
    "InceptionV2": lambda network: conv_bn(network.units[6].branches[1][0]),
    "DenseNet121": lambda network: (
        network.dense_block_func_list[1].dense_layer_func[5].bn_ac_func2._conv,
        network.dense_block_func_list[1].dense_layer_func[5].bn_ac_func2._batch_norm,
    ),
    "InceptionV3": lambda network: tuple(network.inception_block_list[5].branch7x7_2[i] for i in (0, 1)),
}


@pytest.mark.parametrize("name", UNITS_INSIDE)
def test_recomputation_changes_neither_gradients_nor_statistics(name):
    construct = functools.partial(models.build, name, N_CLASSES)
    assert_recomputation_changes_nothing(construct, UNITS_INSIDE[name], smallest(name))


def test_recomputation_without_gradients_is_a_plain_forward():
    network = models.build("ResNeXt_small32", N_CLASSES, recompute=True)
    before = network.stage1[0].conv1.bn._mean.numpy()
    with paddle.no_grad():
        network.train()
        network(images(32))  # how batch-norm statistics are recomputed: they must move here
        assert np.abs(network.stage1[0].conv1.bn._mean.numpy() - before).max() > 0
        network.eval()
        x = images(32)
        np.testing.assert_array_equal(network(x).numpy(), network.fc(network.features(x)).numpy())


# ------------------------------------ the release's networks, written once more on its variables' names

A_TO_D = ["2a", "2b", "2c", "3a", "3b", "3c", "3d"]
E_TO_H = ["3e", "3f", "3g", "3h"]
STAGE_5 = ["5a", "5b", "5c"]
UNITS = {
    50: [*A_TO_D, "4a", "4b", "4c", "4d", "4e", "4f", *STAGE_5],
    101: [*A_TO_D, "4a", *(f"4b{i}" for i in range(1, 23)), *STAGE_5],
    152: [*A_TO_D, *E_TO_H, "4a", *(f"4b{i}" for i in range(1, 36)), *STAGE_5],
}


def released_shapes(layers, n_classes):
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
    shapes = {"fc_weights": (2048, n_classes), "fc_offset": (n_classes,)}
    for name, shape in convolutions.items():
        shapes[f"res{name}_weights"] = shape
        for part in ("scale", "offset", "mean", "variance"):
            shapes[f"bn{name}_{part}"] = shape[:1]
    return shapes


def released_variables(layers, n_classes, seed=0):
    """Random variables of a scale at which activations neither vanish nor explode."""
    rng, variables = np.random.default_rng(seed), {}
    for name, shape in released_shapes(layers, n_classes).items():
        noise = rng.standard_normal(shape, dtype=np.float32)
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
    """Logits, with nothing but functions and the variables."""
    v = {name: paddle.to_tensor(value) for name, value in variables.items()}

    def conv(x, name, stride=1, groups=1):
        w = v[f"res{name}_weights"]
        x = F.conv2d(x, w, stride=stride, padding=w.shape[-1] // 2, groups=groups)
        mean, variance, scale, offset = (
            v[f"bn{name}_{part}"].reshape([1, -1, 1, 1]) for part in ("mean", "variance", "scale", "offset")
        )
        return (x - mean) / paddle.sqrt(variance + 1e-5) * scale + offset

    x = F.max_pool2d(F.relu(conv(x, "_conv1", stride=2)), 3, stride=2, padding=1)
    for unit in UNITS[layers]:
        stride = 2 if unit in ("3a", "4a", "5a") else 1
        y = F.relu(conv(x, f"{unit}_branch2a"))
        y = F.relu(conv(y, f"{unit}_branch2b", stride=stride, groups=32))
        y = conv(y, f"{unit}_branch2c")
        x = F.relu(y + (conv(x, f"{unit}_branch1", stride=stride) if unit.endswith("a") else x))
    return paddle.matmul(x.mean(axis=[2, 3]), v["fc_weights"]) + v["fc_offset"]


@pytest.mark.parametrize(("layers", "size"), [(50, 64), (101, 224), (152, 64)])
def test_released_network_against_the_independent_forward(layers, size):
    network = models.build(f"ResNeXt{layers}_32x4d", N_CLASSES)
    names = network.release_names()
    variables = released_variables(layers, N_CLASSES)
    assert sorted(names.values()) == sorted(variables)
    checkpoint.load_into(network, {key: variables[name] for key, name in names.items()})
    network.eval()
    x = images(size, n=1)
    with paddle.no_grad():
        found, expected = network(x).numpy(), released_forward(variables, layers, x).numpy()
    assert np.abs(expected).max() > 0.1  # something did come through 101 layers
    assert np.abs(found - expected).max() / np.abs(expected).max() < 1e-4
