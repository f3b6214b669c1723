"""One measured figure, its limit measured in the same run, and the table and JSON they are shown in."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from urnet.core.atomic_files import atomic_file


@dataclass(frozen=True)
class Figure:
    """``value`` in ``unit``; ``limit``, in the same unit, is what the machine could do at best.

    ``limit_name`` says what the limit is ("bare engine"). A figure without a limit has no ratio.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    limit_name: str = ""

    @property
    def ratio(self) -> float | None:
        """value / limit; None without a limit or where the limit is 0."""
        return self.value / self.limit if self.limit else None


@dataclass(frozen=True)
class Times:
    """``n`` things are done in each of these seconds; ``pick`` chooses the one that counts."""

    n: float
    seconds: Sequence[float]
    pick: Callable[[Sequence[float]], float] = statistics.median

    @property
    def rate(self) -> float:
        """Things a second."""
        return self.n / self.pick(self.seconds)


def rate(name: str, unit: str, own: Times, limit: Times | None = None, limit_name: str = "") -> Figure:
    """The figure of so many things a second."""
    return Figure(name, own.rate, unit, None if limit is None else limit.rate, limit_name)


def number(value: float | None) -> str:
    """At least three significant digits, thousands grouped: 0.0123, 12.3, 1,234; an empty text for None."""
    if value is None:
        return ""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def print_table(figures: Sequence[Figure], stream: TextIO | None = None) -> None:
    """Print the figures as a table: figure, value, unit, limit, ratio, and what the limit is."""
    rows = [("figure", "value", "unit", "limit", "ratio", "limit is")]
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        rows.append((figure.name, number(figure.value), figure.unit, number(figure.limit), ratio, figure.limit_name))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if i in (1, 3, 4) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip(), file=stream)


def write_json(path: Path, figures: Sequence[Figure], machine: Mapping[str, str]) -> None:
    """Write the machine and the figures (ratio included) as JSON; an existing file is replaced whole."""
    names = ("name", "value", "unit", "limit", "limit_name", "ratio")
    tree = {
        "machine": dict(machine),
        "figures": [{name: getattr(figure, name) for name in names} for figure in figures],
    }
    with atomic_file(path, replace=True) as part:
        part.write_text(json.dumps(tree, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
