"""Numbers with their nouns, for lines that people read: 1 row, 2 rows."""

from __future__ import annotations


def count(number: float) -> str:
    """A whole number, thousands grouped."""
    return f"{int(number):,}"


def plural(number: int, one: str, many: str = "") -> str:
    """``number`` with its noun: 1 row, 2 rows; ``many``: what is said of 0, 2 or more, where it is not ``one`` + s."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def verb(number: int, one: str = "is", many: str = "are") -> str:
    """The verb that goes with a number: 1 of 3 is, 2 of 3 are."""
    return one if number == 1 else many
