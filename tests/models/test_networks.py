"""Every registered network through one battery; sizes, counts and grids that were published."""

import functools
import re
import subprocess
import sys

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

import models
from models.densenet import NormReLU
from models.dpn import DPN
from models.inception_resnet_v2 import Residual
from models.resnest import ResNeSt
from models.senet import SENet
from tests.helpers.networks import (
    assert_recomputation_changes_nothing,
    built,
    images,
    on_this_process,
    randomised,
    trainable,
)
from urnet.checkpoints import checkpoint
from urnet.checkpoints.load import classifier_keys
from urnet.core.checks import InputError
from urnet.nn.batch_norms import statistics_held, synchronise
from urnet.nn.layout import with_format

N_CLASSES = 7
# Trainable parameters with 1,000 classes; the release's 101 layers with 5,000 are asked for below.
PARAMETERS = {
    "ResNeXt50_32x4d_standard": 25_028_904,  # the paper's network
    "ResNeXt101_32x4d_standard": 44_177_704,
    "ResNeXt101_32x4d": 88_791_336,  # known elsewhere as ResNeXt101_32x8d
    "ResNeXt50_64x4d": 45_192_488,
    "ResNeXt101_64x4d": 83_455_272,
    "ResNet18": 11_689_512,
    "ResNet34": 21_797_672,
    "ResNet50": 25_557_032,
    "ResNet101": 44_549_160,
    "ResNet152": 60_192_808,
    "SE_ResNeXt50_32x4d": 27_559_896,
    "SE_ResNeXt101_32x4d": 48_955_416,
    "SE_ResNeXt152_32x4d": 66_580_440,
    "InceptionV2": 11_194_984,  # the paper's table counted by hand
    "InceptionV2_multiscale": 11_195_752,
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
    "EfficientNetLite0": 4_652_008,
    "MobileNetV3_large": 5_483_032,
    "InceptionV3": 27_161_264,  # with its auxiliary head; 23,834,568 without
}
GRIDS = {  # channels and side behind each unit, with the paper's images
    "InceptionV2": [(64, 56), (192, 28), (256, 28), (320, 28), *[(576, 14)] * 5, *[(1024, 7)] * 3],
    "InceptionV4": [
        *[(64, 147), (160, 73), (192, 71), (384, 35)],  # the stem
        *[(384, 35)] * 4,
        *[(1024, 17)] * 8,
        *[(1536, 8)] * 4,
    ],
    "InceptionResNetV2": [
        *[(64, 147), (192, 71), (320, 35)],  # the stem
        *[(320, 35)] * 10,
        *[(1088, 17)] * 21,
        *[(2080, 8)] * 11,
        (1536, 8),
    ],
}
EPSILON = dict.fromkeys(
    ("DPN92", "DPN131", "InceptionV4", "InceptionResNetV2", "EfficientNetLite0", "MobileNetV3_large"), 1e-3
)  # the others: 1e-5
# A shift in front of a linear convolution, which the batch norm behind that takes away again while it trains.
TAKEN_AWAY = {"EfficientNetLite0": r"project\.bn\.bias$", "MobileNetV3_large": r"linear_conv\.1\.bias$"}
DEEPER = {  # more of the same units -> the network of its class that goes through the whole battery every time
    "ResNeXt101_32x4d": "ResNeXt50_32x4d",
    "ResNeXt152_32x4d": "ResNeXt50_32x4d",
    "ResNeXt101_32x4d_standard": "ResNeXt50_32x4d_standard",
    "ResNeXt152_32x4d_standard": "ResNeXt50_32x4d_standard",
    "ResNeXt101_64x4d": "ResNeXt50_64x4d",
    "ResNet34": "ResNet18",
    "ResNet101": "ResNet50",
    "ResNet152": "ResNet50",
    "DenseNet161": "DenseNet121",
    "DenseNet169": "DenseNet121",
    "DenseNet201": "DenseNet121",
    "SE_ResNeXt101_32x4d": "SE_ResNeXt50_32x4d",
    "SE_ResNeXt152_32x4d": "SE_ResNeXt50_32x4d",
    "ResNeSt101": "ResNeSt50",
    "DPN131": "DPN92",
}
BATTERY = [pytest.param(name, marks=pytest.mark.slow) if name in DEEPER else name for name in models.NAMES]
LARGE = 30_000_000  # values; above it a second instance and a file would take seconds and show nothing new


