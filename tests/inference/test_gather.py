"""Several processes' predictions come in the images' order, whatever the numbers of processes and batches."""

import threading

import pytest

from urnet.core.checks import InputError
from urnet.inference.gather import ROUNDS, gather_in_order, share


class Meeting:
    """What processes exchange, here threads: all wait for all."""

    def __init__(self, size):
        self.size, self.values, self.wait = size, [None] * size, threading.Barrier(size)

    def exchange(self, rank, value):
        self.values[rank] = value
        self.wait.wait(10)
        values = list(self.values)
        self.wait.wait(10)
        return values


class Member:
    """One thread's part: its group and its loader, ``bad`` the unreadable images among its batches."""

    def __init__(self, meeting, rank, bad):
        self.rank, self.size, self.is_single = rank, meeting.size, meeting.size == 1
        self.all_gather = lambda value: meeting.exchange(rank, value)
        self.bad = {row: (f"{row}.png", "torn") for row in bad if row % meeting.size == rank}


def outcomes(size, n_batches, bad=(), max_bad=9):
    """What each of ``size`` processes is given: a list of batches, or the error."""
    meeting, found = Meeting(size), {}

    def work(rank):
        member = Member(meeting, rank, bad)
        own = share(iter(range(n_batches)), member)
        try:
            found[rank] = list(gather_in_order(own, member, member, n_batches, max_bad))
        except InputError as error:
            found[rank] = str(error)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[rank] for rank in range(size)]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("n_batches", [0, 1, 2, 5, 2 * ROUNDS, 2 * ROUNDS + 1, 6 * ROUNDS + 4])
def test_every_process_has_all_batches_in_order(size, n_batches):
    for found in outcomes(size, n_batches, bad=(0, 1) if n_batches > 1 else ()):
        assert [batch for batch, _ in found] == list(range(n_batches))
        if n_batches > 1:
            assert list(found[-1][1]) == [0, 1]


def test_too_many_unreadable_images_of_all_processes_are_refused_by_each():
    for found in outcomes(2, 4, bad=(0, 1, 2), max_bad=2):
        assert found.startswith("0.png: is not a readable image: torn (and 2 more); at most 2 ")
