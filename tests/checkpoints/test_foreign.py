"""Other libraries' names of parameters and ours; tests/models/test_peer.py does the same with their own files."""

import argparse
import re

import numpy as np
import paddle
import pytest

import models
from tests.helpers.networks import images, randomised
from tests.helpers.torch_file import torch_file
from tools import convert_checkpoint
from urnet.checkpoints.checkpoint import find_weights, load_into, read_weights
from urnet.checkpoints.foreign import in_our_names
from urnet.checkpoints.paddleclas_names import DPN
from urnet.checkpoints.pytorch_names import INCEPTION_V3, TIMM
from urnet.checkpoints.safetensors_io import read_safetensors
from urnet.core.checks import InputError

NAME = "ResNeXt50_32x4d_standard"
WITHOUT = {  # networks that timm does not have, or under names that do not tell it from another one
    "ResNeXt50_32x4d",
    "ResNeXt152_32x4d",
    "ResNeXt152_32x4d_standard",
    "ResNeXt50_64x4d",
    "ResNeXt_small32",
    "ResNet8_small32",
    "InceptionV2",
    "InceptionV2_multiscale",
    "SE_ResNeXt152_32x4d",
    "MobileNetV3_large",
}


def shapes_of(name):
    """Key -> shape of our network with 10 classes."""
    with paddle.LazyGuard():
        return {key: tuple(value.shape) for key, value in models.build(name, 10).state_dict().items()}


@pytest.fixture(scope="module")
def ours():
    return shapes_of(NAME)


