"""Worker processes that decode chunks of batches into shared memory.

The workers are fresh interpreters: a process forked beside other threads inherits their locks for ever, and
was seen to hang. The shared memory is a file without a name, and jobs and results travel through one pipe a
worker. So nothing can be left behind, no lock is shared that a killed worker could keep, a worker's death is
seen at its pipe at once, and a worker sees its parent's death in the same way.
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np

from urnet.data.loading.prefetch import Bad, Decoded, Job, Source, paths_of
from urnet.data.loading.worker import Failure

CHUNK = 8  # images or views a job: a batch is spread over all workers, and any batch fits the slots
CHUNKS_AHEAD = 4  # a worker's jobs, under way or waiting
# Freed images stay with the worker: glibc would give them back and have every page made again, which costs a
# quarter of the speed. Other systems ignore the names; values the user set are kept.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
POLL_SECONDS = 0.2  # how soon a waiting pool sees that it was stopped
START = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "from urnet.data.loading.worker import main; main(int(sys.argv[1]), int(sys.argv[2]))"
)


class WorkerPool:
    """``workers`` processes that fill slots of shared memory, CHUNK images each (several views: fewer)."""

    def __init__(self, source: Source, workers: int) -> None:
        """Start the processes. ``source`` is pickled: its class must be importable, not a script's own."""
        self._source, self._stopped = source, False
        self._chunk = max(1, CHUNK // int(np.prod(source.shape[:-3])))
        self._shape = (workers * CHUNKS_AHEAD, self._chunk, *source.shape)
        self._free = deque(range(self._shape[0]))
        self._load = [0] * workers  # jobs under way, by worker
        self._connections: list[Connection] = []
        self.processes: list[subprocess.Popen] = []
        first = self._shape, pickle.dumps(source)
        memory = _nameless_memory(int(np.prod(self._shape)))
        self._slots: np.ndarray
        try:
            self._slots = np.frombuffer(mmap.mmap(memory, 0), np.uint8).reshape(self._shape)
            for _ in range(workers):
                self._start(memory, first)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(memory)

    def _start(self, memory: int, first: tuple[tuple[int, ...], bytes]) -> None:
        here, there = multiprocessing.Pipe()
        self._connections.append(here)
        with there:
            process = subprocess.Popen(
                [sys.executable, "-c", START, str(there.fileno()), str(memory), *sys.path],
                pass_fds=(there.fileno(), memory),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # stdout is for results
                env={**MALLOC, **os.environ},
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )
        self.processes.append(process)
        try:
            here.send(first)
        except OSError:
            raise self._death(len(self.processes) - 1) from None

    def run(self, jobs: Iterator[Job]) -> Iterator[Decoded]:
        """The decoded batches, in order. Raises a worker's exception as itself, its death as RuntimeError."""
        chunks = _chunks(self._source, jobs, self._chunk)
        started: deque[_Pending] = deque()
        under_way: dict[int, tuple[_Pending, int]] = {}  # slot -> batch, first position
        chunk = next(chunks, None)
        while chunk is not None or started:
            while chunk is not None and self._free:
                pending, draw, begin = chunk
                if begin == 0:
                    started.append(pending)
                if len(pending.rows):
                    slot = self._free.popleft()
                    under_way[slot] = pending, begin
                    rows = pending.rows[begin : begin + self._chunk]
                    self._send((slot, draw, rows, paths_of(self._source, rows)))
                chunk = next(chunks, None)
            while started and started[0].missing == 0:
                yield started.popleft().decoded()
            for slot, bad in self._receive() if under_way else ():
                pending, begin = under_way.pop(slot)
                pending.take(begin, self._slots[slot], bad)
                self._free.append(slot)

    def _send(self, job: tuple[int, int, np.ndarray, list[str]]) -> None:
        number = self._load.index(min(self._load))
        self._load[number] += 1
        try:
            self._connections[number].send(job)
        except OSError:
            raise self._death(number) from None

    def _receive(self) -> list[tuple[int, Bad]]:
        """Wait until a worker has finished a job; the results of all that have."""
        ready: list[Any] = []
        while not ready:
            if self._stopped:
                raise RuntimeError("the loader was closed")
            ready = wait(self._connections, timeout=POLL_SECONDS)
        results = []
        for connection in ready:
            number = self._connections.index(connection)
            try:
                result = connection.recv()
            except (EOFError, OSError):
                raise self._death(number) from None
            if isinstance(result, Failure):
                raise result.exception() from RuntimeError(f"in a loader worker:\n{result.text}")
            self._load[number] -= 1
            results.append(result)
        return results

    def _death(self, number: int) -> RuntimeError:
        process = self.processes[number]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        code = process.returncode
        how = f"with exit code {code}"
        if code is not None and code < 0:
            how = f"by signal {-code} ({signal.Signals(-code).name})"
        return RuntimeError(
            f"loader worker {number} (process {process.pid}) was ended {how}; if memory ran out, use fewer "
            "data.workers or a smaller batch"
        )

    def stop(self) -> None:
        """Make ``run`` end soon, whichever thread it is in."""
        self._stopped = True

    def close(self) -> None:
        """End the processes at once: they hold nothing that others need."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the kernel, on a dead disk, say
                process.wait(5)
        for connection in self._connections:
            connection.close()
        self.processes, self._connections = [], []
        self._slots = np.empty(0, np.uint8)  # the last reference to the memory


def _nameless_memory(size: int) -> int:
    """The handle of an open file of ``size`` zero bytes that has no name: in memory where the system can."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("urnet-loader")
    else:
        with tempfile.TemporaryFile() as stream:
            handle = os.dup(stream.fileno())
    os.truncate(handle, size)
    return handle


class _Pending:
    """A batch whose chunks are on their way."""

    def __init__(self, rows: np.ndarray, images: np.ndarray) -> None:
        self.rows, self._images, self.missing = rows, images, len(rows)
        self._bad: Bad = []

    def take(self, begin: int, images: np.ndarray, bad: Bad) -> None:
        n = min(len(images), len(self.rows) - begin)
        self._images[begin : begin + n] = images[:n]
        self._bad += [(begin + position, reason) for position, reason in bad]
        self.missing -= n

    def decoded(self) -> Decoded:
        return Decoded(self.rows, self._images, sorted(self._bad))


def _chunks(source: Source, jobs: Iterator[Job], size: int) -> Iterator[tuple[_Pending, int, int]]:
    """(batch, draw key, first position) of every chunk of ``size``; an empty batch is one empty chunk."""
    for draw, rows in jobs:
        rows = np.asarray(rows, np.int64)
        pending = _Pending(rows, np.empty((len(rows), *source.shape), np.uint8))
        for begin in range(0, max(1, len(rows)), size):
            yield pending, draw, begin
