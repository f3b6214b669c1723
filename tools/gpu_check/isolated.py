"""A check in a process of its own: whatever becomes of it, its rows so far are kept and the next one begins."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tools.gpu_check.rows import FAILED, Row, Settings, first_line

POLL_SECONDS = 0.2  # between two looks whether the process is alive


def run_apart(
    context: Any, module: str, settings: Settings, environment: Mapping[str, str], limit: float, log: Path
) -> list[Row]:
    """The rows of ``module``'s ``check(settings)``, which has ``limit`` seconds; what it says goes to ``log``.

    A process that ends early or is late leaves a failed row behind those it made, and no process of its own.
    ``context`` is multiprocessing's: how processes start (never by a fork of one that has used CUDA).
    """
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, module, settings, dict(environment), log))
    process.start()
    theirs.close()
    rows, give_up = list[Row](), time.monotonic() + limit
    try:
        while True:
            if ours.poll(POLL_SECONDS):
                row = ours.recv()
                if row is None:
                    return rows
                rows.append(row)
            elif not process.is_alive() and not ours.poll(0):
                raise EOFError
            elif time.monotonic() > give_up:
                return [*rows, Row("the rest", FAILED, f"did not end within {limit:.0f} s")]
    except EOFError:
        process.join()
        return [*rows, Row("the rest", FAILED, _end(process.exitcode, log))]
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # the group that _work made, its children in it
        process.join(30)


def _end(code: int | None, log: Path) -> str:
    """How a process ended that did not say so itself."""
    name = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
    said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    return f"its process ended with {name}" + (f": {said[-1].strip()}" if said else "")


def _work(pipe: Connection, module: str, settings: Settings, environment: dict[str, str], log: Path) -> None:
    with contextlib.suppress(PermissionError):
        os.setpgid(0, 0)
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ.update(environment)
    try:
        from urnet.runtime.threads import import_paddle

        import_paddle()
        from urnet.runtime.precision import choose_device

        choose_device(settings.device)
        for row in importlib.import_module(module).check(settings):
            pipe.send(row)
    except (Exception, SystemExit) as error:
        import traceback

        traceback.print_exc()
        pipe.send(Row("the rest", FAILED, first_line(error)))
    pipe.send(None)
