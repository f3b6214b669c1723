"""Training steps of a network with depthwise convolutions, compared with Paddle's own convolutions.

Forward, cross entropy, backward and step of one random batch in memory. ``--from_unit N`` trains the end of
EfficientNet-Lite0 only, on kept maps, with batch norm in evaluation mode: its units from N on, head and classifier.
The best turn counts: both do the same work in every turn, and what else the machine does only adds to it.
"""

from __future__ import annotations

import argparse
from typing import Any

import models
from tools.speed.figures import Figure
from tools.speed.timing import Work, take_turns, timed
from urnet.core import cli
from urnet.core.checks import InputError, check_choice

N_CLASSES = 20
NETWORKS = ("EfficientNetLite0", "MobileNetV3_large")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which network, and how much of it."""
    add, count = parser.add_argument, cli.number(int, 1)
    add("--network", default=NETWORKS[0], help="network, with random weights (default %(default)s)")
    add("--size", type=count, default=224, help="side of the images in pixels (default %(default)s)")
    add("--batch_size", type=count, default=32, help="images per step (default %(default)s)")
    add("--turns", type=count, default=3, help="steps of each kind (default %(default)s)")
    add(
        "--from_unit",
        type=cli.number(int, 1),
        help="train EfficientNetLite0 from this unit, 1 to 15 (default: the whole network)",
    )


def measure(args: argparse.Namespace) -> list[Figure]:
    """Images a second of both."""
    check_choice("--network", args.network, NETWORKS)
    if args.from_unit is not None and (args.network != NETWORKS[0] or args.from_unit > 15):
        raise InputError(f"--from_unit: {args.from_unit} of {args.network}; 1 to 15 of {NETWORKS[0]} are accepted")
    from urnet.runtime.threads import import_paddle

    import_paddle()
    import paddle

    from models.depthwise import Conv2D

    network = models.build(args.network, N_CLASSES)
    layers = [layer for layer in network.sublayers() if type(layer) is Conv2D]
    trained, x = network, paddle.randn([args.batch_size, 3, args.size, args.size])
    if args.from_unit is not None:
        trained, x = _end(network, args.from_unit, x)
    optimizer = paddle.optimizer.Momentum(0.01, parameters=trained.parameters())
    labels = paddle.randint(0, N_CLASSES, [args.batch_size])

    def step(kind: type) -> None:
        for layer in layers:
            layer.__class__ = kind
        paddle.nn.functional.cross_entropy(trained(x), labels).backward()
        optimizer.step()
        optimizer.clear_grad(set_to_zero=False)

    works: dict[str, Work] = {"products": timed(step, Conv2D), "Paddle's": timed(step, paddle.nn.Conv2D)}
    with cli.results_only():
        for work in works.values():
            work()
        best = {name: args.batch_size / min(seconds) for name, seconds in take_turns(works, args.turns).items()}
    part = "" if args.from_unit is None else f" from unit {args.from_unit} on"
    name = f"{args.network}{part}, {args.size} pixels: training steps"
    return [Figure(name, best["products"], "images/s", best["Paddle's"], "Paddle's own convolutions")]


def _end(network: Any, first: int, x: Any) -> tuple[Any, Any]:
    """The network's end from unit ``first`` on, in evaluation mode, and what it sees of the images ``x``."""
    import paddle

    network.eval()
    with paddle.no_grad():
        x = network.stem(x)
        for unit in network.units[:first]:
            x = unit(x)
    pool = paddle.nn.AdaptiveAvgPool2D(1)
    return paddle.nn.Sequential(*network.units[first:], network.head, pool, paddle.nn.Flatten(), network.fc), x
