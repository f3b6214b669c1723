"""Child processes with their time and peak memory, several at once, which a signal stops in good order."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from pathlib import Path
from typing import NamedTuple

PEAK_UNIT = 1 << 20 if sys.platform == "darwin" else 1 << 10  # of ru_maxrss, a MiB: bytes there, KiB elsewhere


class Outcome(NamedTuple):
    """How a child ended: its exit code (-n: signal n), wall seconds, peak memory in MiB."""

    code: int
    seconds: float
    peak_mb: float


class Failed(Exception):
    """A job did not end well; ``code`` is its child's exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Children:
    """Starts commands for jobs in several threads, OMP_NUM_THREADS being ``threads``, until it is stopped."""

    def __init__(self, threads: int) -> None:
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self._lock, self._live, self.stopped = threading.Lock(), set[int](), False

    def run(self, words: Sequence[str], log: Path) -> Outcome:
        """Run a command to its end, what it says appended to ``log``. Raises Failed once all were stopped.

        The child has a session of its own: Ctrl-C in a terminal goes to all processes of the session, and a second
        signal, the one that ``stop`` sends, would end it before it has saved.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        with log.open("a", encoding="utf-8") as stream, self._lock:
            if self.stopped:
                raise Failed("stopped", -signal.SIGTERM)
            print("$", shlex.join(words), file=stream, flush=True)
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=self._environment,
                start_new_session=True,
            )
            self._live.add(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        with self._lock:
            self._live.remove(process.pid)
        process.returncode = os.waitstatus_to_exitcode(status)  # Popen cannot know, as it did not wait itself
        return Outcome(process.returncode, time.monotonic() - begin, usage.ru_maxrss / PEAK_UNIT)

    def stop(self, *, again: bool = False) -> None:
        """Ask all to end (SIGTERM: a training saves and leaves), once; none is started any more.

        ``again``: a second time, which a training does not survive.
        """
        with self._lock:
            if self.stopped and not again:
                return
            self.stopped = True
            for pid in self._live:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)


def carry_out(jobs: Sequence[Callable[[], None]], at_once: int, children: Children) -> list[Failed]:
    """Call all jobs, ``at_once`` at a time, which run ``children``; returns what they raised of Failed.

    At any other exception, Ctrl-C and SIGTERM among them, the children are stopped, their jobs' ends awaited, and it
    is raised; a second signal stops them again, which a training does not survive.
    """
    failed: list[Failed] = []

    def attempt(job: Callable[[], None]) -> None:
        try:
            if not children.stopped:
                job()
        except Failed:
            raise
        except BaseException:
            children.stop()  # before this thread takes the next job
            raise

    with ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(attempt, job) for job in jobs]
        try:
            for future in as_completed(futures):
                error = future.exception()
                if isinstance(error, Failed):
                    print(f"failed: {error}", file=sys.stderr, flush=True)
                    failed.append(error)
                elif error is not None:
                    raise error
        except BaseException:
            print("stopping: the trainings at work save first", file=sys.stderr, flush=True)
            running = [future for future in futures if not future.cancel()]
            try:
                children.stop()
                wait(running)
            except BaseException:  # a second signal
                children.stop(again=True)
                raise
            raise
    return failed
