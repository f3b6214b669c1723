"""The training loop's speed from image files to updated weights, compared with a bare loop of the same network.

Both take turns in one process: same network, batch size, optimiser and number of threads. The bare loop has one
normalised batch in memory and does forward, plain cross entropy, backward and step, nothing else. The training path
is that of train.py: decoding ahead, row weights, moving average, losses read, log and curves.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

import models
from tools.speed.figures import Figure
from tools.speed.photographs import write_photographs
from tools.speed.timing import per_second, take_turns
from urnet.config.duration import Duration
from urnet.config.recipe import Data, Model, Recipe, Transform
from urnet.config.stage import Ema, Optimizer, Schedule, Stage
from urnet.core.cli import number
from urnet.data.lists.build_table import build_table, read_validation
from urnet.data.table.table import Table

WARM_UP = 3  # steps that do not count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Size of the measurement; the defaults are the example's recipe."""
    add, count = parser.add_argument, number(int, 1)
    add("--model", default="ResNeXt_small32", help="network, with random weights [ResNeXt_small32]")
    add("--size", type=count, default=32, help="side of the images in pixels [32]")
    add("--classes", type=count, default=10, help="classes [10]")
    add("--batch_size", type=count, default=64, help="images per step [64]")
    add("--steps", type=count, default=8, help="steps per turn [8]")
    add("--turns", type=count, default=15, help="turns of each loop [15]")
    add("--workers", type=number(int, 0), default=0, help="processes that decode [0: a thread]")


def measure(args: argparse.Namespace) -> list[Figure]:
    """Images a second compared with the bare loop's, and the share of the time spent waiting for data."""
    with tempfile.TemporaryDirectory(prefix="urnet-bench-") as name:
        recipe, waits = make_recipe(Path(name), args), list[float]()
        table = build_table(recipe.data, Path(name, "table"))
        with training_steps(recipe, recipe.stages[0], table, Path(name)) as steps:
            bare = bare_step(args, recipe.stages[0].optimizer)
            for _ in range(WARM_UP):
                bare()
                next(steps)
            seconds = take_turns(
                {"train": lambda: seconds_of(lambda: waits.append(next(steps)), args.steps)},
                args.turns,
                {"bare": lambda: seconds_of(bare, args.steps)},
            )
    own, limit = (per_second(args.steps * args.batch_size, seconds[key]) for key in ("train", "bare"))
    name = f"train {args.model}, batch {args.batch_size}, {args.size} pixels"
    return [
        Figure(name, own, "images/s", limit, "bare loop, data in memory"),
        Figure("time spent waiting for data", 100 * sum(waits) / sum(seconds["train"]), "%"),
    ]


def seconds_of(step: Callable[[], object], times: int) -> float:
    """Seconds of so many calls of ``step``, the device's queue included."""
    from urnet.runtime.device_to_host import device_done

    start = time.perf_counter()
    for _ in range(times):
        step()
    device_done()
    return time.perf_counter() - start


def make_recipe(folder: Path, args: argparse.Namespace) -> Recipe:
    """Twenty steps' worth of photographs in ``folder``, their list, and a recipe of one stage on them."""
    crop = min(2 * args.size, 400)
    files = write_photographs(folder, 20 * args.batch_size, (crop, crop), scale=args.size / crop)
    listed = folder / "list.txt"
    listed.write_text("".join(f"{file.name} {i % args.classes}\n" for i, file in enumerate(files)))
    lists: dict[str, Any] = {"train_list": str(listed), "val_list": str(listed)}
    data = Data(str(folder), args.classes, "list", **lists, workers=args.workers, prefetch=1)
    duration = Duration(WARM_UP + args.steps * args.turns, "steps")
    settings: dict[str, Any] = {"optimizer": Optimizer(nesterov=True), "schedule": Schedule(lr=0.01), "ema": Ema()}
    stage = Stage("class", duration, batch_size=args.batch_size, **settings)
    transform = Transform(size=args.size, train="pad_crop", flip=False)
    return Recipe("bench", data, Model(args.model), (stage,), transform)


@contextlib.contextmanager
def training_steps(recipe: Recipe, stage: Stage, table: Table, folder: Path) -> Iterator[Iterator[float]]:
    """train.py's own loop over one stage with all row weights 1, on random weights; ``folder`` gets its log.

    ``next`` of what is yielded trains a step and gives the seconds that its batch was waited for.
    """
    from urnet.runtime.threads import import_paddle

    import_paddle()
    from urnet.runtime.precision import choose_amp, choose_device
    from urnet.training.stage_job import StageJob, make_sampler
    from urnet.training.trainer import Trainer

    labels = table.column("label")
    job = StageJob(
        recipe=recipe,
        stage=stage,
        network=models.build(
            recipe.model.name,
            recipe.data.n_classes,
            recompute=recipe.model.recompute,
            data_format=recipe.model.data_format,
        ),
        amp=choose_amp(stage.amp, choose_device(recipe.device)),
        table=table,
        labels=labels,
        loss_weight=np.ones(len(labels), np.float32),
        sampler=make_sampler(recipe, stage, labels),
        validation=read_validation(recipe.data, table),
        folder=folder / "run",
        curves=folder / "curves",
    )
    trainer = Trainer(job)
    quiet = contextlib.redirect_stderr(io.StringIO())  # the display would count other programs' turns as training
    with quiet, trainer.open_log() as log, contextlib.closing(cast("Generator[float]", trainer.steps(log))) as steps:
        yield steps


def bare_step(args: argparse.Namespace, settings: Optimizer) -> Callable[[], None]:
    """A step of the bare loop."""
    import paddle

    network = models.build(args.model, args.classes)
    trained = [p for p in network.parameters() if not p.stop_gradient]
    how: dict[str, Any] = {"weight_decay": settings.weight_decay, "use_nesterov": settings.nesterov}
    optimizer = paddle.optimizer.Momentum(0.01, settings.momentum, trained, **how)
    images = paddle.randn([args.batch_size, 3, args.size, args.size])
    labels = paddle.to_tensor(np.arange(args.batch_size) % args.classes)

    def step() -> None:
        outputs = network(images)
        heads = outputs if isinstance(outputs, tuple) else (outputs,)  # an auxiliary head's logits as well
        sum(paddle.nn.functional.cross_entropy(logits, labels) for logits in heads).backward()
        optimizer.step()
        optimizer.clear_grad(set_to_zero=False)

    return step
