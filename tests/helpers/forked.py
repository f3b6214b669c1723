"""Processes forked from one that has imported Paddle already, so that their start costs no seconds."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

PRELOAD = ["paddle", "urnet.pipeline.run", "train", "infer", "eval"]
PRELOAD += ["urnet.pipeline.evidence", "sklearn.cluster", "visualdl"]  # what a run imports when it comes to it


def fork(target: Callable[..., Any], *arguments: Any) -> multiprocessing.Process:
    """``target(*arguments)`` in a process of its own, which has started."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def say_to(file: str | Path) -> None:
    """What this process says goes to the end of a file."""
    said = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
