"""Texts and numbers of the report. Every text that comes from data goes through ``escape``."""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Sequence

TITLE, NAME = 140, 60  # characters shown of an image's title, of a class's name
NUMBERS = "Grey is a class's own number."
JOINERS = "\u200c\u200d"  # written inside words and signs; they hide and turn nothing


def clean(text: str, limit: int = TITLE) -> str:
    """``text`` on one line, at most ``limit`` characters, without what hides, turns or piles up characters.

    Control characters and line ends become blanks, runs of blanks one. Format characters (bidirectional
    marks, zero-width ones), surrogates and private ones go, as does every combining mark after the second
    on one letter. What is cut ends with "…".
    """
    shown: list[str] = []
    marks = 0
    for char in text[: 8 * limit]:  # titles may have megabytes
        kind = unicodedata.category(char)
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        if kind in ("Cc", "Zl", "Zp"):
            shown.append(" ")
        elif char in JOINERS or (kind not in ("Cf", "Cs", "Co", "Cn") and marks <= 2):
            shown.append(char)
    line = " ".join("".join(shown).split())
    if len(line) > limit or len(text) > 8 * limit:
        return line[: limit - 1].rstrip() + "…"
    return line


def escape(text: str, limit: int = TITLE) -> str:
    """``clean`` text, safe between tags and inside a quoted attribute."""
    return html.escape(clean(text, limit), quote=True)


def class_name(names: Sequence[str], label: int) -> str:
    """Number and name of a class, escaped; the number alone where no name is known."""
    name = escape(names[label], NAME) if 0 <= label < len(names) else ""
    return f'<bdi><span class="no">{label}</span> {name}</bdi>' if name else f"<bdi>class {label}</bdi>"


def plain_name(names: Sequence[str], label: int) -> str:
    """A class's name, escaped, alone; with its number where another class has the same name or it has none."""
    name = names[label] if 0 <= label < len(names) else ""
    if not clean(name, NAME):
        return f"class {label}"
    return escape(name, NAME) if names.count(name) == 1 else f"{escape(name, NAME)} ({label})"


def decimal(value: float, digits: int = 2) -> str:
    """A number with ``digits`` decimals, grouped; one digit where nothing but zeros would be left."""
    if not math.isfinite(value):
        return "–"
    if value and (abs(value) < 0.5 * 10**-digits or abs(value) >= 1e6):
        return f"{value:.1g}" if abs(value) < 1 else f"{value:.2e}"
    return f"{value:,.{digits}f}"


def percent(share: float) -> str:
    """A share 0..1 in per cent, one decimal."""
    return f"{100 * share:.1f} %" if math.isfinite(share) else "–"


def short(number: float) -> str:
    """A number for an axis: 0.25, 1, 20, 5k, 16M."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{sign}"
    return f"{number:.3g}"
