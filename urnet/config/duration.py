"""Lengths of training: "30 epochs", "500 steps", "1000000 images". Converted only here."""

from __future__ import annotations

from dataclasses import dataclass

from urnet.core.checks import InputError

UNITS = ("epochs", "steps", "images")
LONGEST = 1e15  # of any unit: far beyond use, and still exact in a float


@dataclass(frozen=True)
class Duration:
    """An ``amount`` (>= 0) of ``unit`` s: epochs, steps (of the optimiser) or images (rows drawn)."""

    amount: float
    unit: str

    def steps(self, steps_per_epoch: int, batch_size: int) -> int:
        """Whole steps, rounded; ``batch_size`` is the global one, accumulation included."""
        if self.unit == "steps":
            return round(self.amount)
        if self.unit == "epochs":
            return round(self.amount * steps_per_epoch)
        return round(self.amount / batch_size)

    def __str__(self) -> str:
        amount = int(self.amount) if self.amount == int(self.amount) else self.amount
        return f"{amount} {self.unit}"


def parse_duration(text: object, where: str = "duration") -> Duration:
    """Read "<number> epochs|steps|images" (the singular too), or 0, of epochs. Raises InputError naming ``where``."""
    accepted = 'a number and epochs, steps or images, such as "30 epochs"'
    words = str(text).replace("_", "").split()
    if words in (["0"], ["0.0"]):
        words.append("epochs")
    if len(words) != 2:
        raise InputError(f"{where}: found {text!r}; accepted is {accepted}")
    unit = words[1] if words[1].endswith("s") else words[1] + "s"
    try:
        amount = float(words[0])
    except ValueError:
        amount = -1.0
    if unit not in UNITS or not 0 <= amount < LONGEST:
        raise InputError(f"{where}: found {text!r}; accepted is {accepted}")
    return Duration(amount, unit)
