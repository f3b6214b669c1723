"""The tests that are marked `gpu`, by pytest."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.gpu_check.rows import Row, Settings, Skipped, attempt

ROOT = Path(__file__).parents[2]
MARK = "@pytest.mark.gpu"


def check(settings: Settings) -> Iterator[Row]:
    """A row per file, so that one that cannot be imported does not hide the others; two of them in a dry run."""
    files = sorted(file for file in (ROOT / "tests").rglob("test_*.py") if MARK in file.read_text(encoding="utf-8"))
    if not files:
        raise FileNotFoundError(f"{ROOT / 'tests'}: no file has {MARK}")
    for file in settings.size(files, [file for file in files if file.parent.name == "runtime"][:1]):
        yield attempt(file.relative_to(ROOT / "tests").as_posix(), _pytest, file)


def _pytest(file: Path) -> str:
    if importlib.util.find_spec("pytest") is None:
        raise Skipped('pytest is not installed: pip install -e ".[dev]"')
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "gpu", "-rfEs", "-p", "no:cacheprovider", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr, file=sys.stderr)
    lines = done.stdout.splitlines() or done.stderr.splitlines() or ["pytest said nothing"]
    reasons = [line for line in lines if line.startswith(("FAILED ", "ERROR ", "SKIPPED "))]
    if done.returncode:
        raise RuntimeError("; ".join([lines[-1].strip("= "), *reasons[:1]]))
    if "passed" not in lines[-1]:
        raise Skipped("; ".join([lines[-1].strip("= "), *reasons[:1]]))
    return lines[-1].strip("= ")