def resnext(at, conv_bn, n_out=2048):
    """Key -> shape in a resnext50_32x4d with 10 classes, written down from its definition; "bn" keys have no part yet.

    ``at(stage, unit)``: a unit's name. ``conv_bn(number)``: names of convolution and batch norm; 0 is the shortcut's.
    """
    layers = {}
    n_in = 64
    for stage, depth in enumerate((3, 4, 6, 3)):
        inside, outside = 128 << stage, 256 << stage
        for unit in range(depth):
            shapes = {1: (inside, n_in, 1, 1), 2: (inside, inside // 32, 3, 3), 3: (outside, inside, 1, 1)}
            if unit == 0:
                shapes[0] = (outside, n_in, 1, 1)
            for number, shape in shapes.items():
                conv, norm = (f"{at(stage, unit)}.{name}" for name in conv_bn(number))
                layers |= {conv: shape, norm: shape[:1]}
            n_in = outside
    return layers


def with_parts(layers, norm_parts):
    parts = {layer: ("weight",) if len(shape) > 1 else norm_parts for layer, shape in layers.items()}
    return {f"{layer}.{part}": layers[layer] for layer, names in parts.items() for part in names}


@pytest.fixture
def theirs():
    """timm's and torchvision's."""
    names = {0: ("downsample.0", "downsample.1"), **{n: (f"conv{n}", f"bn{n}") for n in (1, 2, 3)}}
    layers = {"conv1": (64, 3, 7, 7), "bn1": (64,)}
    layers |= resnext(lambda stage, unit: f"layer{stage + 1}.{unit}", names.get)
    keys = with_parts(layers, ("weight", "bias", "running_mean", "running_var"))
    counters = {f"{layer}.num_batches_tracked": () for layer, shape in layers.items() if len(shape) == 1}
    return {**keys, **counters, "fc.weight": (10, 2048), "fc.bias": (10,)}


@pytest.fixture
def paddleclas():
    def names(number):
        layer = "short" if number == 0 else f"conv{number - 1}"
        return f"{layer}._conv", f"{layer}._batch_norm"

    layers = {"conv._conv": (64, 3, 7, 7), "conv._batch_norm": (64,)}
    layers |= resnext(lambda stage, unit: f"bb_{stage}_{unit}", names)
    keys = with_parts(layers, ("weight", "bias", "_mean", "_variance"))
    return {**keys, "out.weight": (2048, 10), "out.bias": (10,)}


def marked(shapes):
    """Arrays that can be told apart: each holds its number."""
    return {key: np.full(shape, n, "f4") for n, (key, shape) in enumerate(shapes.items())}


def test_every_network_has_a_peer_or_is_known_to_have_none():
    assert set(TIMM) | WITHOUT == set(models.NAMES)
    assert not set(TIMM) & WITHOUT


def test_every_key_has_its_partner_in_whatever_order_they_come(ours, theirs):
    weights = marked(theirs)
    library, found = in_our_names(weights, ours)
    assert library == "timm and torchvision"
    assert {key: array.shape for key, array in found.items()} == ours
    for own, other in {
        "stem.conv.weight": "conv1.weight",
        "stage3.5.conv2.bn._variance": "layer3.5.bn2.running_var",
        "stage2.0.shortcut.bn._mean": "layer2.0.downsample.1.running_mean",
    }.items():
        assert found[own].flat[0] == weights[other].flat[0]
    _, turned = in_our_names(dict(sorted(weights.items())), ours)
    assert {key: array.flat[0] for key, array in turned.items()} == {key: a.flat[0] for key, a in found.items()}


def test_paddleclas_is_told_from_pytorch_by_its_parts(ours, paddleclas):
    weights = marked(paddleclas)
    library, found = in_our_names(weights, ours)
    assert library == "PaddleClas"
    assert {key: array.shape for key, array in found.items()} == ours
    assert found["stage3.5.conv2.bn._variance"].flat[0] == weights["bb_2_5.conv1._batch_norm._variance"].flat[0]
    assert found["stage2.0.shortcut.conv.weight"].flat[0] == weights["bb_1_0.short._conv.weight"].flat[0]


def test_the_classifier_may_be_missing_or_square(ours, theirs):
    weights = marked(theirs)
    del weights["fc.weight"], weights["fc.bias"]
    assert set(in_our_names(weights, ours).weights) == set(ours) - {"fc.weight", "fc.bias"}
    square = np.arange(2048 * 2048, dtype="f4").reshape(2048, 2048)
    found = in_our_names({**weights, "fc.weight": square}, {**ours, "fc.weight": (2048, 2048)}).weights
    np.testing.assert_array_equal(found["fc.weight"], square.T)
    kernel = {**weights, "fc.weight": np.arange(20480, dtype="f4").reshape(10, 2048, 1, 1)}  # as timm's DPN keeps it
    np.testing.assert_array_equal(in_our_names(kernel, ours).weights["fc.weight"][:, 3], np.arange(6144, 8192))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer1.0.conv4.weight": (8, 8, 1, 1)}, r"but 1 do not fit into it \(layer1\.0\.conv4\.weight\)"),
        ({"bn1.weight": None}, r"but 1 of the network's are missing \(stem\.bn\.weight\); weights of the same network"),
    ],
)
def test_names_that_fit_in_part_are_refused_with_the_first_of_them(ours, theirs, change, message):
    changed = {key: shape for key, shape in {**theirs, **change}.items() if shape is not None}
    with pytest.raises(InputError, match=f"its parameters have the names of timm and torchvision, {message}"):
        in_our_names(marked(changed), ours)


def test_a_deeper_network_s_weights_say_whose_they_are(ours, theirs):
    units = {key for key in theirs if re.match(r"layer3\.\d", key)}
    few = {key: shape for key, shape in theirs.items() if key not in units}
    with pytest.raises(
        InputError, match=r"names of timm and torchvision, but 95 of the network's are missing \(stage3\.0"
    ):
        in_our_names(marked(few), ours)


def test_names_of_nobody_are_left_to_the_caller(ours):
    assert in_our_names(marked({f"x.{key}": shape for key, shape in ours.items()}), ours) is None
    assert in_our_names(marked({key: shape for key, shape in ours.items() if "stage4" not in key}), ours) is None


