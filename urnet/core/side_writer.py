"""Files that are written while the work continues."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType


class SideWriter:
    """Carries out jobs on a thread of its own, one at a time and in the order in which they were given.

    So what is on the disk at any moment is what it would have been at some moment had the owner written itself. What a
    job raises its owner is raised, by whichever method it calls next; later jobs are not begun. Leaving the ``with``
    block waits for the job in work, also after an error: a job's error takes the place of one that came in the
    meantime, as its work was ordered before. Only of what ends the process (Ctrl-C twice, say) it does not.
    One thread owns it.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def write(self, job: Callable[[], object]) -> None:
        """Begin ``job``, as soon as the one before it is done."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(job,), name="urnet-writer", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what a job has raised; never waits."""
        if self._error is not None:
            raise self._error

    def wait(self) -> None:
        """Until nothing is left to be written; signals are taken meanwhile."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def _run(self, job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> SideWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None or isinstance(error, Exception):
            self.wait()
        elif self._thread is not None:
            self._thread.join()
