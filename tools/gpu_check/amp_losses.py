"""fp16 and bf16 train as float32 does, and a step whose gradients overflow in fp16 moves nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import paddle

from tools.gpu_check.rows import Row, Settings, attempt
from tools.gpu_check.training_loop import Loop, Trained, compared, made_batches, make_state, train
from urnet.training.step import train_step

FORMATS = {"fp16": "float16", "bf16": "bfloat16"}


def check(settings: Settings) -> Iterator[Row]:
    """Two runs in float32 say how far two runs of the same part on this device."""
    loop = settings.size(Loop("ResNet18", 64, 64, 48), Loop("ResNet8_small32", 32, 8, 8))
    expected = train(loop)
    yield attempt("float32 again", lambda: compared(train(loop), expected))
    for name, amp in FORMATS.items():
        yield attempt(f"{name} compared with float32", _beside, loop, amp, expected)
    yield attempt("fp16, a step that overflows", overflow, loop)


def _beside(loop: Loop, amp: str, expected: Trained) -> str:
    return compared(train(Loop(loop.network, loop.size, loop.batch, loop.steps, amp)), expected)


def overflow(loop: Loop) -> str:
    """A planted infinity: weights stay, the scale is halved, the next step moves them."""
    state = make_state(Loop(loop.network, loop.size, loop.batch, 3, "float16"))
    planted = [False]
    state.network.fc.weight.register_hook(lambda gradient: gradient * float("inf") if planted[0] else gradient)
    batches, moved, scales = made_batches(loop), [], []
    for step, planted[0] in enumerate((False, True, False)):
        before = state.network.fc.weight.numpy().copy()
        train_step(state, batches[step], 0.05, step)
        moved.append(bool((state.network.fc.weight.numpy() != before).any()))
        scales.append(float(np.ravel(state.state()["scaler"]["scale"])[0]))
    said = f"weights moved {moved}, scale {scales}"
    assert moved == [True, False, True] and scales == [scales[0], scales[0] / 2, scales[0] / 2], said
    assert all(bool(paddle.isfinite(value).all()) for value in state.network.state_dict().values()), said
    return said
