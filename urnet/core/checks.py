"""Checks of what users hand in, and the one error they see for bad input."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


class InputError(ValueError):
    """Bad usage or bad input. The message is one line: where, what was found, what is accepted.

    Command lines print it and leave with exit code 2 (``urnet.core.cli.run``).
    """


SHOWN = 40  # names in a message, where none is like the one that was found


def nearest(word: str, known: Iterable[str], n: int = 3) -> str:
    """The known words most like ``word``, as text for an error message; all of them when none is alike."""
    known = list(known)
    folded = [name for name in known if name.casefold() == word.casefold()]
    alike = folded or difflib.get_close_matches(word, known, n=n, cutoff=0.5)
    if alike or len(known) <= SHOWN:
        return ", ".join(alike or known)
    return ", ".join(known[:SHOWN]) + f" … ({len(known)} in total)"


def check_choice(where: str, value: str, known: Iterable[str]) -> str:
    """Return ``value`` if it is among ``known``, else raise an InputError that names the nearest."""
    known = list(known)
    if value not in known:
        raise InputError(f"{where}: {value!r} is not known; nearest: {nearest(str(value), known)}")
    return value


def check_same_rows(**arrays: Any) -> int:
    """Return the row count common to all arrays; raise an InputError that shows both names and counts."""
    counts = {name: len(array) for name, array in arrays.items()}
    first = next(iter(counts))
    for name, count in counts.items():
        if count != counts[first]:
            raise InputError(f"{first} has {counts[first]} rows but {name} has {count}")
    return counts[first]


def check_labels(labels: np.ndarray, n_classes: int, where: str = "labels") -> np.ndarray:
    """Return ``labels`` if one-dimensional, integer and inside [0, n_classes); else raise InputError."""
    if not isinstance(labels, np.ndarray):
        raise InputError(f"{where}: found {type(labels).__name__}; a numpy array of integers is needed")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{where}: a one-dimensional integer array is needed, found {labels.dtype} {labels.shape}")
    if len(labels):
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= n_classes:
            bad = low if low < 0 else high
            row = int(np.argmax(labels == bad))
            hint = counts_from_one(low, high, n_classes)
            raise InputError(
                f"{where}: label {bad} in row {row} is outside 0..{n_classes - 1}" + (f"; {hint}" if hint else "")
            )
    return labels


def counts_from_one(low: int, high: int, n_classes: int) -> str:
    """What a message says of labels from ``low`` to ``high`` that are 1..n for n classes; else nothing."""
    return "labels seem to count from 1 instead of 0" if low == 1 and high == n_classes else ""


def check_ranges(ranges: Mapping[str, bool]) -> None:
    """Raise InputError for the first text ("power: found -1; 0 or more") whose condition does not hold."""
    for text, holds in ranges.items():
        if not holds:
            raise InputError(f"{text} is accepted")
