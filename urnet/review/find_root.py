"""The folder that a list's paths are relative to, found by the pictures themselves: the list does not record it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from urnet.core.checks import InputError

DEEPEST, MOST = 3, 5_000  # folders below the start, and how many of them are tried
SAMPLE = 20  # paths that are looked for
FEWEST = 0.5  # of them must be there: some may have been removed since


def find_root(paths: Sequence[str], starts: Sequence[Path], flag: str, *, besides: Path | None = None) -> Path:
    """The one folder among ``starts`` and what is below them in which most of ``paths`` are.

    ``besides`` is none of them. Raises InputError that names ``flag`` where there is none, or several alike.
    """
    sample = (
        [paths[i * (len(paths) - 1) // max(SAMPLE - 1, 1)] for i in range(SAMPLE)] if len(paths) > SAMPLE else paths
    )
    first = list(dict.fromkeys(path.partition("/")[0] for path in sample))[:4]
    found: dict[Path, int] = {}
    for folder in _folders(starts):
        if not any(os.path.lexists(folder / name) for name in first):
            continue
        hits = sum((folder / path).is_file() for path in sample)
        if hits >= FEWEST * len(sample) and folder.resolve() != besides:
            found.setdefault(folder.resolve(), hits)
    best = [folder for folder, hits in found.items() if hits == max(found.values())]
    if len(best) == 1:
        return best[0]
    if not best:
        where = " or ".join(dict.fromkeys(str(start) for start in starts))
        raise InputError(
            f"{sample[0]}: no folder in {where} has this picture and the list's others; give it with {flag} DIR"
        )
    raise InputError(f"{sample[0]}: is in {best[0]} and in {best[1]}; give the right one with {flag} DIR")


def _folders(starts: Sequence[Path]) -> Iterator[Path]:
    """The folders in breadth, each once, hidden ones left out."""
    waiting = deque((start, 0) for start in starts)
    tried: set[Path] = set()
    while waiting and len(tried) < MOST:
        folder, depth = waiting.popleft()
        if (real := folder.resolve()) in tried:
            continue
        tried.add(real)
        yield folder
        if depth == DEEPEST:
            continue
        try:
            with os.scandir(folder) as entries:
                below = sorted(e.name for e in entries if e.is_dir() and e.name[0] != ".")
        except OSError:
            continue
        waiting.extend((folder / name, depth + 1) for name in below)
