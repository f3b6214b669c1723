"""``model.compile``: the same losses as operation by operation, and what it is worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from tools.gpu_check.rows import Row, Settings, attempt
from tools.gpu_check.training_loop import Loop, compared, train
from urnet.runtime.precision import choose_amp


def check(settings: Settings) -> Iterator[Row]:
    """In float32 and in what ``amp: auto`` takes."""
    amp = choose_amp("auto", settings.device)
    for kind in dict.fromkeys((None, amp)):
        loop = settings.size(Loop("ResNet50", 128, 32, 24, kind), Loop("ResNet8_small32", 32, 8, 8, kind))
        yield attempt(f"{loop.network}, batch {loop.batch}, {kind or 'float32'}", _both, loop)


def _both(loop: Loop) -> str:
    plain, compiled = train(loop), train(dataclasses.replace(loop, compiled=True))
    return (
        f"{compared(compiled, plain)}; off {plain.rate:.0f} images/s, {plain.host_ms:.1f} ms until launched; "
        f"on {compiled.rate:.0f}, {compiled.host_ms:.1f}"
    )
