"""Our networks beside timm's of the same architecture, with the same random weights: the same function.

    pip install -e ".[peer]"
    python -m pytest tests/models/test_peer.py -s

prints for each network its peer, the trainable parameters of both and the relative error of the logits,
max |ours - theirs| / max |theirs|, of three random images in float32. Nothing is downloaded.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import paddle
import pytest

import models
from urnet.checkpoints.foreign import TIMM, as_ours, timm_names

pytestmark = pytest.mark.peer
TOLERANCE = 1e-4  # relative error from which two networks are not the same function
IMAGES, LEAST_VARIANCE = 3, 0.03


class Case(NamedTuple):
    """What must be known of timm's network to compare it with ours.

    ``size``: its usual image. ``options``: what timm's constructor is given. ``feature_scale``: what our features
    are multiplied by in front of the classifier, and theirs are not. ``auxiliary``: attribute of the head that
    only training runs, here and there, and its input's shape.
    """

    size: int = 224
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed
    feature_scale: float = 1.0
    auxiliary: tuple[str, str, tuple[int, int, int]] | None = None


CASES = {  # the others are as the defaults say; for Inception-v3's epsilon and scale see models/inception_v3.py
    "InceptionV3": Case(
        299, {"aux_logits": True, "norm_eps": 1e-5}, 0.8, auxiliary=("auxiliary", "AuxLogits", (768, 17, 17))
    ),
    "InceptionV4": Case(299),
    "InceptionResNetV2": Case(299),
}


def randomise(network, runs):
    """Give every parameter and statistic of a torch network a random value, the same every time.

    Batch-norm statistics are those of the layer's own input in the runs, moved by about a tenth, layer after
    layer: so activations neither vanish nor explode at any depth. With gamma 0.25..0.75 and beta about 0.5
    most of them pass a ReLU; were half of them cut, a hundred layers would magnify rounding errors a
    thousandfold. So would a layer behind a global pool, where all images are alike: a variance is at least
    LEAST_VARIANCE. Other weights are normal with variance 2 / fan_in, their biases with deviation 0.1.
    """
    import torch

    random = torch.Generator().manual_seed(0)

    def measure(layer, args):
        variance, mean = torch.var_mean(args[0], dim=(0, 2, 3))
        variance = variance.clamp_min(LEAST_VARIANCE)
        noise = torch.empty_like(mean).normal_(0, 0.1, generator=random)
        layer.running_mean.copy_(mean + noise * variance.sqrt())
        layer.running_var.copy_(variance * torch.empty_like(mean).uniform_(0.8, 1.25, generator=random))

    handles = []
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            handles.append(layer.register_forward_pre_hook(measure))
            layer.weight.uniform_(0.25, 0.75, generator=random)
            layer.bias.normal_(0.5, 0.2, generator=random)
        elif isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            layer.weight.normal_(0, math.sqrt(2 / layer.weight[0].numel()), generator=random)
            if layer.bias is not None:
                layer.bias.normal_(0, 0.1, generator=random)
    for run in runs:
        run()
    for handle in handles:
        handle.remove()


def noise(shape):
    """Random images (or grids) of different contrast and colour, float32, the same every time."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(IMAGES, *shape)) * rng.uniform(0.5, 1.5, (IMAGES, 1, 1, 1))
    return (values + rng.normal(size=(IMAGES, shape[0], 1, 1))).astype("float32")


@pytest.mark.parametrize("name", TIMM)
def test_the_logits_are_timm_s(name):
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    case = CASES.get(name, Case())
    theirs, ours = timm.create_model(TIMM[name][0], pretrained=False, **case.options), models.build(name, 1000)
    ours.eval()
    theirs.eval()
    theirs.get_classifier().register_forward_pre_hook(lambda _, args: (args[0] * case.feature_scale,))
    parts = [(ours, theirs, (3, case.size, case.size))]
    if case.auxiliary:
        at_ours, at_theirs, shape = case.auxiliary
        theirs.aux_logits = False  # run on an input of its own, not within the network
        parts.append((getattr(ours, at_ours), getattr(theirs, at_theirs), shape))
    inputs = [noise(shape) for _, _, shape in parts]
    runs = [lambda p=p, x=x: p[1](torch.from_numpy(x)) for p, x in zip(parts, inputs, strict=True)]
    with torch.no_grad(), paddle.no_grad():
        randomise(theirs, runs)
        weights, own = theirs.state_dict(), ours.state_dict()
        shapes = {key: tuple(value.shape) for key, value in own.items()}
        for key, other in timm_names(name, {key: tuple(v.shape) for key, v in weights.items()}, shapes).items():
            own[key].set_value(as_ours(weights[other].numpy(), shapes[key]))
        found = [p[0](paddle.to_tensor(x)).numpy() for p, x in zip(parts, inputs, strict=True)]
        expected = [run().numpy() for run in runs]
    error = float(np.max([np.abs(a - b).max() / np.abs(b).max() for a, b in zip(found, expected, strict=True)]))
    counts = (
        sum(int(p.size) for p in ours.parameters() if not p.stop_gradient),
        sum(p.numel() for p in theirs.parameters()),
    )
    print(f"\n{name:<26} {TIMM[name][0]:<26} {counts[0]:>11,} {counts[1]:>11,} {error:8.1e}", end=" ")
    assert counts[0] == counts[1]
    assert error < TOLERANCE
