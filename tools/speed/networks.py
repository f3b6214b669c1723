"""Every network's size, work and speed of prediction on the CPU, compared with a bare matrix product.

Parameters are the trainable ones with 1,000 classes, a head that only training uses included. GFLOPs are
10^9 multiply-adds of the convolutions and linear layers for one image, as papers count them: a multiply-add
is one. Images a second are those of Paddle's inference engine with oneDNN, normalisation and softmax
included, random weights, batches of 8 in memory. Beside them is what a float32 matrix product of 2,048 x
2,048 does on the same threads, measured before and after: multiply-adds a second / multiply-adds an image.
It is a yardstick and no limit: oneDNN's convolutions were seen to do up to twice as many.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import models
from tools.speed.figures import Figure
from tools.speed.timing import Work, per_second, take_turns, timed
from urnet.core import cli
from urnet.core.checks import InputError, check_choice

BATCH_SIZE = 8
GEMM_SIDE, GEMM_SECONDS = 2048, 0.5
N_CLASSES = 1000
SIZES = {"InceptionV3": 299, "InceptionV4": 299, "InceptionResNetV2": 299}  # the other large ones: 224


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which networks, at which size, for how long."""
    add, few, positive = parser.add_argument, "ResNet50,ResNet8_small32", cli.number(float, 0, above=True)
    add("--networks", default=few, metavar="NAMES", help="names separated by commas, or all (default %(default)s)")
    add("--size", type=cli.number(int, 1), help="side of the images in pixels (default: each network's usual one)")
    add("--seconds", type=positive, default=3.0, help="to measure a network for (default %(default)s)")


def measure(args: argparse.Namespace) -> list[Figure]:
    """Measure the networks one after the other."""
    names = list(dict.fromkeys(name.strip() for name in args.networks.split(",")))
    if names == ["all"]:
        names = list(models.NAMES)
    sizes = {}
    for name in names:
        check_choice("--networks", name, ("all", *models.NAMES))
        sizes[name] = args.size or usual_size(name)
        models.check_size(name, sizes[name], "--size")
    from urnet.runtime.threads import import_paddle

    import_paddle()
    figures = []
    with cli.results_only():
        for name, size in sizes.items():
            print(f"measuring {name}", file=sys.stderr)
            figures += measure_network(name, size, args.seconds)
    return figures


def usual_size(name: str) -> int:
    """The side of the images, in pixels, for which the network is usually quoted."""
    return 32 if name.endswith("_small32") else SIZES.get(name, 224)


def measure_network(name: str, size: int, seconds: float) -> list[Figure]:
    """Count the network's parameters and work, then its speed between two measurements of the product."""
    import paddle

    from urnet.inference.predictor import Predictor
    from urnet.nn.normalise import Normalise

    network = models.build(name, N_CLASSES)
    normalised = Normalise(network, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    batch = np.random.default_rng(0).integers(0, 256, (BATCH_SIZE, size, size, 3), np.uint8)
    parameters = sum(int(p.size) for p in network.parameters() if not p.stop_gradient)
    work, square = multiply_adds(network, size), paddle.ones([GEMM_SIDE, GEMM_SIDE])
    predictor = Predictor(normalised, size, engine="inference", batch_size=BATCH_SIZE)
    taken = take_turns(
        {"network": seconds_a_call(lambda: predictor.probabilities(batch), seconds)},
        limits={"product": seconds_a_call(lambda: paddle.matmul(square, square), GEMM_SECONDS)},
    )
    speed, limit = per_second(BATCH_SIZE, taken["network"]), per_second(GEMM_SIDE**3 / work, taken["product"])
    return [
        Figure(f"{name} parameters", parameters / 1e6, "million"),
        Figure(f"{name} feature width", network.feature_width, "values"),
        Figure(f"{name} at {size}: work an image", work / 1e9, "GFLOPs"),
        Figure(f"{name} at {size}", speed, "images/s", limit, "bare float32 matrix product"),
    ]


def seconds_a_call(function: Callable[[], object], seconds: float) -> Work:
    """The work of calling ``function`` for about ``seconds``: seconds a call. The first two calls do not count."""

    def work() -> float:
        function()  # prepares
        times = max(1, round(seconds / timed(function)()))
        return timed(function, times=times)() / times

    return work


def multiply_adds(network: Any, size: int) -> int:
    """Multiply-adds of all convolutions and linear layers for one image (3, size, size), in evaluation mode.

    A layer is counted whenever it is called, from the shape of what it returns: for a convolution
    out x H x W x in / groups x kernel area, for a linear layer in x out. Biases, batch norm, activations,
    pools and products between activations are not counted. Raises InputError for a network with a kernel or
    a matrix in any other kind of layer, whose work would be missing.
    """
    import paddle
    from paddle import nn

    from urnet.nn.modes import evaluating

    counts: list[int] = []

    def count(layer: Any, _: Any, output: Any) -> None:
        n_out = layer.weight.shape[0 if isinstance(layer, nn.Conv2D) else -1]
        counts.append(int(output.size) * (int(layer.weight.size) // n_out))

    hooks = []
    for name, layer in network.named_sublayers(include_self=True):
        if isinstance(layer, (nn.Conv2D, nn.Linear)):
            hooks.append(layer.register_forward_post_hook(count))
        elif any(p.ndim > 1 for p in layer.parameters(include_sublayers=False)):
            raise InputError(f"layer {name!r}: found {type(layer).__name__}; only Conv2D and Linear are counted")
    with evaluating(network), paddle.no_grad():
        network(paddle.zeros([1, 3, size, size]))
    for hook in hooks:
        hook.remove()
    return sum(counts)
