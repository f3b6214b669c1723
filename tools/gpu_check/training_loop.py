"""A training on made pictures in memory, by train.py's own step: losses, images a second, memory."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle

import models
from urnet.config.duration import Duration
from urnet.config.recipe import Transform
from urnet.config.stage import Ema, Optimizer, Stage
from urnet.runtime.device_to_host import Download, device_done
from urnet.runtime.host_to_device import on_gpu
from urnet.runtime.precision import tune_gpu
from urnet.training.objective import StepInput
from urnet.training.step import TrainState, train_step

N_CLASSES, BATCHES, WARM_UP = 10, 4, 3  # made batches, in turns; steps that do not count in a rate
APART, LAST = 0.1, 5  # of the mean loss: how far a run may be from float32's; steps whose mean is "the end"
PERSISTENT = "FLAGS_cudnn_batchnorm_spatial_persistent"


@dataclass(frozen=True)
class Loop:
    """``steps`` of ``network``, ``batch`` images of ``size`` pixels each; ``amp`` None, "float16" or "bfloat16"."""

    network: str
    size: int
    batch: int
    steps: int
    amp: str | None = None
    data_format: str = "NCHW"
    compiled: bool = False


@dataclass
class Trained:
    """What a loop came to. Its network and optimiser are gone."""

    losses: list[float] = field(default_factory=list)
    rate: float = 0.0  # images/s, the device's work included
    host_ms: float = 0.0  # of a step until it is launched
    step_ms: float = 0.0  # of a step until it is done
    memory_gib: float = 0.0  # the most that tensors held; 0 on the CPU


def train(loop: Loop) -> Trained:
    """Losses of all steps, and times of those after WARM_UP; on a GPU with the flags that train.py sets."""
    if on_gpu():
        paddle.set_flags({PERSISTENT: False})  # another loop's
        tune_gpu(half=loop.amp is not None, channels_last=loop.data_format == "NHWC")
        paddle.device.cuda.empty_cache()
        paddle.device.cuda.reset_max_memory_allocated()
    state, batches, found = make_state(loop), made_batches(loop), Trained()
    late, host, begun = list[Download](), 0.0, 0.0
    for step in range(loop.steps):
        if step == min(WARM_UP, loop.steps - 1):
            device_done()
            host, begun = 0.0, time.perf_counter()
        start = time.perf_counter()
        late.append(train_step(state, batches[step % BATCHES], 0.05, step).figures)
        host += time.perf_counter() - start
    device_done()
    timed, seconds = max(loop.steps - WARM_UP, 1), time.perf_counter() - begun
    found.rate, found.host_ms, found.step_ms = timed * loop.batch / seconds, 1e3 * host / timed, 1e3 * seconds / timed
    found.losses = [float(one.value()[0]) for one in late]
    if on_gpu():
        found.memory_gib = paddle.device.cuda.max_memory_allocated() / 2**30
    return found


def make_state(loop: Loop) -> TrainState:
    """The same first weights every time; momentum, clipping and a moving average."""
    paddle.seed(1)
    optimizer: Any = Optimizer(nesterov=True, clip_norm=1.0)
    stage = Stage("check", Duration(1, "epochs"), batch_size=loop.batch, optimizer=optimizer, ema=Ema())
    network = models.build(loop.network, N_CLASSES, data_format=loop.data_format)
    state = TrainState(network, stage, Transform(size=loop.size), loop.amp)
    if loop.compiled:
        state.compile()
    return state


def made_batches(loop: Loop) -> list[StepInput]:
    """Noise that is the brighter the higher the class; the same every time."""
    rng, shape = np.random.default_rng(0), (loop.batch, loop.size, loop.size, 3)
    batches = []
    for _ in range(BATCHES):
        labels = rng.integers(0, N_CLASSES, loop.batch)
        images = rng.integers(0, 40, shape) + 20 * labels[:, None, None, None]
        batches.append(StepInput(images.astype(np.uint8), labels, np.ones(loop.batch, np.float32)))
    return batches


def compared(found: Trained, expected: Trained) -> str:
    """How far losses are from other ones.

    Raises an AssertionError for one that is not finite, losses that did not fall, and a mean distance above APART of
    the mean loss. (Trainings part more and more, however small the rounding: ours, to tell rounding from a fault.)
    """
    a, b = np.array(found.losses), np.array(expected.losses)
    assert np.isfinite(a).all(), f"loss {a[~np.isfinite(a)][0]} at step {int(np.argmin(np.isfinite(a)))}"
    first, last = a[:LAST].mean(), a[-LAST:].mean()
    mean, most = np.abs(a - b).mean() / b.mean(), np.abs(a - b).max() / b.mean()
    said = f"loss {first:.3f} to {last:.3f} in {len(a)} steps, apart by {100 * mean:.3g} % (at most {100 * most:.3g} %)"
    assert last < first, f"the loss did not fall: {said}"
    assert mean <= APART, said
    return said
