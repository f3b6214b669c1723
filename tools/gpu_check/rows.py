"""What a check is given and what it says: rows of the table, each ok, failed or skipped."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OK, FAILED, SKIPPED = "ok", "failed", "skipped"
_SUMMARY = "Error Message Summary:"  # Paddle's reason stands below it, under pages of C++ frames


@dataclass(frozen=True)
class Settings:
    """``gpus`` that Paddle sees, 0 in a dry run on the CPU, where all is as small as can be; ``folder`` is scratch."""

    gpus: int
    folder: Path

    @property
    def device(self) -> str:
        """As ``urnet.runtime.precision.choose_device`` takes it."""
        return "gpu" if self.gpus else "cpu"

    def size(self, on_gpu: Any, on_cpu: Any) -> Any:
        """The first on a GPU, the second in a dry run."""
        return on_gpu if self.gpus else on_cpu


@dataclass(frozen=True)
class Row:
    """``what`` was tried, how it ended, and what was found or why it was not."""

    what: str
    state: str
    found: str = ""


class Skipped(Exception):
    """A thing that cannot be tried here; its text is the reason."""


def attempt(what: str, function: Callable[..., str], *arguments: Any) -> Row:
    """The row of ``function(*arguments)``: its text, the reason of Skipped, or the first line of any other error.

    The traceback goes to stderr.
    """
    try:
        return Row(what, OK, function(*arguments))
    except Skipped as reason:
        return Row(what, SKIPPED, str(reason))
    except (Exception, SystemExit) as error:
        traceback.print_exc(file=sys.stderr)
        return Row(what, FAILED, first_line(error))


def first_line(error: BaseException) -> str:
    """Kind and first line of an error; of Paddle's own the line that says what happened."""
    text = str(error).partition(_SUMMARY)[2] or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip("- \t")]
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")
