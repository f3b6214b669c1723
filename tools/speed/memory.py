"""The memory of the process that asks, as Linux counts it, in MB (10^6 bytes)."""

from __future__ import annotations

import os
import resource
from pathlib import Path

MB = 1e6


def peak() -> float:
    """The largest memory this process has held; pages of mapped files count.

    Linux hands ru_maxrss on from the process that started this one; VmHWM begins anew.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / MB


def held(*keys: str) -> float:
    """The sum of these lines of smaps_rollup: Rss, Private_Clean …"""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.split(":")[0] in keys) * 1024 / MB


def mapped(folder: Path, key: str) -> float:
    """``key`` (Rss, Pss) of the files below ``folder`` that this process has mapped."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        word = line.split(maxsplit=1)[0]
        if not word.endswith(":"):  # a mapping's first line ends with its file
            inside = f"{os.path.realpath(folder)}/" in line
        elif inside and word == f"{key}:":
            total += int(line.split()[1])
    return total * 1024 / MB
