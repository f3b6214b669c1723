"""Level 2: forked worker processes that decode chunks of batches into shared memory.

The memory is anonymous, and jobs and answers travel through one pipe a worker. So nothing has a name that
could be left behind, no lock is shared that a killed worker could keep, and a worker's death is seen at its
pipe at once.
"""

from __future__ import annotations

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

CHUNK = 8  # images a job; a batch is spread over all workers


class WorkerPool:
    """Forked workers that fill slots of shared memory, CHUNK images each; chunks go round robin."""

    def __init__(self, source: Source, size: int, workers: int, prefetch: int) -> None:
        self._size, self._stopped = size, False
        shape = (CHUNK, size, size, 3)
        n_slots = workers * max(2, min(prefetch, 8))
        memory = mmap.mmap(-1, n_slots * int(np.prod(shape)))
        self._slots = np.frombuffer(memory, np.uint8).reshape(n_slots, *shape)
        self._free = deque(range(n_slots))
        self._connections: list[Connection] = []
        self._processes: list[Any] = []
        context: Any = multiprocessing.get_context("fork")
        for number in range(workers):
            here, there = context.Pipe()
            process = context.Process(
                target=_work,
                args=(source, self._slots, there, [*self._connections, here], os.getpid()),
                name=f"urnet-worker-{number}",
                daemon=True,
            )
            with warnings.catch_warnings():  # Python 3.12 warns of a fork beside threads; see _work
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            there.close()
            self._connections.append(here)
            self._processes.append(process)

    def run(self, jobs: Iterator[Job]) -> Iterator[Decoded]:
        """The decoded batches, in order."""
        chunks = _chunks(self._size, jobs)
        started: deque[_Pending] = deque()
        slots: dict[int, tuple[_Pending, int]] = {}
        chunk, turn = next(chunks, None), 0
        while chunk is not None or started:
            while chunk is not None and self._free:
                pending, draw, begin = chunk
                if not started or started[-1] is not pending:
                    started.append(pending)
                slot = self._free.popleft()
                slots[slot] = pending, begin
                self._send(turn % len(self._processes), (slot, draw, pending.rows[begin : begin + CHUNK]))
                chunk, turn = next(chunks, None), turn + 1
            for slot, bad in self._receive():
                pending, begin = slots.pop(slot)
                pending.take(begin, self._slots[slot], bad)
                self._free.append(slot)
            while started and started[0].missing == 0:
                yield started.popleft().batch()

    def _send(self, number: int, job: Any) -> None:
        try:
            self._connections[number].send(job)
        except OSError:
            self._died(number)

    def _receive(self) -> list[tuple[int, Bad]]:
        """Wait until a worker answers; all answers that are there."""
        answers = []
        ready: list[Any] = []
        while not ready:
            if self._stopped:
                raise RuntimeError("the loader was closed")
            ready = wait(self._connections, timeout=0.2)
        for connection in ready:
            try:
                answer = connection.recv()
            except (EOFError, OSError):
                self._died(self._connections.index(connection))
            if isinstance(answer, _Failure):
                answer.throw()
            answers.append(answer)
        return answers

    def _died(self, number: int) -> None:
        process = self._processes[number]
        process.join(5)
        code = process.exitcode
        how = (
            f"by signal {-code} ({signal.Signals(-code).name})"
            if code and code < 0
            else f"with exit code {code}"
        )
        raise RuntimeError(
            f"loader worker {number} (process {process.pid}) ended {how} while decoding; "
            "out of memory is the usual cause: use fewer data.workers or a smaller batch"
        )

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        for process in self._processes:
            process.kill()
        for process, connection in zip(self._processes, self._connections):
            process.join()
            process.close()
            connection.close()


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

    def batch(self) -> Decoded:
        return Decoded(self.rows, self._images, sorted(self._bad))


def _chunks(size: int, jobs: Iterator[Job]) -> Iterator[tuple[_Pending, int, int]]:
    for draw, rows in jobs:
        rows = np.asarray(rows, np.int64)
        pending = _Pending(rows, np.empty((len(rows), size, size, 3), np.uint8))
        for begin in range(0, max(1, len(rows)), CHUNK):
            yield pending, draw, begin


class _Failure:
    """An exception on its way from a worker."""

    def __init__(self, error: BaseException) -> None:
        self.text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        try:
            self.error: Optional[bytes] = pickle.dumps(error)
            pickle.loads(self.error)
        except Exception:
            self.error = None

    def throw(self) -> None:
        cause = RuntimeError(f"in a loader worker:\n{self.text}")
        if self.error is None:
            raise cause
        raise pickle.loads(self.error) from cause


def _work(source: Source, slots: np.ndarray, jobs: Connection, others: list[Connection], parent: int) -> None:
    """A worker's life: fill the slot each job names, until the parent hangs up or is gone.

    Runs numpy, OpenCV (without its threads) and the source only: what is safe after a fork beside threads.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for connection in others:  # so that a pipe closes when the parent's end does
        connection.close()
    while True:
        while not jobs.poll(1.0):
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
        jobs.send(answer)