def smallest(name):
    return max(models.LEAST_SIZES.get(name, 1), 32)


@pytest.fixture(scope="module", params=BATTERY)
def network(request):
    paddle.seed(1)
    return built(lambda: models.build(request.param, N_CLASSES)), request.param


def parameters(net, n_classes):
    """Trainable ones, if ``net`` had that many classes instead of N_CLASSES."""
    counts = {key: int(p.size) for key, p in trainable(net).items()}
    a_class = sum(counts[key] // N_CLASSES for key in classifier_keys(net))
    return sum(counts.values()) + a_class * (n_classes - N_CLASSES)


def test_what_was_published(network):
    assert_published(*network)


def assert_published(net, name):
    if name in PARAMETERS:
        assert parameters(net, 1000) == PARAMETERS[name]
    if name == "ResNeXt101_32x4d":
        assert parameters(net, 5000) == 96_987_336  # the released checkpoint's
    norms = norms_of(net)
    assert {norm._epsilon for norm in norms} == {EPSILON.get(name, 1e-5)}
    assert {norm._momentum for norm in norms} == {0.9}
    with statistics_held(net):  # recomputation's second pass, moving averages
        assert norms and {norm._momentum for norm in norms} == {1.0}
    if name == "InceptionResNetV2":
        units = [unit for unit in net.units if isinstance(unit, Residual)]
        assert [unit.scale for unit in units] == [0.17] * 10 + [0.1] * 20 + [0.2] * 9 + [1.0]
        assert [unit.relu for unit in units] == [True] * 39 + [False]


@pytest.mark.parametrize(("name", "kind"), DEEPER.items())
def test_a_deeper_network_is_of_its_kind(name, kind):
    """The quick form of the battery, which the slow tests put deeper networks through as well."""
    with paddle.LazyGuard():
        net, expected = (models.build(one, N_CLASSES) for one in (name, kind))
    assert type(net) is type(expected) and net.feature_width >= expected.feature_width
    assert {type(layer) for layer in net.sublayers()} == {type(layer) for layer in expected.sublayers()}
    assert hasattr(net, "front") == hasattr(expected, "front")
    assert_published(net, name)


@pytest.mark.parametrize("size", ["smallest", "usual"])
def test_forward(network, size):
    net, name = network
    net.eval()
    grids, handles = [], []
    if size == "usual" and name in GRIDS:
        note = lambda _, __, out: grids.append((out.shape[1], out.shape[2]))  # noqa: E731
        handles = [unit.register_forward_post_hook(note) for unit in net.units]
    with paddle.no_grad():
        usual = 299 if models.LEAST_SIZES.get(name) == 75 else 224
        features = net.features(images(smallest(name) if size == "smallest" else usual, n=1))
        logits = net.fc(features)
    for handle in handles:
        handle.remove()
    assert features.shape == [1, net.feature_width]
    assert logits.shape == [1, N_CLASSES]
    assert np.isfinite(logits.numpy()).all()
    assert grids == (GRIDS[name] if handles else [])
    if size == "smallest":
        x = images(smallest(name), n=1)
        np.testing.assert_array_equal(net(x).numpy(), logits.numpy())
        least = models.LEAST_SIZES.get(name, 1)
        assert getattr(net, "least_size", 1) == least
        if least > 1:
            with pytest.raises(InputError, match=f"{least} x {least - 1} pixels; {least} or more are accepted"):
                net(images(least, n=1)[:, :, :, 1:])


def test_gradients_reach_every_parameter(network):
    net, name = network
    net.train()
    outputs = net(images(smallest(name)))
    assert isinstance(outputs, tuple) == hasattr(net, "auxiliary_weight")
    heads = outputs if isinstance(outputs, tuple) else (outputs,)
    sum(F.cross_entropy(logits, paddle.to_tensor([1, 2])) for logits in heads).backward()
    dead = [key for key, p in trainable(net).items() if p.grad is None or not np.abs(p.grad.numpy()).max() > 0]
    net.clear_gradients()
    assert not [key for key in dead if not re.search(TAKEN_AWAY.get(name, "$^"), key)]


def same(found, expected):
    largest = float(expected.abs().max())
    assert largest > 0
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=1e-4 * largest)


