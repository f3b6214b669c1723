"""Child processes with their time and peak memory, several at once, waited for in one loop."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import NamedTuple

from urnet.core.signals import signals_deferred

PEAK_UNIT = 1 << 20 if sys.platform == "darwin" else 1 << 10  # of ru_maxrss, a MiB: bytes there, KiB elsewhere

POLL_SECONDS = 0.05  # between two checks whether a child has ended


class Command(NamedTuple):
    """A command line, and the file at whose end its stdout and stderr go."""

    words: list[str]
    log: Path


class Outcome(NamedTuple):
    """How a child ended: its exit code (-n: signal n), wall seconds, peak memory in MiB."""

    code: int
    seconds: float
    peak_mb: float


Job = Generator[Command, Outcome, None]  # yields commands one by one, and is sent how each ended


class Failed(Exception):
    """A job did not end well; ``code`` is its child's exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def carry_out(jobs: Iterable[Job], at_once: int, threads: int) -> list[Failed]:
    """Run all jobs, ``at_once`` at a time, OMP_NUM_THREADS being ``threads``; returns what they raised of Failed.

    At any other exception, Ctrl-C and SIGTERM among them, the children are asked to end (SIGTERM: a training
    saves and leaves), their ends are sent to their jobs, and it is raised; a second signal does not wait for them.
    """
    failed: list[Failed] = []
    live: dict[int, Child] = {}
    waiting, stopping = iter(jobs), False

    def advance(job: Job, outcome: Outcome | None = None) -> None:
        """Start the job's next command, if it has one."""
        try:
            command = job.send(outcome)  # type: ignore[arg-type]  # None starts it
        except StopIteration:
            return
        except Failed as failure:
            if not stopping:
                print(f"failed: {failure}", file=sys.stderr, flush=True)
            failed.append(failure)
            return
        if not stopping:
            child = Child(job, command, threads)
            live[child.pid] = child

    try:
        while True:
            while len(live) < at_once and (job := next(waiting, None)) is not None:
                with signals_deferred():
                    advance(job)
            if not live:
                return failed
            wait_for_any(live, advance)
    except BaseException:
        stopping = True
        if live:
            print("stopping: the trainings at work save first", file=sys.stderr, flush=True)
        try:
            terminate(live)
            while live:
                wait_for_any(live, advance)
        except BaseException:
            terminate(live)
            raise
        raise


def terminate(live: Iterable[int]) -> None:
    """Send SIGTERM to all."""
    for pid in live:
        os.kill(pid, signal.SIGTERM)


def wait_for_any(live: dict[int, Child], then: Callable[[Job, Outcome], None]) -> None:
    """Wait until one ends, take it out, and call ``then(job, outcome)``. Signals act between two checks only."""
    while True:
        with signals_deferred():
            for pid, child in live.items():
                ended, status, usage = os.wait4(pid, os.WNOHANG)
                if ended:
                    del live[pid]
                    then(child.job, child.outcome(os.waitstatus_to_exitcode(status), usage.ru_maxrss))
                    return
        time.sleep(POLL_SECONDS)


class Child:
    """A command that runs for a job.

    It has a session of its own: Ctrl-C in a terminal goes to all processes of the session, and a second signal,
    the one that ``carry_out`` sends, would end it before it has saved.
    """

    def __init__(self, job: Job, command: Command, threads: int) -> None:
        self.job, self._start = job, time.monotonic()
        command.log.parent.mkdir(parents=True, exist_ok=True)
        with command.log.open("a", encoding="utf-8") as stream:
            stream.write(f"$ {shlex.join(command.words)}\n")
            stream.flush()
            self._process = subprocess.Popen(
                command.words,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
                start_new_session=True,
            )
        self.pid = self._process.pid

    def outcome(self, code: int, peak: int) -> Outcome:
        """How it ended. ``peak`` is ru_maxrss: of itself and the loaders it waited for.

        It is not below this process's own peak, which is a small part of a training's.
        """
        self._process.returncode = code  # Popen cannot know, as it did not wait itself
        return Outcome(code, time.monotonic() - self._start, peak / PEAK_UNIT)
