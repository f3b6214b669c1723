"""Our programs as functions: exit code and what they say, in this process or in one of their own."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from urnet.core import cli

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes/digits_web.yaml"


def run_here(name: str, *argv: Any) -> str:
    """stdout and stderr of ``python NAME.py ARGV``. Raises RuntimeError with its error for a code other than 0."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = cli.run(importlib.import_module(name).main, [str(word) for word in argv])
    print(said.getvalue(), file=sys.stderr)
    if code:
        raise RuntimeError(f"{name}.py ended with {code}: {last_line(said.getvalue())}")
    return said.getvalue()


def run_apart(*argv: Any) -> str:
    """The same of a script in a process of its own."""
    done = subprocess.run(
        [sys.executable, *map(str, argv)], cwd=ROOT, capture_output=True, text=True, errors="replace", check=False
    )
    print(done.stdout, done.stderr, file=sys.stderr)
    if done.returncode:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {last_line(done.stdout + done.stderr)}")
    return done.stdout + done.stderr


def last_line(text: str) -> str:
    """The last that says something; of an error its line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("error:", "failed:"))]
    return (errors or lines or [""])[-1]


def line_like(pattern: str, text: str) -> str:
    """What of ``text`` a regular expression matches first. Raises an AssertionError where nothing does."""
    found = re.search(pattern, text)
    assert found, f"no line like {pattern}: {last_line(text)}"
    return found[0]


def ended_stages(text: str) -> dict[str, str]:
    """The stages that ended, by what train.py said, with their accuracy. Raises an AssertionError where none did."""
    ended = dict(re.findall(r"\bstage (\w+) last (top1:\S+)", text))
    assert ended, f"no stage ended: {last_line(text)}"
    return ended


def digits(folder: Path) -> Path:
    """The small digits of data/make_digits_web.py, in ``folder``; made once."""
    if not folder.exists():
        size = ("--largest", 50, "--imbalance", 2, "--val_per_class", 4)
        run_apart(ROOT / "data/make_digits_web.py", "--out", folder, *size)
    return folder


def tiny_run(data: Path, output: Path, device: str, *more: Any) -> Sequence[Any]:
    """train.py's arguments: all stages of the digits' recipe, a few steps each."""
    places = ("-o", f"data.root={data}", "-o", f"output={output}", "-o", f"device={device}")
    return ("--tiny", "-c", RECIPE, *places, *more)
