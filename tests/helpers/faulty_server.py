"""A web server on loopback that serves bytes with ranges, and misbehaves where a test tells it to."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Served:
    """One file. ``plan`` is consumed answer by answer: a status such as 503, or how many bytes to send of the
    whole answer before the connection breaks. With an empty plan the server behaves."""

    body: bytes
    # "503" answers a status, 100 sends 100 bytes and hangs up, -100 sends 100 bytes and then falls silent
    plan: list[int | str] = field(default_factory=list)
    head_plan: list[str] = field(default_factory=list)  # statuses that HEAD answers first
    ranges: bool = True
    claimed: int | None = None  # what HEAD claims as Content-Length, where that is not the truth
    kind: str = ""  # what GET says of the Content-Type
    starts: list[int | None] = field(default_factory=list)  # the first byte each GET asked for
    heads: int = 0


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers HEAD and GET from ``server.files``."""

    files: dict[str, Served]

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def do_HEAD(self) -> None:
        served = self.files.get(self.path)
        if served is None:
            return self.empty(404)
        served.heads += 1
        if served.head_plan:
            return self.empty(int(served.head_plan.pop(0)))
        self.send_response(200)
        if served.claimed != -1:
            length = len(served.body) if served.claimed is None else served.claimed
            self.send_header("Content-Length", str(length))
        return self.end_headers()

    def do_GET(self) -> None:
        served = self.files.get(self.path)
        if served is None:
            return self.empty(404)
        asked = self.headers.get("Range")
        start = int(asked.split("=")[1].split("-")[0]) if asked else None
        served.starts.append(start)
        step = served.plan.pop(0) if served.plan else None
        if isinstance(step, str):
            return self.empty(int(step))
        first = start if served.ranges and start is not None else 0
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(served.body) - 1}/{len(served.body)}")
        self.send_header("Content-Length", str(len(served.body) - first))
        if served.kind:
            self.send_header("Content-Type", served.kind)
        self.end_headers()
        self.wfile.write(served.body[first:] if step is None else served.body[first : first + abs(step)])
        if step is not None and step < 0:
            self.connection.settimeout(20)
            self.connection.recv(1)  # until the client hangs up
        self.close_connection = True
        return None

    def empty(self, status: int) -> None:
        """An answer without a body."""
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextlib.contextmanager
def serving(files: dict[str, Served]) -> Iterator[str]:
    """Serve ``files`` (by path, "/a.tar") and yield the address."""
    handler = type("BoundHandler", (Handler,), {"files": files})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
