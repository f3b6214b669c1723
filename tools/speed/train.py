"""The training loop's speed from image files to moved weights, beside a bare loop of the same network.

Both take turns in one process: same network, batch size, optimiser and number of threads. The bare loop has
one normalised batch in memory and does forward, plain cross entropy, backward and step, nothing else. The
training path is that of train.py: decoding ahead, row weights, moving average, losses read, log and curves.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tools.speed.figures import Figure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Size of the measurement; the defaults are the example's recipe."""
    add = parser.add_argument
    add("--model", default="ResNeXt_small32", help="network, with random weights [ResNeXt_small32]")
    add("--size", type=int, default=32, help="side of the images in pixels [32]")
    add("--classes", type=int, default=10, help="classes [10]")
    add("--batch_size", type=int, default=64, help="images an update [64]")
    add("--steps", type=int, default=8, help="updates a turn [8]")
    add("--turns", type=int, default=15, help="turns of each loop [15]")
    add("--workers", type=int, default=0, help="decoding processes [0: a thread]")


def measure(args: argparse.Namespace) -> list[Figure]:
    """Images a second beside the bare loop's, and the share of the time spent waiting for data."""
    from urnet.runtime.threads import import_paddle

    import_paddle()
    with tempfile.TemporaryDirectory(prefix="urnet-bench-") as name:
        make_images(Path(name), args)
        trainer = make_trainer(Path(name), args)
        bare = bare_loop(args, trainer.job.stage.optimizer)
        quiet = contextlib.redirect_stderr(io.StringIO())  # progress would count the bare loop's time as ours
        with quiet, trainer.open_log() as log, contextlib.closing(trainer.steps(log)) as updates:
            return take_turns(args, bare, updates, log)


def take_turns(args: argparse.Namespace, bare: Callable[[], Any], updates: Any, log: Any) -> list[Figure]:
    """Alternate the loops, bare first and last, and compare each turn of ours with its two neighbours."""
    for _ in range(3):  # warm up
        bare()
        next(updates)
    bare_seconds, seconds, waits = [timed(bare, args.steps)], [], []
    for _ in range(args.turns):
        log.restart_clock()
        turn: list[float] = []
        seconds.append(timed(lambda turn=turn: turn.append(next(updates)), args.steps))
        waits.append(sum(turn))
        bare_seconds.append(timed(bare, args.steps))
    images = args.steps * args.batch_size
    neighbours = [(a + b) / 2 for a, b in itertools.pairwise(bare_seconds)]
    ratio = statistics.median(limit / own for own, limit in zip(seconds, neighbours, strict=True))
    limit = images / statistics.median(neighbours)
    name = f"train {args.model}, batch {args.batch_size}, {args.size} pixels"
    return [
        Figure(name, ratio * limit, "images/s", limit, "bare loop, data in memory"),
        Figure("time spent waiting for data", 100 * sum(waits) / sum(seconds), "%"),
    ]


def timed(function: Callable[[], Any], times: int) -> float:
    """Seconds for calling ``function`` so many times, the device's queue included."""
    import paddle

    start = time.perf_counter()
    for _ in range(times):
        function()
    if paddle.is_compiled_with_cuda():
        paddle.device.cuda.synchronize()
    return time.perf_counter() - start


def make_images(folder: Path, args: argparse.Namespace) -> None:
    """Twenty updates' worth of JPEG files, cut from scikit-learn's photographs, and their lists."""
    import cv2
    from sklearn.datasets import load_sample_images

    photos, rng = load_sample_images().images, np.random.default_rng(0)
    lines = []
    for i in range(20 * args.batch_size):
        photo, side = photos[i % len(photos)], min(2 * args.size, 400)
        top, left = (int(rng.integers(0, length - side)) for length in photo.shape[:2])
        image = cv2.resize(photo[top : top + side, left : left + side], (args.size, args.size))
        cv2.imwrite(str(folder / f"{i:06d}.jpg"), image)
        lines.append(f"{i:06d}.jpg {i % args.classes}\n")
    (folder / "list.txt").write_text("".join(lines))


def make_trainer(folder: Path, args: argparse.Namespace) -> Any:
    """A Trainer as train.py makes it, with row weights, moving average, Nesterov momentum, weight decay."""
    import models
    from urnet.config.duration import Duration
    from urnet.config.recipe import Data, Model, Recipe, Transform
    from urnet.config.stage import Ema, Optimizer, Schedule, Stage
    from urnet.data.lists.build_table import build_table, read_validation
    from urnet.data.sampling.epoch_sampler import EpochSampler
    from urnet.training.stage_job import StageJob
    from urnet.training.trainer import Trainer

    data = Data(
        root=str(folder),
        n_classes=args.classes,
        format="list",
        train_list=str(folder / "list.txt"),
        val_list=str(folder / "list.txt"),
        workers=args.workers,
        prefetch=1,
    )
    stage = Stage(
        "class",
        Duration(3 + args.steps * args.turns, "steps"),
        batch_size=args.batch_size,
        optimizer=Optimizer(nesterov=True),
        schedule=Schedule(lr=0.01),
        ema=Ema(),
    )
    transform = Transform(size=args.size, train="pad_crop", flip=False)
    recipe = Recipe("bench", data, Model(args.model), (stage,), transform)
    table = build_table(data, folder / "table")
    labels = table.column("label")
    task = StageJob(
        recipe=recipe,
        stage=stage,
        network=models.build(args.model, args.classes),
        amp=None,
        table=table,
        labels=labels,
        loss_weight=np.ones(len(labels), np.float32),
        sampler=EpochSampler(labels, seed=0, stage="class"),
        validation=read_validation(data),
        folder=folder / "run",
        curves=folder / "curves",
    )
    return Trainer(task)


def bare_loop(args: argparse.Namespace, settings: Any) -> Callable[[], Any]:
    """One update of the bare loop."""
    import paddle

    import models

    network = models.build(args.model, args.classes)
    optimizer = paddle.optimizer.Momentum(
        0.01,
        settings.momentum,
        weight_decay=settings.weight_decay,
        use_nesterov=settings.nesterov,
        parameters=[p for p in network.parameters() if not p.stop_gradient],
    )
    images = paddle.randn([args.batch_size, 3, args.size, args.size])
    labels = paddle.to_tensor(np.arange(args.batch_size) % args.classes)

    def update() -> None:
        outputs = network(images)
        heads = outputs if isinstance(outputs, tuple) else (outputs,)  # an auxiliary head's logits as well
        sum(paddle.nn.functional.cross_entropy(logits, labels) for logits in heads).backward()
        optimizer.step()
        optimizer.clear_grad(set_to_zero=False)

    return update