@pytest.mark.parametrize(
    ("network", "key", "message"),
    [
        (NAME, "bb_0_0.scale.squeeze.weight", r"PaddleClas's SE_ResNeXt: its max-pool has a border of one pixel"),
        (NAME, "layer1.0.se.fc1.weight", r"timm's seresnext and its kind"),
        ("ResNet18", "blocks.0.short.conv.weight", r"PaddleClas's ResNet18 or ResNet34: its first unit projects"),
        ("ResNet50", "stem.2.conv.weight blocks.0.conv0.conv.weight", r"PaddleClas's ResNet_vc or ResNet_vd"),
        ("InceptionV4", "_inception_stem._conv_1._conv.weight", r"PaddleClas's InceptionV4.*; timm's inception_v4 is"),
        ("ResNeSt50", "layer1.layer1_bottleneck_0.conv1._conv.weight", r"PaddleClas's ResNeSt: its average pools"),
    ],
)
def test_networks_that_only_look_like_ours_are_refused(network, key, message):
    with pytest.raises(InputError, match=message):
        in_our_names(dict.fromkeys(key.split(), np.zeros(1, "f4")), shapes_of(network))


@pytest.mark.parametrize("name", [NAME, "InceptionV3", "SENet154", "ResNeSt50", "DPN92", "EfficientNetLite0"])
def test_our_own_names_are_nobody_else_s(name):
    """Also without a classifier, as a network to begin with may come, and where they do not fit."""
    ours = shapes_of(name)
    weights = {key: np.broadcast_to(np.float32(0), shape) for key, shape in ours.items() if key[:3] != "fc."}
    library, found = in_our_names(weights, ours)
    assert library == "" and set(found) == set(weights)
    assert all(found[key] is weights[key] for key in weights)
    assert in_our_names(weights, shapes_of("ResNet18")) is None


def paddleclas_resnet50(key):
    """Our key of ResNet50 in PaddleClas's words."""
    key = re.sub(r"^(conv|bn)1\.", r"stem.0.\1.", key)
    match = re.match(r"layer(\d)\.(\d+)\.", key)
    if match:
        unit = sum((3, 4, 6)[: int(match[1]) - 1]) + int(match[2])
        key = f"blocks.{unit}.{key[match.end() :]}"
    key = re.sub(r"\.(conv|bn)(\d)\.", lambda m: f".conv{int(m[2]) - 1}.{m[1]}.", key) if "blocks" in key else key
    return key.replace("downsample.0", "short.conv").replace("downsample.1", "short.bn")


def test_units_that_are_numbered_through_there_find_their_stages():
    ours = shapes_of("ResNet50")
    there = {paddleclas_resnet50(key): key for key in ours}
    weights = marked({name: ours[key] for name, key in there.items()})
    library, found = in_our_names(weights, ours)
    assert library == "PaddleClas" and set(found) == set(ours)
    assert {key: found[key].flat[0] for key in ours} == {key: weights[name].flat[0] for name, key in there.items()}


@pytest.mark.parametrize(("family", "there", "here"), [(DPN, 1e-5, 1e-3), (INCEPTION_V3, 1e-3, 1e-5)])
def test_another_epsilon_is_made_up_for_in_the_variances(family, there, here):
    """In evaluation, also where a variance is far below either; Paddle's batch norm takes one below 0."""
    theirs, ours = (paddle.nn.BatchNorm2D(3, epsilon=epsilon) for epsilon in (there, here))
    variance = np.array([1e-7, 1e-4, 2.0], "f4")
    theirs._variance.set_value(variance)
    ours._variance.set_value(family.values(variance, "units.0.conv1.bn._variance", (3,)))
    theirs.eval()
    ours.eval()
    np.testing.assert_allclose(ours(images(4)).numpy(), theirs(images(4)).numpy(), rtol=1e-4)
    half = family.values(np.array([2], "f2"), "x.bn._variance", (1,))
    assert half.dtype == np.float32 and half[0] == pytest.approx(2 + there - here, rel=1e-7)


