"""A part of the images that is held back for validation, chosen by what the images are, not by where they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from urnet.core.cli import is_main
from urnet.core.progress import Progress

_READERS = 4  # threads; hashing lets go of Python's lock
_CHUNK = 1 << 20


def held_back(root: str | Path, paths: Sequence[str], share: float) -> np.ndarray:
    """bool (n,): whether each image below ``root`` is held back, about ``share`` of them.

    A hash of a file's bytes decides, so copies of an image are on one side, a renamed one stays on its side, and
    further images move none of the others. What cannot be read is not held back.
    """
    numbers, readable = byte_hashes(root, paths)
    return chosen(numbers, readable, share)


def chosen(numbers: np.ndarray, readable: np.ndarray, share: float) -> np.ndarray:
    """bool (n,): the readable images whose hash is among the smallest ``share`` (0 to 1) of all possible ones."""
    return readable if share >= 1 else readable & (numbers < np.uint64(share * (1 << 64)))


def byte_hashes(root: str | Path, paths: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """uint64 (n,): 64 bits of a hash of each file's bytes below ``root``; bool (n,): whether it could be read."""
    numbers, readable = np.zeros(len(paths), np.uint64), np.zeros(len(paths), bool)
    with Progress("val_split: reading", len(paths), show=is_main()) as display, ThreadPoolExecutor(_READERS) as pool:
        for row, number in enumerate(pool.map(_number, _files(root, paths))):
            if number is not None:
                numbers[row], readable[row] = number, True
            display.update()
    return numbers, readable


def _files(root: str | Path, paths: Sequence[str]) -> Iterator[str]:
    return (f"{root}/{path}" for path in paths)


def _number(file: str) -> int | None:
    """The first 64 bits of a hash of a file's bytes; None where it cannot be read."""
    digest = hashlib.blake2b(digest_size=8)
    try:
        with Path(file).open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except (OSError, ValueError):  # ValueError: no name of a file at all
        return None
    return int.from_bytes(digest.digest(), "big")
