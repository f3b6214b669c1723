"""`tools/bench.py step` on this device: operations, milliseconds of the host, reads; and whether the host is ahead."""

from __future__ import annotations

from collections.abc import Iterator

from tools.gpu_check.rows import FAILED, OK, Row, Settings, attempt
from tools.gpu_check.training_loop import Loop, train
from tools.speed import step
from tools.speed.figures import Figure, number
from urnet.core.cli import Parser
from urnet.runtime.precision import choose_amp


def check(settings: Settings) -> Iterator[Row]:
    """Fails where a step read what the device had still to compute."""
    parser = Parser()
    step.add_arguments(parser)
    words = settings.size([], ["--model", "ResNet8_small32", "--classes", "10", "--steps", "1"])
    for figure in step.measure(parser.parse_args(words)):
        waits = figure.name == step.READS and figure.value > 0
        yield Row(f"{figure.name}, {figure.unit}", FAILED if waits else OK, _text(figure))
    amp = choose_amp("auto", settings.device)
    loop = settings.size(Loop("ResNet50", 224, 64, 13, amp), Loop("ResNet8_small32", 32, 8, 4, amp))
    yield attempt(f"host and device, {loop.network}, batch {loop.batch}, {amp or 'float32'}", _ahead, loop)


def _text(figure: Figure) -> str:
    limit = "" if figure.limit is None else f"; {figure.limit_name} {number(figure.limit)}"
    return f"{number(figure.value)}{limit}"


def _ahead(loop: Loop) -> str:
    done = train(loop)
    return f"a step takes {done.step_ms:.1f} ms, of which the host launches for {done.host_ms:.1f} ms"
