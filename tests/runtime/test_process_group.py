"""How the processes of a run wait for each other, and leave."""

import json
import threading

from tests.helpers import parting
from tests.helpers.forked import fork
from urnet.runtime.process_group import ProcessGroup


class Store:
    """Paddle's key-value store, as far as waiting uses it, for processes that are threads."""

    def __init__(self, gone=()):
        self.counts, self.gone, self.lock = {}, gone, threading.Lock()

    def add(self, key, amount):
        if key in self.gone:
            raise RuntimeError("Expected byte_received >= 0")
        with self.lock:
            self.counts[key] = self.counts.get(key, 0) + amount
            return self.counts[key]


def test_process_0_leaves_last_even_at_once(tmp_path):
    """Its process holds the store: what others ask of it afterwards is an error, after a finished run."""
    process = fork(parting.main, "part", "3", str(tmp_path / "codes.json"))
    process.join(600)
    assert json.loads((tmp_path / "codes.json").read_text()) == [[0, 0]] * 3


def test_all_part_together():
    store, order = Store(), []

    def leave(rank):
        ProcessGroup(rank, 3, store).part()
        order.append(rank)

    threads = [threading.Thread(target=leave, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(order) == [0, 1, 2]
    assert store.counts["urnet/parted"] == 2


def test_process_0_stays_for_a_while_only():
    store = Store()
    store.add("urnet/wait/1", 1)  # the other one was here, and has been killed since
    ProcessGroup(0, 2, store).part(seconds=0.0)


def test_the_others_may_find_process_0_gone():
    store = Store(gone=["urnet/parted"])
    store.add("urnet/wait/1", 1)
    ProcessGroup(1, 2, store).part()
