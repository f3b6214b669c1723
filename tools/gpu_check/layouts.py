"""Training with the channels first and last, in the number formats of this process, and batch norm alone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import paddle

from tools.gpu_check.rows import Row, Settings, attempt
from tools.gpu_check.training_loop import PERSISTENT, Loop, compared, train
from urnet.runtime.device_to_host import device_done

LAYOUTS = ("NCHW", "NHWC")
TIMES = 20  # calls of a batch norm


def check(settings: Settings) -> Iterator[Row]:
    """With NVIDIA_TF32_OVERRIDE=0, which the libraries read when they are loaded, float32 alone; else the others."""
    full = os.environ.get("NVIDIA_TF32_OVERRIDE") == "0"
    formats: dict[str, str | None] = (
        {"float32": None} if full else {"TF32": None, "fp16": "float16", "bf16": "bfloat16"}
    )
    for name, amp in formats.items():
        for layout in LAYOUTS:
            network, size, batch, steps = settings.size(("ResNet50", 224, 64, 13), ("ResNet8_small32", 32, 4, 2))
            loop = Loop(network, size, batch, steps, amp, layout)
            yield attempt(f"{network}, batch {batch}, {size} pixels, {name}, {layout}", _speed, loop)
    for name, amp in formats.items():
        if amp is not None:
            yield attempt(f"batch norm alone, {name}", batch_norm, settings, amp)
    yield attempt("losses of NHWC compared with NCHW", _same, settings)


def _speed(loop: Loop) -> str:
    done = train(loop)
    return (
        f"{done.rate:.0f} images/s, a step {done.step_ms:.1f} ms, until it is launched {done.host_ms:.1f} ms, "
        f"{done.memory_gib:.1f} GiB"
    )


def _same(settings: Settings) -> str:
    network, size, batch, steps = settings.size(("ResNet18", 64, 64, 24), ("ResNet8_small32", 32, 8, 8))
    return compared(*(train(Loop(network, size, batch, steps, data_format=layout)) for layout in reversed(LAYOUTS)))


def batch_norm(settings: Settings, amp: str) -> str:
    """Forward and backward of the maps behind ResNet50's first stage, with cuDNN's persistent kernels and without."""
    if not settings.gpus:
        amp = "float32"  # the CPU has no other
    shape = settings.size((64, 56, 56, 256), (2, 4, 4, 8))
    found = []
    for layout in LAYOUTS:
        for persistent in (False, True):
            if settings.gpus:
                paddle.set_flags({PERSISTENT: persistent})
            elif persistent:
                continue
            seconds = _batch_norm_seconds(shape, amp, layout)
            found.append(f"{layout}{', persistent' if persistent else ''} {1e3 * seconds:.3f} ms")
    return "; ".join(found)


def _batch_norm_seconds(shape: tuple[int, ...], amp: str, layout: str) -> float:
    """Seconds a call; ``shape`` with the channels last."""
    layer = paddle.nn.BatchNorm2D(shape[-1], data_format=layout)
    x = paddle.randn(shape if layout == "NHWC" else [shape[0], shape[3], *shape[1:3]]).astype(amp)
    x.stop_gradient = False
    start = 0.0
    for call in range(TIMES + 3):
        if call == 3:
            device_done()
            start = time.perf_counter()
        paddle.grad(layer(x).sum(), x)
    device_done()
    return (time.perf_counter() - start) / TIMES
