"""A copy of the shell scripts beside a Python that pretends to make environments and to install, offline."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("set_env.sh", "run.sh", "tests/run.sh", "urnet/core/cpus.py", "pyproject.toml")
COPIED += ("requirements.txt", "requirements-gpu.txt")

# Makes environments that hold a copy of itself, notes every pip call, and is the real Python for all else.
FAKE_PYTHON = """#!/bin/sh
for last; do :; done
case "$*" in
"-m venv "*)
    case "$*" in *--clear*) rm -rf "$last" ;; esac
    mkdir -p "$last/bin" && cp "$0" "$last/bin/python" || exit 1
    printf "VIRTUAL_ENV='%s'; export VIRTUAL_ENV; PATH='%s':$PATH; export PATH\\n" \\
        "$last" "$last/bin" >"$last/bin/activate"
    echo "venv" >>"$FAKE_LOG" ;;
"-m pip "*)
    echo "pip $3 $(basename "$last")" >>"$FAKE_LOG"
    exit "${FAKE_PIP_STATUS:-0}" ;;
"-m "*)
    shift
    echo "module $*" >>"$FAKE_LOG"
    case "${FAKE_FAILING:-}" in "$1") exit 1 ;; esac ;;
*"import pip"*) ;;
*"import venv"*) exit "${FAKE_VENV_STATUS:-0}" ;;
*version_info*) echo "${FAKE_VERSION:-3.11}" ;;
*) exec "REAL" "$@" ;;
esac
"""
LINT_IMPORTS = """#!/bin/sh
echo "lint-imports $*" >>"$FAKE_LOG"
[ "${FAKE_FAILING:-}" != lint-imports ]
"""


class Repository:
    """The scripts in a folder with a space in its name, and what a stand-in for Python was asked to do."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "my copy"
        self.bin, self.log = folder / "bin", folder / "log"
        self.log.write_text("")
        for name in COPIED:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.path / name)
        self.program("python3", FAKE_PYTHON.replace("REAL", sys.executable))
        self.program("nvidia-smi", "#!/bin/sh\nexit 9\n")
        self.program("lint-imports", LINT_IMPORTS)

    def program(self, name: str, text: str) -> None:
        """Put an executable on the PATH of what ``shell`` runs."""
        self.bin.mkdir(exist_ok=True)
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def asked(self) -> list[str]:
        """The calls since the last ``asked``."""
        lines = self.log.read_text().splitlines()
        self.log.write_text("")
        return lines

    def shell(self, line: str, *, shell: str = "sh", cwd: object = None, **settings: str):
        """Run a line in a shell that stands in the repository, without this process's environment."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        environment = {**kept, "PATH": f"{self.bin}:/usr/bin:/bin", "FAKE_LOG": str(self.log), **settings}
        return subprocess.run(
            [shell, "-c", line], cwd=cwd or self.path, env=environment, capture_output=True, text=True, timeout=600
        )
