"""The one way to time: pieces of work take turns with their limits, and medians count.

A piece of work is a function that does it and returns the seconds that count.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
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


def per_second(n: float, seconds: Sequence[float]) -> float:
    """Things a second, where ``n`` are done in each of these seconds; the median counts."""
    return n / statistics.median(seconds)


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a module's function in a new process, whose memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def memory(key: str) -> float:
    """This process's memory in MB (10^6 bytes), a line of Linux's /proc/self/status; NaN where there is no such file.

    ``VmHWM``: the most it has held, pages of mapped files included; ``RssAnon``: its own; ``RssFile``: of mapped files.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{key}:")), math.nan)
