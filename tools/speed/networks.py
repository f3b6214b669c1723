"""Every network's size, work and speed of prediction on the CPU, beside a bare matrix product.

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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import models
from tools.speed.figures import Figure, Times, number
from tools.speed.timing import per_call, take_turns
from urnet.core import cli
from urnet.core.atomic_files import atomic_file
from urnet.core.checks import InputError, check_choice

BATCH_SIZE = 8
GEMM_SIDE = 2048
N_CLASSES = 1000
SIZES = {"InceptionV3": 299, "InceptionV4": 299, "InceptionResNetV2": 299}  # the other large ones: 224
SOURCES = {  # beginning of a name -> paper; the longest that fits counts
    "ResNeXt": "Xie et al. 2017, Aggregated Residual Transformations",
    "ResNeXt_small32": "ours, after Xie et al. 2017",
    "ResNet": "He et al. 2016, Deep Residual Learning",
    "ResNet8_small32": "ours, after He et al. 2016",
    "DenseNet": "Huang et al. 2017, Densely Connected Convolutional Networks",
    "InceptionV2": "Ioffe and Szegedy 2015, Batch Normalization",
    "InceptionV2_multiscale": "Guo et al. 2018, CurriculumNet",
    "InceptionV3": "Szegedy et al. 2016, Rethinking the Inception Architecture",
    "InceptionV4": "Szegedy et al. 2017, Inception-v4",
    "InceptionResNetV2": "Szegedy et al. 2017, Inception-v4",
    "SE_ResNeXt": "Hu et al. 2018, Squeeze-and-Excitation Networks",
    "SENet": "Hu et al. 2018, Squeeze-and-Excitation Networks",
    "ResNeSt": "Zhang et al. 2020, ResNeSt",
    "DPN": "Chen et al. 2017, Dual Path Networks",
}


@dataclass(frozen=True)
class Measured:
    """One network at ``size`` pixels; ``limit`` is in images a second too."""

    name: str
    size: int
    parameters: int
    gflops: float
    feature_width: int
    images_per_second: float
    limit: float

    def figures(self) -> list[Figure]:
        """The network's lines of the table of figures."""
        at = f"{self.name} at {self.size}"
        return [
            Figure(f"{self.name} parameters", self.parameters / 1e6, "million"),
            Figure(f"{self.name} feature width", self.feature_width, "values"),
            Figure(f"{at}: work an image", self.gflops, "GFLOPs"),
            Figure(at, self.images_per_second, "images/s", self.limit, "bare float32 matrix product"),
        ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which networks, at which size, for how long."""
    add = parser.add_argument
    few = "ResNet50,ResNet8_small32"
    add("--networks", default=few, metavar="NAMES", help="names with commas between, or all (default %(default)s)")
    add("--size", type=int, help="side of the images in pixels (default: each network's usual one)")
    add("--seconds", type=float, default=3.0, help="to measure a network for (default %(default)s)")
    add("--table", type=Path, metavar="FILE", help="write the Markdown table there instead of printing it")


def measure(args: argparse.Namespace) -> list[Figure]:
    """Measure the networks one after the other; the Markdown table goes to stdout or to --table."""
    names = chosen(args.networks)
    if not args.seconds > 0 or (args.size is not None and args.size < 1):
        raise InputError(f"--seconds {args.seconds}, --size {args.size}: above 0 each")
    for name in names:
        models.check_size(name, args.size or usual_size(name), "--size")
    from urnet.runtime.threads import import_paddle

    import_paddle()
    rows = []
    with cli.results_only() as results:
        for name in names:
            print(f"measuring {name}", file=sys.stderr)
            rows.append(measure_network(name, args.size or usual_size(name), args.seconds))
        text = markdown(rows)
        if args.table is None:
            results.write(text + "\n")
    if args.table is not None:
        with atomic_file(args.table, replace=True) as part:
            part.write_text(text, encoding="utf-8")
    return [figure for row in rows for figure in row.figures()]


def chosen(text: str) -> list[str]:
    """The networks that ``--networks`` names, each once."""
    if text == "all":
        return list(models.NAMES)
    names = [name.strip() for name in text.split(",")]
    return [check_choice("--networks", name, ("all", *models.NAMES)) for name in dict.fromkeys(names)]


def usual_size(name: str) -> int:
    """The side of the images, in pixels, for which the network is usually quoted."""
    return 32 if name.endswith("_small32") else SIZES.get(name, 224)


def source(name: str) -> str:
    """The paper a network comes from."""
    return SOURCES[max((key for key in SOURCES if name.startswith(key)), key=len)]


def measure_network(name: str, size: int, seconds: float) -> Measured:
    """Count the network's parameters and work, then its speed between two measurements of the limit."""
    network = models.build(name, N_CLASSES)
    parameters = sum(int(p.size) for p in network.parameters() if not p.stop_gradient)
    work = multiply_adds(network, size)
    batches = per_call(predictor_call(network, size), seconds)
    taken = take_turns({"network": batches}, limits={"product": seconds_a_product})
    speed, limit = Times(BATCH_SIZE, taken["network"]).rate, Times(GEMM_SIDE**3 / work, taken["product"]).rate
    return Measured(name, size, parameters, work / 1e9, network.feature_width, speed, limit)


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

    hooks = [layer.register_forward_post_hook(count) for layer in counted_layers(network)]
    with evaluating(network), paddle.no_grad():
        network(paddle.zeros([1, 3, size, size]))
    for hook in hooks:
        hook.remove()
    return sum(counts)


def counted_layers(network: Any) -> list[Any]:
    """Every convolution and linear layer; raises InputError for another layer with a kernel or a matrix."""
    from paddle import nn

    layers = []
    for name, layer in network.named_sublayers(include_self=True):
        if isinstance(layer, (nn.Conv2D, nn.Linear)):
            layers.append(layer)
        elif any(p.ndim > 1 for p in layer.parameters(include_sublayers=False)):
            raise InputError(f"layer {name!r}: found {type(layer).__name__}; only Conv2D and Linear are counted")
    return layers


def seconds_a_product(side: int = GEMM_SIDE, at_least: float = 0.5) -> float:
    """Seconds of a float32 product of two matrices of ``side`` x ``side``, with Paddle's own library and threads."""
    import paddle

    a = paddle.ones([side, side])
    return per_call(lambda: paddle.matmul(a, a), at_least)()


def predictor_call(network: Any, size: int) -> Callable[[], object]:
    """``Predictor`` on one batch of random images."""
    from urnet.inference.predictor import Predictor
    from urnet.nn.normalise import Normalise

    normalised = Normalise(network, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    predictor = Predictor(normalised, size, engine="inference", batch_size=BATCH_SIZE)
    batch = np.random.default_rng(0).integers(0, 256, (BATCH_SIZE, size, size, 3), np.uint8)
    return lambda: predictor.probabilities(batch)


def markdown(rows: Sequence[Measured]) -> str:
    """The table for the documentation, a network a line."""
    lines = [
        "| name | parameters | GFLOPs (pixels) | feature width | images/s here | source |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        work = f"{number(row.gflops)} ({row.size})"
        cells = [row.name, f"{row.parameters:,}", work, f"{row.feature_width:,}"]
        lines.append(f"| {' | '.join([*cells, number(row.images_per_second), source(row.name)])} |")
    return "\n".join(lines) + "\n"
