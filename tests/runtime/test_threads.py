"""How many cores each process has, whatever the launcher sets."""

import pytest

from urnet.core.cpus import usable_cores
from urnet.runtime import threads


@pytest.mark.parametrize(
    ("cores", "local", "expected"), [(96, "8", 12), (96, None, 96), (4, "8", 1), (7, "2", 3), (5, "x", 5), (5, "0", 5)]
)
def test_cores_are_shared_by_the_processes_of_a_machine(cores, local, expected, monkeypatch):
    monkeypatch.setattr(threads, "usable_cores", lambda: cores)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as the launcher does
    monkeypatch.delenv("PADDLE_LOCAL_SIZE", raising=False)
    if local is not None:
        monkeypatch.setenv("PADDLE_LOCAL_SIZE", local)
    assert threads.cores_per_process() == expected
    assert threads.compute_threads() == 1


def test_alone_a_process_has_all_cores(monkeypatch):
    monkeypatch.delenv("PADDLE_LOCAL_SIZE", raising=False)
    assert threads.cores_per_process() == usable_cores()
