"""For the tests of tools/export.py and tools/serve.py: a small network, exported as users do it."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.predict import Toys
from tools import export

NASTY = '<img src=x onerror="document.title=1">'  # a class's name


def exported_toys(root: Path) -> tuple[Toys, Path]:
    """The toys of infer.py's tests, and their network exported; one class has a name that is HTML."""
    toys, folder = Toys(root), root / "exported"
    names = [NASTY if c == toys.labels[0] else f"class {c}" for c in range(7)]
    (toys.checkpoint / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    line = ["--pretrained_model", str(toys.checkpoint), "--out", str(folder), "--images", str(toys.images)]
    assert export.main(line) == 0
    return toys, folder
