"""Connections between the processes of one run, so that all learn soon that one has ended, and why.

Without them a collective operation hangs, or fails with words about sockets, when a process of the run is gone.
Every process holds a connection to process 0. The system closes it when a process ends, however it ends, and
keep-alive probes find a machine that is gone within half a minute. Nothing else travels through it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from urnet.core import cli

DONE = "done"
REFUSED = "was refused"  # process 0, which says why itself
KILLED = "it was killed, or its machine is gone"
OWN_WORDS_SECONDS = 0.5  # for this process to end with words of its own, where the other's may be the same
GRACE_SECONDS = 2.0  # for the main thread to end; the launcher kills after 3
CONNECT_SECONDS = 60.0
# TCP probes after 10 s of silence, every 5 s, 4 times: a dead machine is known after 30 s
PROBES = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}


class Watchdog:
    """One process's end of the connections. ``host``: how the others reach process 0.

    ``share(value)`` hands process 0's value to all, once, at the start. ``end(code)`` is what ends
    this process if its main thread is stuck (``os._exit``; tests hand in another).
    """

    def __init__(
        self,
        rank: int,
        size: int,
        host: str,
        share: Callable[[Any], Any],
        *,
        end: Callable[[int], Any] = os._exit,
        own_words: float = OWN_WORDS_SECONDS,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self.rank, self.size, self._end = rank, size, end
        self._own_words, self._grace = own_words, grace
        self._lost: str | None = None
        self.exit_code = cli.FAILED  # of this process, where another one has ended
        self._known, self._left = threading.Event(), threading.Event()
        self._lines: dict[int, _Line] = {}
        server = socket.create_server((host, 0), backlog=size) if rank == 0 else None
        port, token = share((server.getsockname()[1], secrets.token_hex(16)) if server else None)
        if server is not None:
            with server:
                self._accept(server, token)
        else:
            line = _Line(socket.create_connection((host, port), CONNECT_SECONDS))
            line.send(f"{token} {rank} {socket.gethostname()}")
            self._lines[0] = line
        for peer, line in self._lines.items():
            threading.Thread(target=self._listen, args=(peer, line), daemon=True).start()

    def _accept(self, server: socket.socket, token: str) -> None:
        """Take a connection of every other process; strangers are hung up on."""
        server.settimeout(CONNECT_SECONDS)
        while len(self._lines) < self.size - 1:
            line = _Line(server.accept()[0])
            words = line.receive().split(" ", 2)
            if len(words) == 3 and secrets.compare_digest(words[0], token) and words[1].isdigit():
                line.host = words[2]
                self._lines[int(words[1])] = line
            else:
                line.close()

    def _listen(self, peer: int, line: _Line) -> None:
        """Wait for the last words of ``peer``, or of the process that process 0 reports."""
        words = line.receive()
        if words:
            self._left.wait(self._own_words)
        if words == DONE or self._left.is_set():  # what comes after hanging up is our own doing
            return
        if self.rank == 0:
            text = f"process {peer} of {self.size} on {line.host} ended: {words or KILLED}"
            for other, another in self._lines.items():
                if other != peer:
                    another.send(text)
        else:
            text = words or f"process 0 of {self.size} ended: {KILLED}"
        self._lose(text)

    def _lose(self, text: str) -> None:
        if self._known.is_set() or self._left.is_set():
            return
        refused = text.partition(": ")[0].endswith(REFUSED)
        with contextlib.suppress(OSError, ValueError):  # at once: gloo may abort this process any moment
            if not refused:
                hint = "once that is fixed, --resume continues from the last checkpoint"
                print(f"failed: {text}; {hint}\n", end="", file=sys.stderr, flush=True)  # one write: a line is whole
            elif cli.is_first_here():  # on another machine than process 0, which has said it
                print(f"error: {text}\n", end="", file=sys.stderr, flush=True)
        self._lost, self.exit_code = text, cli.BAD_INPUT if refused else cli.FAILED
        self._known.set()
        if not self._left.wait(self._grace):
            self._end(self.exit_code)

    def lost(self, seconds: float = 0.0) -> str | None:
        """Which process ended and why, as far as it is known after waiting up to ``seconds``; else None.

        What is known has been printed on stderr.
        """
        self._known.wait(seconds)
        return self._lost

    def leave(self, words: str = DONE, *, refused: bool = False) -> None:
        """Hang up; ``words``, one line, say why to the others, unless all is done. ``refused``: for bad input."""
        self._left.set()
        if self.rank == 0 and words != DONE:
            words = f"process 0 of {self.size} on {socket.gethostname()} {REFUSED if refused else 'ended'}: {words}"
        for line in self._lines.values():
            line.send(self._lost or words)
            line.close()


class _Line:
    """A connection that carries lines of text."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in PROBES.items():
            option = getattr(socket, name, None)  # not on every system
            if option is not None:
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
        self._connection, self.host = connection, "?"
        self._text = connection.makefile("r", encoding="utf-8", errors="replace")

    def send(self, text: str) -> None:
        """One line; where nobody listens any more it is lost."""
        with contextlib.suppress(OSError):
            self._connection.sendall(" ".join(text.split()).encode() + b"\n")

    def receive(self) -> str:
        """The next line; "" at the end of the connection."""
        try:
            return self._text.readline().strip()
        except OSError:
            return ""

    def close(self) -> None:
        """Hang up; the other side reads what was sent, then the end."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