def test_another_factor_is_made_up_for_in_the_classifier():
    weight = np.arange(6, dtype="f4").reshape(2, 3)
    np.testing.assert_allclose(INCEPTION_V3.values(weight, "fc.weight", (3, 2)), weight.T / 0.8)
    for name in ("fc.bias", "auxiliary.classifier.weight"):
        np.testing.assert_array_equal(INCEPTION_V3.values(weight, name, (2, 3, 1)), weight)


def test_resnext_of_another_width_names_the_network(ours, theirs):
    released = shapes_of("ResNeXt50_32x4d")
    with pytest.raises(InputError, match=r"the widths of ResNeXt50/101/152_32x4d_standard; give that network"):
        in_our_names(marked(theirs), released)


def test_a_training_script_s_file(tmp_path):
    """Arguments, an optimiser's numbered state and counters beside the state dict; averaged weights come first."""
    source = randomised(models.build("ResNet8_small32", 3))
    own = {key: value.numpy() for key, value in source.state_dict().items()}
    wrapped = {"n_averaged": np.array(3), **{f"module.model.{key}": array for key, array in own.items()}}
    tree = {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, data=None, sizes=[1, 70000]),
        "optimizer": {"state": {0: {"momentum_buffer": own["fc.bias"]}, 300: {}}, "param_groups": [{"params": [0]}]},
        "model": {key: array * 0 for key, array in own.items()},
        "model_ema": wrapped,
    }
    for chain in (False, True):
        (tmp_path / "last.pth").write_bytes(torch_file(tree, chain=chain))
        found = find_weights(tmp_path / "last.pth", source)
        assert str(found) == "its model_ema" and set(found.weights) == set(own)
        for key, array in own.items():
            np.testing.assert_array_equal(found.weights[key], array)


PARTS = {"_mean": "running_mean", "_variance": "running_var"}


def lite_key(key):
    """Our key of EfficientNetLite0 in the words of the package efficientnet-lite-pytorch."""
    layer, _, part = key.rpartition(".")
    there = {"stem.conv": "_conv_stem", "stem.bn": "_bn0", "head.conv": "_conv_head", "head.bn": "_bn1", "fc": "_fc"}
    if layer not in there:
        _, unit, kind, inside = layer.split(".")
        norm = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}[kind]
        there[layer] = f"_blocks.{unit}.{norm if inside == 'bn' else f'_{kind}_conv'}"
    return f"{there[layer]}.{PARTS.get(part, part)}"


def test_the_package_s_weights_go_into_efficientnet_lite0(tmp_path):
    source, target = models.build("EfficientNetLite0", 3), models.build("EfficientNetLite0", 3)
    expected = {key: value.numpy() for key, value in source.state_dict().items()}
    there = {lite_key(key): a.T if key == "fc.weight" else a for key, a in expected.items()}
    there["_bn0.num_batches_tracked"] = np.array(5)
    (tmp_path / "lite.pth").write_bytes(torch_file(there, chain=True))
    assert load_into(target, read_weights(tmp_path / "lite.pth", target)) == []
    for key, value in target.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), expected[key], err_msg=key)


def test_convert_says_whose_names_were_recognised(tmp_path, capsys):
    source = {key: value.numpy() for key, value in models.build("EfficientNetLite0", 3).state_dict().items()}
    there = {lite_key(key): a.T if key == "fc.weight" else a for key, a in source.items()}
    (tmp_path / "lite.pth").write_bytes(torch_file({"epoch": 1, "state_dict": there}))
    arguments = ["lite.pth", "out.safetensors", "--model", "EfficientNetLite0", "--class_dim", "3"]
    convert_checkpoint.main([str(tmp_path / word) if "." in word else word for word in arguments])
    out = capsys.readouterr().out
    assert out.endswith("from torch (its state_dict, names of efficientnet-lite-pytorch)\n")
    for key, array in read_safetensors(tmp_path / "out.safetensors").items():
        np.testing.assert_array_equal(array, source[key], err_msg=key)
