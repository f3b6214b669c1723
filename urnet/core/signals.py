"""SIGTERM and Ctrl-C as a request to stop that is honoured after the current step."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

SAME_SECONDS = 3.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """The run was asked to stop and did so in good order; ``exit_code`` is 143 (SIGTERM) or 130 (Ctrl-C)."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class GracefulStop:
    """Inside the ``with`` block the first SIGTERM or Ctrl-C is noted and ``check()`` raises Interrupted.

    A second signal acts at once, as ever; under Paddle's launcher, which sends SIGTERM three times in a row,
    only if it comes SAME_SECONDS later. Outside the main thread, where Python takes no signals, nothing
    is noted.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._noted = 0.0  # when
        self._previous: dict[int, Any] = {}

    def check(self) -> None:
        """Raise Interrupted if a signal came."""
        if self.number is not None:
            raise Interrupted(self.number)

    def _note(self, number: int, _: Any) -> None:
        if self.number is not None and time.monotonic() - self._noted < SAME_SECONDS:
            return
        if self.number is not None:
            self._restore()
            signal.raise_signal(number)
            return
        self.number, self._noted = number, time.monotonic()
        if "PADDLE_TRAINER_ENDPOINTS" not in os.environ:
            self._restore()
        with contextlib.suppress(OSError, RuntimeError):  # stderr may be gone, or in use just now
            print(f"{signal.Signals(number).name}: stopping after this step", file=sys.stderr)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._restore()


@contextlib.contextmanager
def signals_deferred() -> Iterator[None]:
    """Ctrl-C and SIGTERM act at the end of the block: what they raise inside might be swallowed, or tear it apart."""
    before = [signal.getsignal(number) for number in SIGNALS]
    if None in before or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    for number in SIGNALS:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)
