"""Random streams: every random choice is a function of the seed, the stage, and the epoch, row or step."""

from __future__ import annotations

import zlib

ORDER, MIXUP, PAIR = 0, 1, 5  # what a random stream is for; the first number after the seed (3, 4: where they are used)


def stage_key(stage: str) -> int:
    """A number of 32 bits for a stage's name, the same in every process and Python."""
    return zlib.crc32(stage.encode())


def draw_key(stage: str, step: int) -> int:
    """The key of one step's random choices: 32 bits of the stage's name, then the step (< 2^32)."""
    return stage_key(stage) << 32 | step
