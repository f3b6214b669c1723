"""A measured figure with its limit from the same run, and the table and JSON that show figures."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

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


def number(value: float | None) -> str:
    """At least three significant digits, thousands grouped: 0.0123, 12.3, 1,234; an empty text for None."""
    if value is None:
        return ""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """Lines of cells in columns, two spaces between; the columns ``left`` begin flush, the others end flush."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = (
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(padded).rstrip())
    return lines


def print_table(figures: Sequence[Figure]) -> None:
    """Print the figures as a table: figure, value, unit, limit, ratio, and what the limit is."""
    rows = [("figure", "value", "unit", "limit", "ratio", "limit is")]
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        rows.append((figure.name, number(figure.value), figure.unit, number(figure.limit), ratio, figure.limit_name))
    print("\n".join(aligned(rows, left=(0, 2, 5))))


def write_json(path: Path, figures: Sequence[Figure], machine: Mapping[str, str]) -> None:
    """Write the machine and the figures (ratio included) as JSON; an existing file is replaced whole."""
    tree = {"machine": machine, "figures": [{**asdict(figure), "ratio": figure.ratio} for figure in figures]}
    with atomic_file(path, replace=True) as part:
        part.write_text(json.dumps(tree, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
