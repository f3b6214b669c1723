"""The one way to time: pieces of work take turns with their limits, and medians count.

A piece of work is a function that does it and returns the seconds that count. Most are made with ``timed``; one
whose start must not count, or that counts the processor's time, returns its own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

Work = Callable[[], float]


def timed(function: Callable[..., object], *arguments: Any, times: int = 1) -> Work:
    """The work of calling ``function`` with these arguments, so many times."""

    def work() -> float:
        start = time.perf_counter()
        for _ in range(times):
            function(*arguments)
        return time.perf_counter() - start

    return work


def per_call(function: Callable[[], object], at_least: float) -> Work:
    """The work of calling ``function`` for ``at_least`` seconds: seconds a call. A first call, which prepares, does
    not count."""

    def work() -> float:
        function()
        calls, start = 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < at_least or calls == 0:
            function()
            calls += 1
        return passed / calls

    return work


def take_turns(
    works: Mapping[str, Work], rounds: int = 1, limits: Mapping[str, Work] | None = None
) -> dict[str, list[float]]:
    """Seconds of each work and each limit, one value a round; in turns, so that a slow moment of the machine hits all.

    ``limits`` are measured before every round and after the last: their value of a round is the mean of the two
    measurements around it. Works and limits have names of their own.
    """
    limits = limits or {}
    seconds: dict[str, list[float]] = {name: [] for name in (*limits, *works)}
    before = {name: limit() for name, limit in limits.items()}
    for _ in range(rounds):
        for name, work in works.items():
            seconds[name].append(work())
        for name, limit in limits.items():
            after = limit()
            seconds[name].append((before[name] + after) / 2)
            before[name] = after
    return seconds


@contextlib.contextmanager
def stopwatch(found: dict[str, float], name: str) -> Iterator[None]:
    """Note the seconds of the block as NAME, and the processor's, which other programs change little, as NAME_cpu."""
    start, start_cpu = time.perf_counter(), time.process_time()
    yield
    found[name], found[f"{name}_cpu"] = time.perf_counter() - start, time.process_time() - start_cpu


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a module's function in a new process, whose memory is its own."""
    return in_processes(1, partial(function, *arguments))[0]


def in_processes(n: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """As ``in_process``, the results of ``n`` processes that are there at the same time."""
    with ProcessPoolExecutor(n, mp_context=get_context("spawn")) as pool:
        return [started.result() for started in [pool.submit(function, *arguments) for _ in range(n)]]
