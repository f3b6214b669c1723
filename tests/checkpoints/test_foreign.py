"""timm's names of parameters and ours, by names and shapes alone; tests/models/test_peer.py moves real weights."""

import numpy as np
import paddle
import pytest

import models
from tests.helpers.torch_file import torch_file
from urnet.checkpoints.checkpoint import load_into, read_weights
from urnet.checkpoints.foreign import TIMM, as_ours, in_our_names, timm_names
from urnet.core.checks import InputError

NAME = "ResNeXt50_32x4d_standard"
WITHOUT = {  # networks that timm does not have
    "ResNeXt50_32x4d",
    "ResNeXt152_32x4d",
    "ResNeXt152_32x4d_standard",
    "ResNeXt_small32",
    "ResNet8_small32",
    "InceptionV2",
    "InceptionV2_multiscale",
    "SE_ResNeXt152_32x4d",
}


@pytest.fixture(scope="module")
def ours():
    with paddle.LazyGuard():
        return {key: tuple(value.shape) for key, value in models.build(NAME, 10).state_dict().items()}


@pytest.fixture
def theirs():
    """Key -> shape in timm's resnext50_32x4d with 10 classes, written down from its definition."""
    layers = {"conv1": (64, 3, 7, 7), "bn1": (64,)}
    n_in = 64
    for stage, depth in enumerate((3, 4, 6, 3)):
        inside, outside = 128 << stage, 256 << stage
        for unit in range(depth):
            at = f"layer{stage + 1}.{unit}"
            layers |= {f"{at}.conv1": (inside, n_in, 1, 1), f"{at}.bn1": (inside,)}
            layers |= {f"{at}.conv2": (inside, inside // 32, 3, 3), f"{at}.bn2": (inside,)}
            layers |= {f"{at}.conv3": (outside, inside, 1, 1), f"{at}.bn3": (outside,)}
            if unit == 0:
                layers |= {f"{at}.downsample.0": (outside, n_in, 1, 1), f"{at}.downsample.1": (outside,)}
            n_in = outside
    keys = {"fc.weight": (10, 2048), "fc.bias": (10,)}
    for layer, shape in layers.items():
        norm = len(shape) == 1
        keys |= {
            f"{layer}.{part}": shape for part in ("weight", "bias", "running_mean", "running_var")[: 4 if norm else 1]
        }
        keys |= {f"{layer}.num_batches_tracked": ()} if norm else {}
    return keys


def test_every_network_has_a_peer_or_is_known_to_have_none():
    assert set(TIMM) | WITHOUT == set(models.NAMES)
    assert not set(TIMM) & WITHOUT


def test_every_key_has_its_partner_in_whatever_order_they_come(ours, theirs):
    names = timm_names(NAME, theirs, ours)
    assert set(names) == set(ours)
    assert set(names.values()) == {key for key in theirs if not key.endswith("num_batches_tracked")}
    assert names["stem.conv.weight"] == "conv1.weight"
    assert names["stage3.5.conv2.bn._variance"] == "layer3.5.bn2.running_var"
    assert names["stage2.0.shortcut.bn._mean"] == "layer2.0.downsample.1.running_mean"
    assert timm_names(NAME, dict(sorted(theirs.items())), ours) == names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer1.0.conv4.weight": (8, 8, 1, 1)}, r"layer1\.0\.conv4\.weight of timm's has no partner"),
        ({"layer1.0.conv1.weight": (9, 64, 1, 1)}, r"stage1\.0\.conv1\.conv\.weight has shape \(128, 64, 1, 1\), but"),
        ({"fc.weight": (2048, 10)}, r"fc\.weight has shape \(2048, 10\), but timm's fc\.weight has \(2048, 10\)"),
        ({"fc.bias": None}, r"fc\.bias has no partner among timm's parameters"),
    ],
)
def test_the_first_difference_is_named(ours, theirs, change, message):
    changed = {key: shape for key, shape in {**theirs, **change}.items() if shape is not None}
    with pytest.raises(InputError, match=message):
        timm_names(NAME, changed, ours)


def test_a_network_that_timm_does_not_have(ours, theirs):
    with pytest.raises(InputError, match="network: 'InceptionV2' is not known; nearest: InceptionV"):
        timm_names("InceptionV2", theirs, ours)


def test_a_linear_weight_is_turned_and_may_be_a_convolution_of_one_pixel():
    weight = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(as_ours(weight, (3, 2)), weight.T)
    np.testing.assert_array_equal(as_ours(weight.reshape(2, 3, 1, 1), (3, 2)), weight.T)
    kernel = np.zeros((4, 3, 1, 1))
    assert as_ours(kernel, (4, 3, 1, 1)) is kernel


def test_weights_are_known_by_their_names(ours, theirs):
    weights = {key: np.zeros(shape, "f4") for key, shape in theirs.items()}
    found = in_our_names(weights, ours)
    assert {key: array.shape for key, array in found.items()} == ours
    for key in ("fc.weight", "fc.bias"):
        del weights[key]
    assert set(in_our_names(weights, ours)) == set(ours) - {"fc.weight", "fc.bias"}
    del weights["bn1.weight"]
    assert in_our_names(weights, ours) is None


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
