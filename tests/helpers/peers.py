"""Other libraries' networks of our architectures, built with random weights, and their weights as files."""

from __future__ import annotations

import importlib
import importlib.util
import math
import re
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from urnet.checkpoints.pytorch_names import TIMM

_DENSENETS = {f"DenseNet{depth}": f"densenet{depth}" for depth in (121, 161, 169, 201)}
_RESNETS = {f"ResNet{depth}": f"resnet{depth}" for depth in (18, 34, 50, 101, 152)}
TORCHVISION = {  # our network -> theirs of the same architecture
    **_RESNETS,
    "ResNeXt50_32x4d_standard": "resnext50_32x4d",
    "ResNeXt101_32x4d": "resnext101_32x8d",
    "ResNeXt101_64x4d": "resnext101_64x4d",
    **_DENSENETS,
    "InceptionV3": "inception_v3",
    "MobileNetV3_large": "mobilenet_v3_large",
}
PADDLE_VISION = {
    **_RESNETS,
    **{f"ResNeXt{depth}_32x4d_standard": f"resnext{depth}_32x4d" for depth in (50, 101, 152)},
    **{f"ResNeXt{depth}_64x4d": f"resnext{depth}_64x4d" for depth in (50, 101)},
    **_DENSENETS,
    "InceptionV3": "inception_v3",
    "MobileNetV3_large": "mobilenet_v3_large",
}
PADDLECLAS = {  # our network -> module and name
    **{f"ResNet{depth}": f"legendary_models.resnet.ResNet{depth}" for depth in (50, 101, 152)},
    **{f"ResNeXt{depth}_32x4d_standard": f"model_zoo.resnext.ResNeXt{depth}_32x4d" for depth in (50, 101, 152)},
    **{f"ResNeXt{depth}_64x4d": f"model_zoo.resnext.ResNeXt{depth}_64x4d" for depth in (50, 101)},
    **{name: f"model_zoo.densenet.{name}" for name in _DENSENETS},
    "InceptionV3": "legendary_models.inception_v3.InceptionV3",
    "DPN92": "model_zoo.dpn.DPN92",
    "DPN131": "model_zoo.dpn.DPN131",
}
PEERS = {
    "timm": TIMM,
    "torchvision": TORCHVISION,
    "efficientnet-lite-pytorch": {"EfficientNetLite0": "efficientnet-lite0"},
    "paddle.vision": PADDLE_VISION,
    "PaddleClas": PADDLECLAS,
}
PADDLES = ("paddle.vision", "PaddleClas")
IMAGES, LEAST_VARIANCE = 3, 0.03


def peer(library, name):
    """``library``'s network in the place of ours of that ``name``, in evaluation; skips where it is missing."""
    theirs = PEERS[library][name]
    if library == "timm":
        options = {"aux_logits": True} if name == "InceptionV3" else {}
        network = pytest.importorskip("timm").create_model(theirs, pretrained=False, **options)
    elif library == "torchvision":
        options = {"init_weights": False, "transform_input": True} if name == "InceptionV3" else {}
        network = getattr(pytest.importorskip("torchvision").models, theirs)(weights=None, **options)
    elif library == "efficientnet-lite-pytorch":
        network = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name(theirs)
    elif library == "paddle.vision":  # all of them with the others; test_vision_wrappers.py has each family everywhere
        pytest.importorskip("torch", reason="with the extra `peer` only")
        network = getattr(paddle.vision.models, theirs)()
    else:
        network = paddleclas(theirs)
    network.eval()
    return network


def paddleclas(name, **options):
    """A network of PaddleClas's, without the package's other needs, which it pins to old versions."""
    found = importlib.util.find_spec("paddleclas")
    if found is None or not found.submodule_search_locations:
        pytest.skip("could not find 'paddleclas' (pip install --no-deps paddleclas)")
    folder = str(found.submodule_search_locations[0])
    if folder not in sys.path:
        sys.path.append(folder)
    importlib.import_module("ppcls.utils.logger").init_logger()
    module, _, constructor = name.rpartition(".")
    with paddle.utils.unique_name.guard():
        return getattr(importlib.import_module(f"ppcls.arch.backbone.{module}"), constructor)(**options)


