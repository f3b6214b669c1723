"""Which operations a piece of work launches, in which of its parts, and how long the host is at each part.

Paddle's own tracer counts them: every kernel that dygraph launches is one, whatever the device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

REST = "rest"  # the part of what is in no other
_SEPARATOR = "urnet part: "


@dataclass
class Part:
    """Operations launched, and the host's seconds; neither has those of the parts inside."""

    launches: int = 0
    seconds: float = 0.0


def parted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, counted as the part ``name``; of a part inside another the inner one counts."""
    from paddle.profiler import RecordEvent

    def run(*arguments: Any, **named: Any) -> Any:
        with RecordEvent(_SEPARATOR + name):
            return function(*arguments, **named)

    return run


@contextlib.contextmanager
def as_parts(*places: tuple[Any, str, str]) -> Iterator[None]:
    """Inside the block each (object, name of its function, name of the part) is counted as that part."""
    kept = [(owner, name, vars(owner).get(name)) for owner, name, _ in places]
    for owner, name, part in places:
        setattr(owner, name, parted(part, getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, own in kept:
            if own is None:  # a method of its class
                delattr(owner, name)
            else:
                setattr(owner, name, own)


def launches_of(work: Callable[[], object]) -> dict[str, Part]:
    """The parts of one call of ``work``, those in none as ``REST``."""
    from paddle import profiler

    traced = profiler.Profiler(targets=[profiler.ProfilerTarget.CPU], on_trace_ready=lambda _: None)
    traced.start()
    try:
        parted(REST, work)()
    finally:
        traced.stop()
    found: dict[str, Part] = {}
    for root in traced.profiler_result.get_data().values():
        _walk(root, REST, found)
    return found


def _walk(node: Any, part: str, found: dict[str, Part]) -> None:
    name = str(node.name)
    if name.startswith(_SEPARATOR):
        outer, part = part, name.removeprefix(_SEPARATOR)
        seconds = (node.end_ns - node.start_ns) / 1e9
        found.setdefault(part, Part()).seconds += seconds
        if part != REST:
            found.setdefault(outer, Part()).seconds -= seconds
    elif str(node.type).endswith("DygraphKernelLaunch"):
        found.setdefault(part, Part()).launches += 1
    for child in node.children_node:
        _walk(child, part, found)