def test_channels_last_is_the_same_network(network):
    net, name = network
    net.eval()
    x = images(smallest(name), n=1)
    last = x.transpose([0, 2, 3, 1])
    keys = {key: value.shape for key, value in net.state_dict().items()}
    with paddle.no_grad():
        features, logits = net.features(x), net(x)
        try:
            with_format(net, "NHWC")
            same(net.features(last), features)
            same(net(last), logits)
            assert {key: value.shape for key, value in net.state_dict().items()} == keys
            if hasattr(net, "front"):
                maps = net.front(last)
                with_format(net, "NCHW")
                same(maps.transpose([0, 3, 1, 2]), net.front(x))
        finally:
            with_format(net, "NCHW")


WITHOUT_A_CUT = re.compile("DenseNet|Inception|DPN")


def test_a_cut_in_front_of_the_last_part(network):
    net, name = network
    assert hasattr(net, "front") != bool(WITHOUT_A_CUT.match(name))
    if not hasattr(net, "front"):
        return
    net.eval()
    x = images(smallest(name), n=1)
    with paddle.no_grad():
        np.testing.assert_array_equal(net.fc(net.rest(net.front(x))).numpy(), net(x).numpy())
    for parameter in net.parameters():
        parameter.clear_gradient(False)  # none is left of another test, not even a zero
    net.rest(net.front(x).detach()).sum().backward()
    reached = {p.name for p in trainable(net).values() if p.grad is not None}
    net.clear_gradients()
    assert reached == {p.name for layer in net.rest_layers() for p in layer.parameters() if not p.stop_gradient}
    assert 0 < len(reached) < len(trainable(net)) / 2


def test_save_and_load_into_a_second_instance(network, tmp_path):
    net, name = network
    weights = {key: value.numpy() for key, value in net.state_dict().items()}
    if sum(value.size for value in weights.values()) > LARGE:
        with paddle.LazyGuard():
            second = models.build(name, N_CLASSES)
        shapes = {key: tuple(value.shape) for key, value in second.state_dict().items()}
        assert shapes == {key: value.shape for key, value in weights.items()}
    else:
        second = built(lambda: models.build(name, N_CLASSES))
        for value in second.parameters():
            value.set_value(value * 0)  # what is loaded is another's
        checkpoint.save(tmp_path / "best", weights=weights, state={})
        assert checkpoint.load_into(second, checkpoint.read_weights(tmp_path)) == []
        for key, value in second.state_dict().items():
            np.testing.assert_array_equal(value.numpy(), weights[key], err_msg=key)
    assert not {p.name for p in second.parameters()} & {p.name for p in net.parameters()}


def test_unknown_names_and_class_counts():
    with pytest.raises(InputError, match=r"model: 'ResNext101' is not known; nearest: ResNet101"):
        models.build("ResNext101", 10)
    with pytest.raises(InputError, match="n_classes is 0; 1 or more"):
        models.build("ResNeXt_small32", 0)
    with pytest.raises(InputError, match="data_format: 'NWHC' is not known; nearest: NHWC"):
        models.build("ResNeXt_small32", 10, data_format="NWHC")


def test_names_are_there_without_paddle():
    code = "import models, sys; print('ResNet50' in models.NAMES, 'paddle' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["True", "False"]


# ---------------------------------------------------------------- recomputation


def conv_bn(unit):
    return unit.conv, unit.bn


UNITS_INSIDE = {  # one of each family, and in it a convolution in the middle and the batch norm behind it
    "ResNeXt_small32": lambda network: conv_bn(network.stage2[1].conv2),
    "ResNet18": lambda network: (network.layer2[1].conv2, network.layer2[1].bn2),
    "SENet": lambda network: conv_bn(network.units[1].conv2),
    "ResNeSt": lambda network: conv_bn(network.units[1].conv2.conv),
    "EfficientNetLite0": lambda network: conv_bn(network.units[1].depthwise),
    "MobileNetV3_large": lambda network: tuple(network.blocks[4].bottleneck_conv[i] for i in (0, 1)),
    "DPN": lambda network: (network.units[1].conv2.conv, network.units[1].conv2.bn),
    "DenseNet121": lambda network: (
        network.dense_block_func_list[1].dense_layer_func[5].bn_ac_func2._conv,
        network.dense_block_func_list[1].dense_layer_func[5].bn_ac_func2._batch_norm,
    ),
    "InceptionV3": lambda network: tuple(network.inception_block_list[5].branch7x7_2[i] for i in (0, 1)),
}
SMALL = {  # of families whose networks are large
    "SENet": functools.partial(SENet, depths=(1, 2, 1, 1), widths=(32, 32), groups=8),
    "ResNeSt": functools.partial(ResNeSt, depths=(1, 2, 1, 1), stem_width=16),
    "DPN": functools.partial(DPN, depths=(1, 2, 1, 1), increments=(4, 4, 4, 4), stem_width=16, inner=16, groups=4),
}