def noise(shape):
    """Random images (or grids) of different contrast and colour, float32, the same every time."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(IMAGES, *shape)) * rng.uniform(0.5, 1.5, (IMAGES, 1, 1, 1))
    return (values + rng.normal(size=(IMAGES, shape[0], 1, 1))).astype("float32")


def outputs(network, inputs):
    """What a network of either framework gives, as an array."""
    if isinstance(network, paddle.nn.Layer):
        with paddle.no_grad():
            return network(paddle.to_tensor(inputs)).numpy()
    torch = importlib.import_module("torch")
    with torch.no_grad():
        return network(torch.from_numpy(inputs)).numpy()


def randomise(network, runs):
    """Give every parameter and statistic of a network of either framework a random value, the same every time.

    Batch-norm statistics are those of the layer's own input in the ``runs``, moved by about a tenth, layer after
    layer: so activations neither vanish nor explode at any depth. With gamma 0.25..0.75 and beta about 0.5
    most of them pass a ReLU; were half of them cut, a hundred layers would magnify rounding errors a
    thousandfold. So would a layer behind a global pool, where all images are alike: a variance is at least
    LEAST_VARIANCE. Other weights are normal with variance 2 / fan_in, their biases with deviation 0.1.
    """
    rng = np.random.default_rng(0)
    ours = isinstance(network, paddle.nn.Layer)

    def put(tensor, values):
        values = np.ascontiguousarray(values, "float32")
        tensor.set_value(values) if ours else tensor.data.copy_(importlib.import_module("torch").from_numpy(values))

    def measure(layer, inputs):
        x = inputs[0].numpy()
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), dtype="float64").clip(LEAST_VARIANCE)
        places = (layer._mean, layer._variance) if ours else (layer.running_mean, layer.running_var)
        put(places[0], mean + rng.normal(0, 0.1, mean.shape) * np.sqrt(variance))
        put(places[1], variance * rng.uniform(0.8, 1.25, mean.shape))

    hooks = []
    for layer in network.sublayers() if ours else network.modules():
        kind = type(layer).__name__
        if kind.startswith("BatchNorm"):
            hooks.append(layer.register_forward_pre_hook(measure))
            put(layer.weight, rng.uniform(0.25, 0.75, layer.weight.shape))
            put(layer.bias, rng.normal(0.5, 0.2, layer.bias.shape))
        elif kind.startswith(("Conv2d", "Conv2D", "Linear")) and hasattr(layer, "weight"):
            shape = tuple(layer.weight.shape)
            fan_in = shape[0] if ours and len(shape) == 2 else math.prod(shape[1:])
            put(layer.weight, rng.normal(0, math.sqrt(2 / fan_in), shape))
            if layer.bias is not None:
                put(layer.bias, rng.normal(0, 0.1, layer.bias.shape))
    for run in runs:
        run()
    for hook in hooks:
        hook.remove()


def as_published(library, network):
    """The state dict as the library's own files have it."""
    if library == "torchvision" and type(network).__name__ == "DenseNet":  # files from before the layers' renaming
        return {re.sub(r"(norm|conv)(\d\.\w+)$", r"\1.\2", k) if "denselayer" in k else k: v
                for k, v in network.state_dict().items()}  # fmt: skip
    return network.state_dict()


def write(library, network, folder: Path) -> Path:
    """The network's weights in a file as the library's users have it."""
    weights = as_published(library, network)
    if library == "timm":
        importlib.import_module("safetensors.torch").save_file(weights, folder / "model.safetensors")
        return folder / "model.safetensors"
    if library not in PADDLES:
        importlib.import_module("torch").save(weights, folder / "weights.pth")
        return folder / "weights.pth"
    paddle.save(weights, str(folder / "weights.pdparams"))
    return folder / "weights.pdparams"
