"""The networks that wrap Paddle's own, and ResNeXt, which equals it: the same function, and Paddle's weights fit."""

import numpy as np
import paddle
import pytest
from paddle.vision import models as vision

from models import densenet, inception_v3, mobilenet_v3, resnet, resnext
from tests.helpers.networks import images, randomised
from urnet.checkpoints.checkpoint import load_into, read_weights
from urnet.core.checks import InputError
from urnet.nn.ema import recompute_batch_norm

N_CLASSES = 7
SMALLEST = {  # ours, Paddle's, and images large enough for both
    "ResNet18": (resnet.ResNet18, vision.resnet18, 32),
    "ResNet50": (resnet.ResNet50, vision.resnet50, 32),
    "DenseNet121": (densenet.DenseNet121, vision.densenet121, 32),
    "InceptionV3": (inception_v3.InceptionV3, vision.inception_v3, 75),
    "ResNeXt50_32x4d_standard": (resnext.ResNeXt50_32x4d_standard, vision.resnext50_32x4d, 32),
    "MobileNetV3_large": (mobilenet_v3.MobileNetV3_large, vision.mobilenet_v3_large, 32),
}


@pytest.mark.parametrize("name", SMALLEST)
def test_evaluation_is_paddles_bit_for_bit(name):
    constructor, theirs, size = SMALLEST[name]
    ours, theirs = randomised(constructor(N_CLASSES)), theirs(num_classes=N_CLASSES)
    if name == "MobileNetV3_large":  # Paddle draws depthwise weights so small that all images would end alike
        recompute_batch_norm(ours, [images(size, 8)])
    names = ours.published_names() if hasattr(ours, "published_names") else {}
    published = {names.get(key, key): value for key, value in ours.state_dict().items()}
    added = [key for key in published if key not in theirs.state_dict()]
    assert all(key.startswith("auxiliary.") for key in added) and bool(added) == (name == "InceptionV3")
    assert {key for key in published if key not in added} == set(theirs.state_dict())
    theirs.set_state_dict(published)
    ours.eval()
    theirs.eval()
    with paddle.no_grad():
        x = images(size)
        logits, features = ours(x).numpy(), ours.features(x)
        np.testing.assert_array_equal(logits, theirs(x).numpy())
        np.testing.assert_array_equal(logits, ours.fc(features).numpy())
    assert features.shape == [2, ours.feature_width] == [2, ours.fc.weight.shape[0]]
    assert np.abs(logits[0] - logits[1]).max() > 1e-4  # the images do matter


@pytest.mark.parametrize("name", [name for name in SMALLEST if not name.startswith("ResNet")])
def test_weights_published_for_paddles_network_are_read_as_they_are(name, tmp_path):
    constructor, theirs, size = SMALLEST[name]
    theirs, ours = randomised(theirs(num_classes=N_CLASSES)), constructor(N_CLASSES)
    paddle.save(theirs.state_dict(), str(tmp_path / "published.pdparams"))
    assert load_into(ours, read_weights(tmp_path / "published.pdparams", ours)) == []
    ours.eval()
    theirs.eval()
    with paddle.no_grad():
        np.testing.assert_array_equal(ours(images(size)).numpy(), theirs(images(size)).numpy())
    with pytest.raises(InputError, match="missing"):  # but for one, they are nobody's
        fewer = {key: value for key, value in theirs.state_dict().items() if "conv" not in key}
        paddle.save(fewer, str(tmp_path / "fewer.pdparams"))
        load_into(ours, read_weights(tmp_path / "fewer.pdparams", ours))


def test_densenet_has_no_batch_norm_that_others_would_pass_over():
    network = densenet.DenseNet121(N_CLASSES)
    before = {key: value.numpy() for key, value in network.state_dict().items() if key.endswith("._mean")}
    assert len(before) == 1 + 2 * 58 + 3 + 1  # stem, dense layers, transitions, end
    recompute_batch_norm(network, [images(32)])
    assert all(np.abs(network.state_dict()[key].numpy() - value).max() > 0 for key, value in before.items())


def test_inception_v3_gives_a_pair_in_training_only():
    network, seen = inception_v3.InceptionV3(N_CLASSES), []
    assert network.auxiliary_weight == 0.4
    for block in network.inception_block_list:
        block.register_forward_post_hook(lambda _, inputs, output: seen.append(output.shape[-1]))
    network.auxiliary.register_forward_pre_hook(lambda _, inputs: seen.append("auxiliary"))
    sides = [35] * 3 + [17] * 5 + ["auxiliary"] + [8] * 3  # the paper's; the head after the last at 17
    with paddle.no_grad():
        network.train()
        logits, auxiliary = network(images(299, n=1))
        assert logits.shape == auxiliary.shape == [1, N_CLASSES]
        assert seen == sides
        seen.clear()
        network.eval()
        assert network(images(299, n=1)).shape == [1, N_CLASSES]
        assert seen == [side for side in sides if side != "auxiliary"]


def test_inception_v3_trains_on_the_expectation_of_paddles_dropout():
    network = inception_v3.InceptionV3(N_CLASSES)
    for layer in network.sublayers():  # with batch norm in evaluation, nothing but dropout could differ
        layer.training = False
    x = images(75)
    expected = network.features(x).numpy()
    network.training = network.dropout.training = True
    np.testing.assert_array_equal(network.features(x).numpy(), expected)
    np.testing.assert_array_equal(network(x)[0].numpy(), network.fc(network.features(x)).numpy())