@pytest.mark.parametrize("name", UNITS_INSIDE)
def test_recomputation_changes_neither_gradients_nor_statistics(name):
    construct = functools.partial(SMALL.get(name) or functools.partial(models.build, name), N_CLASSES)
    assert_recomputation_changes_nothing(construct, UNITS_INSIDE[name], smallest(name))


@pytest.mark.parametrize("name", ["ResNeXt_small32", "DPN"])
def test_recomputation_with_synchronised_batch_norm_moves_statistics_once(name, monkeypatch):
    on_this_process(monkeypatch)

    def construct(recompute):
        network = (SMALL.get(name) or functools.partial(models.build, name))(N_CLASSES, recompute=recompute)
        synchronise(network)
        return network

    assert_recomputation_changes_nothing(construct, UNITS_INSIDE[name])


def norms_of(network):
    return [layer for layer in network.sublayers() if hasattr(layer, "_mean")]


@pytest.mark.parametrize("name", ["DenseNet121", "InceptionV3", "MobileNetV3_large", "ResNet18", "ResNeXt_small32"])
def test_every_batch_norm_is_synchronised_and_held_still(name):
    with paddle.LazyGuard():
        network = models.build(name, N_CLASSES)
    keys = list(network.state_dict())
    synchronise(network)
    assert list(network.state_dict()) == keys
    assert {type(norm) for norm in norms_of(network)} == {paddle.nn.SyncBatchNorm}
    with statistics_held(network):
        assert {norm._momentum for norm in norms_of(network)} == {1.0}
    assert {norm._momentum for norm in norms_of(network)} == {0.9}


def test_a_synchronised_batch_norm_does_what_the_one_before_it_did(monkeypatch):
    on_this_process(monkeypatch)
    network = randomised(paddle.nn.Sequential(NormReLU(3), paddle.nn.BatchNorm2D(3)))
    x = images(8)
    network.eval()
    expected = network(x).numpy()
    synchronise(network)
    np.testing.assert_array_equal(network(x).numpy(), expected)

    class More(paddle.nn.BatchNorm2D):
        pass

    with pytest.raises(TypeError, match="More: a batch norm that does more"):
        synchronise(paddle.nn.Sequential(More(3)))


@pytest.fixture
def double():
    """In float64: a rounding in float32 turns some ReLU the other way, which moves gradients by percents."""
    paddle.set_default_dtype("float64")
    yield
    paddle.set_default_dtype("float32")


WHOLE = "InceptionV3"  # of no small form; forwards, above, are compared every time
SMALL_FIRST = [pytest.param(name, marks=pytest.mark.slow if name == WHOLE else ()) for name in UNITS_INSIDE]


@pytest.mark.parametrize("name", SMALL_FIRST)
def test_channels_last_trains_the_same(name, double):
    construct = SMALL.get(name) or functools.partial(models.build, name)
    gradients, statistics = [], []
    for data_format in ("NCHW", "NHWC"):
        paddle.seed(5)
        net = with_format(construct(N_CLASSES, recompute=data_format == "NHWC"), data_format)
        x = images(smallest(name)).astype("float64")
        outputs = net(x if data_format == "NCHW" else x.transpose([0, 2, 3, 1]))
        heads = outputs if isinstance(outputs, tuple) else (outputs,)
        sum(F.cross_entropy(logits, paddle.to_tensor([1, 2])) for logits in heads).backward()
        gradients.append({key: p.grad.numpy() for key, p in trainable(net).items()})
        statistics.append({key: v.numpy() for key, v in net.state_dict().items() if v.stop_gradient})
    for first, last in (gradients, statistics):
        scale = max(np.abs(value).max() for value in first.values())
        assert first.keys() == last.keys()
        for key, value in first.items():
            assert np.abs(last[key] - value).max() < 1e-5 * scale, key  # two images: some gradients are 10,000 and more


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
