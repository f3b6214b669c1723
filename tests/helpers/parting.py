"""Processes that leave a run, for tests/runtime/test_process_group.py: by ``part`` or by ``barrier``.

Each time two of them meet over Paddle's store and wait for each other, the last time by that function; process 0, which
holds the store, then leaves at once.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import paddle

from urnet.runtime.process_group import POLL_SECONDS, ProcessGroup

LATE_SECONDS = 2 * POLL_SECONDS[1]  # process 1 sleeps between two looks when process 0 comes and goes


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def process(rank: int, port: int, last: str) -> None:
    """The whole life of one process."""
    code = 1
    try:
        store = paddle.base.core.TCPStore("127.0.0.1", port, rank == 0, 2, 60)
        group = ProcessGroup(rank, 2, store)
        group.barrier()
        if rank == 0:
            time.sleep(LATE_SECONDS)
        getattr(group, last)()
        code = 0
    finally:
        os._exit(code)


def main(last: str, repeats: str, file: str) -> None:
    """Do as the module says; the exit codes of both, of each time, go to ``file``."""
    codes = []
    for _ in range(int(repeats)):
        port, children = free_port(), []
        for rank in range(2):
            child = os.fork()
            if child == 0:
                process(rank, port, last)
            children.append(child)
        codes.append([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
    Path(file).write_text(json.dumps(codes))
