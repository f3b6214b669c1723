"""The files that weights are read from, and what tells their bytes from others."""

from __future__ import annotations

import hashlib
from pathlib import Path

from urnet.checkpoints import checkpoint, second
from urnet.core.atomic_files import file_hash


def weight_files(weights: str | Path) -> list[Path]:
    """The files behind any weights that ``checkpoint.read_weights`` takes."""
    kind, place = checkpoint.locate(weights)
    if kind == "checkpoint":
        place /= checkpoint.MODEL
    other = second.second_file(weights)
    if other is not None:
        return [place, other]
    return [place] if place.is_file() else sorted(file for file in place.iterdir() if file.is_file())


def weights_hash(weights: str | Path) -> str:
    """SHA-256 of the bytes of all files that weights are read from, in hexadecimal."""
    hashes = [file_hash(file) for file in weight_files(weights)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
