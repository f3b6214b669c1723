"""What a request may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Of a request: bytes of its body, images, seconds."""

    body: int
    images: int
    seconds: float
