"""A client of tools/serve.py, for its tests and the measurement of its speed: starts it, asks it."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
BOUNDARY = "b0undary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


class Ask(NamedTuple):
    """A request to /predict: its body, the body's type and encoding; without a type the bytes are the whole request."""

    body: bytes
    kind: str = FORM
    encoding: str = "identity"


class Running(NamedTuple):
    """A service that runs; ``rss()`` in bytes, without the engine's process."""

    process: subprocess.Popen
    port: int

    def rss(self) -> int:
        """Resident memory of the service's own process."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) << 10


@contextlib.contextmanager
def running(folder: Path, *flags: str, threads: int = 1, log: Path | None = None) -> Iterator[Running]:
    """tools/serve.py over ``folder``, on a free port, until the block ends; its stderr goes to ``log``."""
    command = [sys.executable, str(ROOT / "tools" / "serve.py"), "--model", str(folder), "--port", "0", *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with contextlib.ExitStack() as stack:
        errors = None if log is None else stack.enter_context(log.open("ab"))
        process = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=ROOT)
        )
        stack.callback(process.terminate)
        assert process.stdout is not None
        first = process.stdout.readline()
        found = re.search(r":(\d+)/$", first.strip())
        if not found:
            raise RuntimeError(f"the service did not start: {first!r}, {process.wait()}")
        yield Running(process, int(found[1]))


def form(images: Sequence[tuple[str, bytes]], field: str = "image") -> Ask:
    """A form of image files, names and bytes."""
    head = '--{}\r\nContent-Disposition: form-data; name="{}"; filename="{}"\r\nContent-Type: image/jpeg\r\n\r\n'
    parts = [head.format(BOUNDARY, field, name).encode() + data + b"\r\n" for name, data in images]
    return Ask(b"".join(parts) + f"--{BOUNDARY}--\r\n".encode())


def ask(connection: http.client.HTTPConnection, request: Ask, query: str = "") -> tuple[int, bytes]:
    """Status and body of one answer; the connection can be used again."""
    headers = {"Content-Type": request.kind, "Content-Encoding": request.encoding}
    connection.request("POST", "/predict" + query, request.body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def ask_once(port: int, request: Ask, query: str = "", timeout: float = 60) -> tuple[int, bytes]:
    """As ``ask``, over a connection of its own. A request without a type may have no answer: status 0."""
    if request.kind:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)) as connection:
            return ask(connection, request, query)
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        found = b""
        with contextlib.suppress(OSError):  # the service may hang up at any time
            connection.sendall(request.body)
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(1 << 16):
                found += data
    status = re.match(rb"HTTP/1\.1 (\d+)", found)
    return (int(status[1]) if status else 0), found


def load(port: int, requests: Sequence[Ask], connections: int) -> tuple[float, list[float], list[int]]:
    """Ask all, over so many connections at once: seconds in all, seconds and status of each."""
    own = threading.local()  # each thread's connection

    def timed(request: Ask) -> tuple[float, int]:
        if not hasattr(own, "connection"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
            own.connection = stack.enter_context(contextlib.closing(connection))
        start = time.perf_counter()
        status, _ = ask(own.connection, request)
        return time.perf_counter() - start, status

    begin = time.perf_counter()
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(connections) as pool:
        found = list(pool.map(timed, requests))
    return time.perf_counter() - begin, [seconds for seconds, _ in found], [status for _, status in found]
