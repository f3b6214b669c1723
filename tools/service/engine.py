"""The model of tools/serve.py, in a process of its own.

Paddle's engine keeps Python's lock while it computes, so in the service's own process nothing would be
decoded or answered meanwhile.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait

import numpy as np

from urnet.core.answers import Answers
from urnet.core.checks import InputError
from urnet.inference.signature import PADDLE, Signature, read_signature

STARTING, PATIENCE = 600.0, 30.0  # seconds until an engine that does not answer is killed: at first, at least later
Rows = np.ndarray | list  # of probabilities, or of pairs: what is said of each image
WATCH_SECONDS = 0.5  # between two checks whether it is time for that


class EngineFailed(Exception):
    """The engine's process has ended, and this batch has no probabilities."""


class Engine:
    """``engine(images)``: uint8 (n, S, S, 3), 1 <= n <= batch_size, to float32 (n, C), or, of a model that gives
    in_classes, to n pairs of (C,) and a number. One thread at a time.

    Construction waits until the engine has computed a first batch, so that what cannot be opened is refused
    at once: InputError. An engine that raises, dies or does not answer in ``patience`` seconds (by default
    PATIENCE, or the time its start took, if longer) ends for good: EngineFailed from then on.
    """

    def __init__(
        self, signature: Signature, *, batch_size: int, threads: int, precision: str, patience: float | None = None
    ) -> None:
        for name in (PADDLE, PADDLE.replace(".json", ".pdiparams")):
            file = signature.folder / name
            if not file.is_file():
                raise InputError(f"{file}: cannot be read (no such file)")
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, signature, batch_size, threads, precision)
        self.process = context.Process(target=serve_batches, args=arguments, name="engine", daemon=True)
        self.process.start()
        theirs.close()
        self._patience, self._until, begin = STARTING, math.inf, time.monotonic()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        try:
            self(np.zeros((batch_size, signature.size, signature.size, 3), np.uint8))
        except BaseException:
            self.close()
            raise
        self._patience = max(PATIENCE, time.monotonic() - begin) if patience is None else patience

    def __call__(self, images: np.ndarray) -> Rows:
        self._until = time.monotonic() + self._patience
        try:
            self._connection.send(images)
            answer: Rows | Exception = self._connection.recv()
        except (OSError, EOFError):
            raise EngineFailed("the engine's process ended, or was killed because it did not respond") from None
        finally:
            self._until = math.inf
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _watch(self) -> None:
        """Kill a process that does not answer in time (a timer a batch would cost more than small batches)."""
        while not self.ended(WATCH_SECONDS):
            if time.monotonic() > self._until:
                self.process.kill()

    def ended(self, seconds: float | None = 0) -> bool:
        """Whether the process has ended; waits so long for it (None: until it has)."""
        return bool(wait([self.process.sentinel], seconds))

    def close(self) -> None:
        """End the process; a call in another thread gets EngineFailed."""
        self.process.kill()
        self.process.join()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TwoSizes:
    """A model opened twice, for one image and for ``batch_size``; each keeps to its size.

    A batch that is not full would cost as much as a full one, and a lone image sixteen times what it needs.
    Where ``few`` images one by one take less time than a padded batch, as timed at the start, they are so
    computed. The second one holds the weights once more.
    """

    def __init__(self, signature: Signature, batch_size: int, threads: int, precision: str) -> None:
        from urnet.inference.exported_predictor import Exported

        self.many = Exported(signature, batch_size=batch_size, threads=threads, precision=precision)
        self.one, self.few = self.many, 0.0
        if batch_size > 1:
            self.one = Exported(signature, batch_size=1, threads=threads, precision=precision)
            blank = np.zeros((batch_size, signature.size, signature.size, 3), np.uint8)
            self.few = _seconds(self.many.probabilities, blank) / _seconds(self.one.probabilities, blank[:1])

    def __call__(self, images: np.ndarray) -> Rows:
        """uint8 (n, S, S, 3), 1 <= n <= batch_size -> what ``Engine`` gives."""
        if len(images) >= self.few:
            return _rows(self.many.answers(images))
        rows = [_rows(self.one.answers(image[None])) for image in images]
        return [row for one in rows for row in one]


def _rows(answers: Answers) -> Rows:
    if answers.in_classes is None:
        return answers.probabilities
    return list(zip(answers.probabilities, answers.in_classes.tolist(), strict=True))


def _seconds(compute: Callable[[np.ndarray], object], images: np.ndarray) -> float:
    """The least time of three batches, after a first one that prepares the engine."""
    seconds = []
    for _ in range(4):
        begin = time.perf_counter()
        compute(images)
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])


def serve_batches(connection: Connection, signature: Signature, batch_size: int, threads: int, precision: str) -> None:
    """The child process: open the model, answer each batch until the other end closes. An error ends it."""
    for number in (signal.SIGTERM, signal.SIGINT):  # which a terminal sends to all; ending it is the service's business
        signal.signal(number, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    from urnet.runtime.threads import import_paddle

    failure: Exception
    try:
        import_paddle()
        model = TwoSizes(signature, batch_size, threads, precision)
        if read_signature(signature.folder) != signature:
            raise InputError(f"{signature.folder}: was replaced while it was being opened; start the service again")
        while True:
            connection.send(model(connection.recv()))
    except EOFError:  # the service has ended
        return
    except InputError as error:
        failure = error
    except Exception as error:  # of Paddle's own classes, which the service need not know
        failure = EngineFailed(f"{type(error).__name__}: {error}")
    with contextlib.suppress(OSError):
        connection.send(failure)
