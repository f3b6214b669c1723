"""The engine of tools/serve.py, in a process of its own.

Paddle's engine keeps Python's lock while it computes, so in the service's own process nothing would be
decoded or answered meanwhile. And where the engine dies, the service lives and starts another one.

On the child's stdin: uint32 n, then n images of S x S x 3 bytes. On its stdout: uint32 bytes, then
n x C float32.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from urnet.core import cli
from urnet.core.atomic_files import file_hash
from urnet.core.checks import InputError
from urnet.inference.signature import PADDLE, SIGNATURE, Signature, read_signature

COUNT = struct.Struct("<I")
STARTING, PATIENCE = 600.0, 30.0  # seconds until an engine that does not answer is killed: at first, later
WATCH_SECONDS = 0.5  # between two looks whether it is time for that


class EngineFailed(Exception):
    """The engine's process ended with ``code``; its batch has no answer. The next one gets a new process."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"the engine's process ended with {code}")
        self.code = code


class EngineProcess:
    """``engine(images)``: uint8 (n, S, S, 3), 1 <= n <= batch_size, to float32 (n, C). One thread at a time.

    Construction waits until the engine has answered a first batch, so that what cannot be opened is refused
    at once: InputError. Raises EngineFailed; what went wrong is on stderr. An engine that does not answer in
    ``PATIENCE`` seconds (or the time its start took, if longer) is killed. One that died while nothing was
    asked is replaced first. A folder whose files are no longer those of the start is not opened again.
    """

    def __init__(self, signature: Signature, *, batch_size: int, threads: int, precision: str) -> None:
        self._signature, self._batch_size = signature, batch_size
        self._command = [
            sys.executable,
            __file__,
            str(signature.folder),
            str(batch_size),
            precision,
            folder_digest(signature.folder),
        ]
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self._process: subprocess.Popen | None = None
        self._changing = threading.Lock()
        self._closed = threading.Event()
        self._until: float | None = None  # when the question under way must have been answered
        self._patience = STARTING
        self.starts = 0
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        try:
            self._start()
        except EngineFailed as error:
            self.close()
            if error.code == cli.BAD_INPUT:
                raise InputError(f"{signature.folder}: the engine refuses it; the line above says why") from None
            raise

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.revive()
        return self._ask(images, self._patience)

    def revive(self) -> None:
        """Start the process where there is none, or none any more."""
        process = self._process
        if process is not None and process.poll() is None:
            return
        if process is not None:
            print(f"note: the engine ended with {process.returncode}; another is started", file=sys.stderr)
            self._end()
        self._start()

    def _start(self) -> None:
        with self._changing:
            if self._closed.is_set():
                raise EngineFailed(None)
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment
            )
        self.starts += 1
        size, begin = self._signature.size, time.monotonic()
        self._ask(np.zeros((self._batch_size, size, size, 3), np.uint8), STARTING)
        self._patience = max(PATIENCE, time.monotonic() - begin)

    def _ask(self, images: np.ndarray, seconds: float) -> np.ndarray:
        process: Any = self._process
        if process is None:  # closed by another thread
            raise EngineFailed(None)
        shape = (len(images), self._signature.n_classes)
        head = data = b""
        self._until = time.monotonic() + seconds
        try:
            process.stdin.write(COUNT.pack(len(images)))
            process.stdin.write(np.ascontiguousarray(images).data)
            process.stdin.flush()
            head = process.stdout.read(COUNT.size)
            if head == COUNT.pack(4 * shape[0] * shape[1]):
                data = process.stdout.read(4 * shape[0] * shape[1])
        except (OSError, ValueError):  # the pipe is broken, or closed
            pass
        finally:
            self._until = None
        if len(data) != 4 * shape[0] * shape[1]:
            self._end()
            raise EngineFailed(process.returncode)
        return np.frombuffer(data, "<f4").reshape(shape)

    def _watch(self) -> None:
        """Kill a process that does not answer in time (a timer a batch would cost more than small ones)."""
        while not self._closed.wait(WATCH_SECONDS):
            with self._changing:
                until, process = self._until, self._process
                if until is not None and time.monotonic() > until and process is not None:
                    process.kill()

    def _end(self) -> None:
        """Let the process end by itself: its input is closed. One that does not is killed."""
        with self._changing:
            process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def close(self) -> None:
        """End the process; a call in another thread gets EngineFailed."""
        self._closed.set()
        with self._changing:
            if self._until is not None and self._process is not None:
                self._process.kill()
        self._end()

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TwoSizes:
    """A model with two engines, for one image and for ``batch_size``; each keeps to its size.

    A batch that is not full would cost as much as a full one, and a lone image sixteen times what it needs.
    Where ``few`` images one by one take less time than a padded batch, as timed at the start, they are so
    computed. The second engine holds the weights once more.
    """

    def __init__(self, signature: Signature, batch_size: int, precision: str) -> None:
        from urnet.inference.exported_predictor import Exported

        self.many = Exported(signature, batch_size=batch_size, precision=precision)
        self.one, self.few = self.many, 0.0
        if batch_size > 1:
            self.one = Exported(signature, batch_size=1, precision=precision)
            self.few = self._seconds(self.many, batch_size) / self._seconds(self.one, 1)

    @staticmethod
    def _seconds(model: Any, n: int, rounds: int = 3) -> float:
        images = np.zeros((n, model.image_size, model.image_size, 3), np.uint8)
        model.probabilities(images)  # the first batch prepares the engine
        seconds = []
        for _ in range(rounds):
            begin = time.perf_counter()
            model.probabilities(images)
            seconds.append(time.perf_counter() - begin)
        return min(seconds)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """uint8 (n, S, S, 3), 1 <= n <= batch_size -> float32 (n, C)."""
        if len(images) < self.few:
            rows = [self.one.probabilities(images[i : i + 1]) for i in range(len(images))]
            return np.concatenate(rows)
        return self.many.probabilities(images)


def folder_digest(folder: Path) -> str:
    """SHA-256 of what is served: the signature and the model's files. Raises InputError for a missing one."""
    weights = Path(PADDLE).with_suffix(".pdiparams")
    try:
        hashes = [file_hash(folder / name) for name in (SIGNATURE, PADDLE, weights)]
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def main(argv: Sequence[str]) -> int:
    """The child: open the model, answer until stdin ends. Signals are the service's business."""
    folder, batch_size, precision, digest = argv
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Paddle's C++ code logs to descriptor 1
    from urnet.runtime.threads import import_paddle

    import_paddle()
    signature = read_signature(folder)
    if folder_digest(signature.folder) != digest:
        raise InputError(f"{folder}: was replaced while it was served; start the service again")
    model = TwoSizes(signature, int(batch_size), precision)
    size, questions = signature.size, sys.stdin.buffer
    with contextlib.suppress(BrokenPipeError):  # the service was killed
        while len(head := questions.read(COUNT.size)) == COUNT.size:
            (n,) = COUNT.unpack(head)
            data = questions.read(n * size * size * 3)
            images = np.frombuffer(data, np.uint8).reshape(n, size, size, 3)
            scores = np.ascontiguousarray(model.probabilities(images), "<f4")
            answers.write(COUNT.pack(scores.nbytes))
            answers.write(scores.data)
            answers.flush()
    return cli.DONE


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(cli.run(main))
