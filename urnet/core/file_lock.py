"""A file that one process at a time holds."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TextIO


def hold(lock: Path) -> TextIO | None:
    """The file, made where it is missing, open and held until it is closed; None while another process holds it.

    Who removes the file does so while holding it. Raises OSError where it cannot be written.
    """
    while True:
        stream = lock.open("a")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(stream.fileno()), lock.stat()):
                return stream
        stream.close()  # whoever held it has removed it
