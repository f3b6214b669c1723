"""Every test that docs/reliability.md names exists."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"


def test_every_test_that_the_page_names_exists():
    """`folder/test_x.py`, `folder/test_x.py::test_y`, and `::test_y` in the file named last."""
    file, cited = "", 0
    for name, function in re.findall(
        r"`((?:\w+/)+test_\w+\.py)?(?:::(test_\w+)(?:\[\w+\])?)?`", PAGE.read_text(encoding="utf-8")
    ):
        if not (name or function):
            continue
        file = name or file
        text = (TESTS / file).read_text(encoding="utf-8")
        assert not function or f"def {function}(" in text, f"{file}::{function}"
        cited += 1
    assert cited > 50
