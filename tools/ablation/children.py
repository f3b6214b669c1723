"""Child processes with their time and peak memory, which can all be asked to stop in good order."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

PEAK_UNIT = 1 << 20 if sys.platform == "darwin" else 1 << 10  # of ru_maxrss, a MiB: bytes there, KiB elsewhere


class Outcome(NamedTuple):
    """How a child ended: its exit code (-n: signal n), wall seconds, peak memory in MiB."""

    code: int
    seconds: float
    peak_mb: float


class Stopping(Exception):
    """No further child is started, as all were asked to stop."""


class Children:
    """Runs commands from several threads at once; ``threads``: OMP_NUM_THREADS of each."""

    def __init__(self, threads: int) -> None:
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self._live: set[int] = set()
        self._lock = threading.Lock()
        self._stopping = False

    def run(self, command: Sequence[str], log: Path) -> Outcome:
        """Run a command to its end, its stdout and stderr at the end of ``log``. Raises Stopping.

        A child has a session of its own: Ctrl-C in a terminal goes to all processes of the session, and a
        second signal, the one that ``stop`` sends on, would end it before it has saved.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"$ {shlex.join(command)}\n")
            stream.flush()
            start = time.monotonic()
            child = self._start(command, stream)
            try:
                # of the child and of the loaders it waited for; not below this process's own peak, which is
                # a small part of a training's
                _, status, usage = os.wait4(child.pid, 0)
            finally:
                with self._lock:
                    self._live.discard(child.pid)
        child.returncode = os.waitstatus_to_exitcode(status)
        return Outcome(child.returncode, time.monotonic() - start, usage.ru_maxrss / PEAK_UNIT)

    def _start(self, command: Sequence[str], stream: Any) -> subprocess.Popen:
        with self._lock:
            if self._stopping:
                raise Stopping
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=self._environment,
                start_new_session=True,
            )
            self._live.add(child.pid)
        return child

    def stop(self) -> None:
        """Ask all children to end (SIGTERM: a training saves and leaves) and start no others."""
        with self._lock:
            self._stopping = True
            for pid in self._live:
                os.kill(pid, 15)
