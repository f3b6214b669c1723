"""The host's work in a training step, part by part: operations launched, milliseconds and reads, with a bare loop.

What a device computes is not the subject: small images keep it short, and on a GPU the host does not wait for it. The
step is train.py's, with mixup, moving average and clipping, on images in memory; the bare loop does forward, plain
cross entropy, backward and an optimiser's step of the same network.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

import models
from tools.speed.figures import Figure
from tools.speed.launched import REST, Part, as_parts, launches_of
from tools.speed.reads import reads
from tools.speed.train import bare_step
from urnet.config.duration import Duration
from urnet.config.recipe import Transform
from urnet.config.stage import Ema, Optimizer, Stage
from urnet.core.cli import number

WARM_UP = 2  # steps that do not count
FORWARD, BACKWARD = "forward", "backward"
READS = "reads that wait for the device"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Size of the measurement."""
    add, count = parser.add_argument, number(int, 1)
    add("--model", default="ResNet101", help="network, with random weights [ResNet101]")
    add("--size", type=count, default=32, help="side of the images in pixels [32]")
    add("--classes", type=count, default=1000, help="classes [1000]")
    add("--batch_size", type=count, default=2, help="images per step [2]")
    add("--steps", type=count, default=5, help="steps of each loop, in turns; the median counts [5]")


def measure(args: argparse.Namespace) -> list[Figure]:
    """Launches and milliseconds of every part of a step, the first compared with the bare loop's whole step."""
    from urnet.runtime.threads import import_paddle

    import_paddle()
    own, bare = own_step(args), bare_step(args, Optimizer(nesterov=True))
    for _ in range(WARM_UP):
        launches_of(own)
        bare()
    steps = [(launches_of(own), launches_of(bare)[REST]) for _ in range(args.steps)]
    parts = {name: _median([step[name] for step, _ in steps]) for name in steps[0][0]}
    with reads() as waited:
        own()
    return _figures(
        f"{args.model}, batch {args.batch_size}, {args.size} pixels", parts, _median([b for _, b in steps]), len(waited)
    )


def _figures(what: str, parts: dict[str, Part], bare: Part, waited: int) -> list[Figure]:
    every = list(parts.values())
    whole = Part(sum(part.launches for part in every), sum(part.seconds for part in every))
    network = parts[FORWARD].launches + parts[BACKWARD].launches
    figures = [
        Figure(f"step of {what}", whole.launches, "launches", bare.launches, "bare loop"),
        Figure(f"step of {what}", 1e3 * whole.seconds, "ms", 1e3 * bare.seconds, "bare loop"),
        Figure("all but forward and backward", whole.launches - network, "launches", network, "forward and backward"),
        Figure(READS, waited, "reads"),
    ]
    for name, part in sorted(parts.items(), key=lambda item: -item[1].launches):
        figures += [Figure(name, part.launches, "launches"), Figure(name, 1e3 * part.seconds, "ms")]
    return figures


def _median(parts: list[Part]) -> Part:
    return Part(
        int(statistics.median(part.launches for part in parts)), statistics.median(part.seconds for part in parts)
    )


def own_step(args: argparse.Namespace) -> Callable[[], None]:
    """A step of train.py, its parts marked for ``launches_of``; a loss is read one step late."""
    from urnet.nn.mixup import Mixup
    from urnet.training import step as training
    from urnet.training.objective import StepInput

    stage = Stage(
        "bench",
        Duration(1, "epochs"),
        batch_size=args.batch_size,
        optimizer=Optimizer(nesterov=True, clip_norm=1.0),
        ema=Ema(),
        mixup=0.2,
    )
    state = training.TrainState(models.build(args.model, args.classes), stage, Transform(size=args.size))
    rng, outcomes = np.random.default_rng(0), list[Any]()
    images = rng.integers(0, 256, (args.batch_size, args.size, args.size, 3)).astype(np.uint8)
    labels, weight = rng.integers(0, args.classes, args.batch_size), np.ones(args.batch_size, np.float32)

    def step() -> None:
        number = len(outcomes)
        mixup = Mixup(0.2, args.batch_size, seed=0, stage="bench", step=number)
        outcomes.append(training.train_step(state, StepInput(images, labels, weight, mixup), 0.01, number))
        if number:
            assert outcomes[number - 1].loss >= 0

    def marked() -> None:
        with as_parts(
            (state.model, "forward", FORWARD),
            (training, "loss_of", "loss"),
            (training, "mixed_images", "uploads, mixup"),
            (state, "backward", BACKWARD),
            (state.flat, "gather_gradients", "gradients to vectors"),
            (state, "gradients_not_finite", "look for odd gradients"),
            (state, "figures", "loss and flags to the host"),
            (training, "clip_gradients", "clipping"),
            (state, "apply_gradients", "optimiser"),
            (state.ema, "update", "moving average"),
        ):
            step()

    return marked
