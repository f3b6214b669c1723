"""Level 2: forked worker processes that decode chunks of batches into shared memory.

The memory is anonymous, and jobs and answers travel through one pipe a worker. So nothing has a name that
could be left behind, no lock is shared that a killed worker could keep, and a worker's death is seen at its
pipe at once. A worker runs numpy, OpenCV without its threads, and the image source: that is safe in a
process forked beside other threads.
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import pickle
import signal
import traceback
import warnings
from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, Optional

import numpy as np

from urnet.decode_ahead import Bad, Decoded, Job, Source, fill

CHUNK = 8  # images a job: a batch is spread over all workers, and any batch fits the slots
CHUNKS_AHEAD = 4  # a worker's jobs, under way or waiting
POLL_SECONDS = 0.2  # how soon a waiting pool sees that it was stopped
ORPHAN_SECONDS = 1.0  # how soon an idle worker sees that its parent is gone


class WorkerPool:
    """``workers`` processes that fill slots of shared memory, CHUNK images each."""

    def __init__(self, source: Source, size: int, workers: int) -> None:
        self._size, self._stopped = size, False
        n_slots, shape = workers * CHUNKS_AHEAD, (CHUNK, size, size, 3)
        memory = mmap.mmap(-1, n_slots * CHUNK * size * size * 3)
        self._slots = np.frombuffer(memory, np.uint8).reshape(n_slots, *shape)
        self._free = deque(range(n_slots))
        self._load = [0] * workers  # jobs under way, by worker
        self._connections: list[Connection] = []
        self._processes: list[Any] = []
        try:
            for number in range(workers):
                self._start(source, number)
        except BaseException:
            self.close()
            raise

    def _start(self, source: Source, number: int) -> None:
        context: Any = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        arguments = (source, self._slots, there, [*self._connections, here], os.getpid())
        process = context.Process(target=_work, args=arguments, name=f"urnet-worker-{number}", daemon=True)
        with warnings.catch_warnings():  # Python 3.12 warns of every fork beside threads
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        there.close()
        self._connections.append(here)
        self._processes.append(process)

    def run(self, jobs: Iterator[Job]) -> Iterator[Decoded]:
        """The decoded batches, in order. Raises a worker's exception as itself, its death as RuntimeError."""
        chunks = _chunks(self._size, jobs)
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
                    self._send((slot, draw, pending.rows[begin : begin + CHUNK]))
                chunk = next(chunks, None)
            while started and started[0].missing == 0:
                yield started.popleft().decoded()
            for slot, bad in self._receive() if under_way else ():
                pending, begin = under_way.pop(slot)
                pending.take(begin, self._slots[slot], bad)
                self._free.append(slot)

    def _send(self, job: tuple[int, int, np.ndarray]) -> None:
        number = self._load.index(min(self._load))
        self._load[number] += 1
        try:
            self._connections[number].send(job)
        except OSError:
            raise self._death(number) from None

    def _receive(self) -> list[tuple[int, Bad]]:
        """Wait until a worker answers; all answers that are there."""
        ready: list[Any] = []
        while not ready:
            if self._stopped:
                raise RuntimeError("the loader was closed")
            ready = wait(self._connections, timeout=POLL_SECONDS)
        answers = []
        for connection in ready:
            number = self._connections.index(connection)
            try:
                answer = connection.recv()
            except (EOFError, OSError):
                raise self._death(number) from None
            if isinstance(answer, _Failure):
                raise answer.exception() from RuntimeError(f"in a loader worker:\n{answer.text}")
            self._load[number] -= 1
            answers.append(answer)
        return answers

    def _death(self, number: int) -> RuntimeError:
        process = self._processes[number]
        process.join(5)
        code = process.exitcode
        how = f"with exit code {code}"
        if code is not None and code < 0:
            how = f"by signal {-code} ({signal.Signals(-code).name})"
        return RuntimeError(
            f"loader worker {number} (process {process.pid}) was ended {how}; where memory ran out, "
            "fewer data.workers or a smaller batch need less"
        )

    def stop(self) -> None:
        """Make ``run`` end soon, whichever thread it is in."""
        self._stopped = True

    def close(self) -> None:
        """End the processes at once: they hold nothing that others need."""
        for process in self._processes:
            process.kill()
        for process, connection in zip(self._processes, self._connections):
            process.join(5)
            connection.close()
            with contextlib.suppress(ValueError):  # still there: it hangs in the kernel, on a dead disk, say
                process.close()
        self._processes, self._connections = [], []


class _Pending:
    """A batch whose chunks are on their way."""

    def __init__(self, rows: np.ndarray, images: np.ndarray) -> None:
        self.rows, self._images, self.missing = rows, images, len(rows)
        self._bad: Bad = []

    def take(self, begin: int, images: np.ndarray, bad: Bad) -> None:
        n = min(CHUNK, len(self.rows) - begin)
        self._images[begin : begin + n] = images[:n]
        self._bad += [(begin + position, reason) for position, reason in bad]
        self.missing -= n

    def decoded(self) -> Decoded:
        return Decoded(self.rows, self._images, sorted(self._bad))


def _chunks(size: int, jobs: Iterator[Job]) -> Iterator[tuple[_Pending, int, int]]:
    """(batch, draw key, first position) of every chunk; an empty batch is one empty chunk."""
    for draw, rows in jobs:
        rows = np.asarray(rows, np.int64)
        pending = _Pending(rows, np.empty((len(rows), size, size, 3), np.uint8))
        for begin in range(0, max(1, len(rows)), CHUNK):
            yield pending, draw, begin


class _Failure:
    """An exception on its way from a worker; one that cannot be pickled becomes a RuntimeError."""

    def __init__(self, error: BaseException) -> None:
        self.text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self._pickled: Optional[bytes] = None
        with contextlib.suppress(Exception):
            pickled = pickle.dumps(error)
            if type(pickle.loads(pickled)) is type(error):
                self._pickled = pickled

    def exception(self) -> BaseException:
        return RuntimeError(self.text) if self._pickled is None else pickle.loads(self._pickled)


def _work(
    source: Source, slots: np.ndarray, jobs: Connection, parents: list[Connection], parent: int
) -> None:
    """A worker's life: fill the slot each job names, until the parent hangs up or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for connection in parents:  # the parent's ends came along; a pipe closes only when nobody holds them
        connection.close()
    while True:
        while not jobs.poll(ORPHAN_SECONDS):
            if os.getppid() != parent:
                return
        try:
            slot, draw, rows = jobs.recv()
        except (EOFError, OSError):
            return
        try:
            answer: Any = (slot, fill(source, draw, rows, slots[slot]))
        except BaseException as error:
            answer = _Failure(error)
        with contextlib.suppress(OSError):  # the parent hung up meanwhile
            jobs.send(answer)
