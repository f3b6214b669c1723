"""Processes learn who ended and why, and nothing when all is done."""

import queue
import socket
import threading

import pytest

from urnet.runtime.watchdog import DONE, Watchdog


@pytest.fixture
def processes():
    """``start(grace)`` gives three processes' ends, as threads, and a queue of (rank, exit code) of those that had to
    be ended; ``settle()`` waits until nobody listens any more, so that nothing can follow."""
    made, before = {}, set(threading.enumerate())

    def start(grace):
        boxes, ended = [queue.Queue() for _ in range(3)], queue.Queue()

        def share(rank):
            def give(value):
                if rank == 0:
                    for box in boxes[1:]:
                        box.put(value)
                    return value
                return boxes[rank].get(timeout=60)

            return give

        def make(rank):
            end = {"end": lambda code: ended.put((rank, code)), "own_words": 0.0, "grace": grace}
            made[rank] = Watchdog(rank, 3, "127.0.0.1", share(rank), **end)

        threads = [threading.Thread(target=make, args=(rank,)) for rank in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return [made[rank] for rank in range(3)], ended

    yield start, lambda: settle(before)
    for line in made.values():
        line.leave()


def settle(before):
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()


def cut(line):
    """What the system does with a killed process's connections; it hears nothing any more."""
    line._left.set()
    for end in line._lines.values():
        end._connection.shutdown(socket.SHUT_RDWR)


def test_all_done_is_no_loss(processes):
    start, settle = processes
    ends, ended = start(grace=0.0)
    for line in ends[:0:-1]:
        line.leave()
    settle()  # process 0 has heard both, and has not left
    assert ended.empty() and all(line.lost() is None for line in ends)


@pytest.mark.parametrize("rank", [1, 2])
def test_a_killed_process_is_named_to_all(processes, capfd, rank):
    ends, ended = processes[0](grace=0.0)
    cut(ends[rank])
    others = [0, 3 - rank]
    words = f"process {rank} of 3 on {socket.gethostname()} ended: it was killed, or its machine is gone"
    for other in others:
        assert ends[other].lost(60) == words
    assert sorted(ended.get(timeout=60) for _ in others) == [(other, 1) for other in others]
    assert capfd.readouterr().err.count(f"failed: {words}; once that is fixed, --resume continues") == 2


def test_the_loss_of_process_0_is_known_to_all(processes):
    ends, _ = processes[0](grace=0.0)
    cut(ends[0])
    for line in ends[1:]:
        assert line.lost(60) == "process 0 of 3 ended: it was killed, or its machine is gone"


@pytest.mark.parametrize("rank", [0, 1])
def test_last_words_reach_all_on_one_line(processes, rank):
    start, settle = processes
    ends, ended = start(grace=60.0)
    ends[rank].leave("a.txt: line 3:\nfound x")
    words = f"process {rank} of 3 on {socket.gethostname()} ended: a.txt: line 3: found x"
    for line in ends:
        if line is not ends[rank]:
            assert line.lost(60) == words
            line.leave(words)  # with words of its own in time, nobody has to end it
    settle()
    assert ended.empty()


@pytest.mark.parametrize("local", ["0", "1"])
def test_a_refusal_of_process_0_is_told_on_other_machines_only(processes, capfd, monkeypatch, local):
    monkeypatch.setenv("PADDLE_LOCAL_RANK", local)
    ends, ended = processes[0](grace=0.0)
    ends[0].leave("a.txt: found x", refused=True)
    words = f"process 0 of 3 on {socket.gethostname()} was refused: a.txt: found x"
    for line in ends[1:]:
        assert line.lost(60) == words and line.exit_code == 2
    assert sorted(ended.get(timeout=60) for _ in ends[1:]) == [(1, 2), (2, 2)]
    assert capfd.readouterr().err == f"error: {words}\n" * (2 if local == "0" else 0)


def test_strangers_are_hung_up_on():
    """Only who knows the token is taken in; a stranger in between changes nothing."""
    box: queue.Queue = queue.Queue()
    made, before = {}, set(threading.enumerate())

    def main_process():
        made[0] = Watchdog(0, 2, "127.0.0.1", lambda value: box.put(value) or value, end=print)

    thread = threading.Thread(target=main_process)
    thread.start()
    port, token = box.get(timeout=60)
    for words in (b"1\n", b"0000 1 host\n", b"\n"):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(words)
            assert stranger.recv(10) == b""
    made[1] = Watchdog(1, 2, "127.0.0.1", lambda _: (port, token), end=print)
    thread.join(60)
    for line in made.values():
        line.leave(DONE)
    settle(before)
    assert made[0].lost() is None
