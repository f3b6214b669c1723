"""Arrays on their way from the device, and what a wait for one looks at."""

import numpy as np
import paddle
import pytest

from urnet.runtime.device_to_host import Downloads
from urnet.runtime.precision import has_gpu
from urnet.runtime.process_group import PeerLost, ProcessGroup


def check():
    downloads, kept = Downloads(), []
    for number in range(5):
        tensor = paddle.arange(6, dtype="float32").reshape([2, 3]) + number
        kept.append(downloads(tensor))
        tensor.scale_(0.0)  # what happens to a tensor afterwards does not reach the copy
    for number, download in enumerate(kept):
        value = download.value()
        assert value.dtype == np.float32 and download.ready()
        np.testing.assert_array_equal(value, np.arange(6).reshape(2, 3) + number)
        assert download.value() is value


def test_downloads_keep_the_values_of_their_moment():
    check()


def test_an_array_on_the_cpu_is_there_at_once():
    assert Downloads()(paddle.ones([2])).ready()


@pytest.mark.gpu
@pytest.mark.skipif(not has_gpu(), reason="needs a GPU")
def test_downloads_from_a_gpu_keep_the_values_of_their_moment():
    paddle.set_device("gpu")
    try:
        check()
    finally:
        paddle.set_device("cpu")


class Event:
    """A device's event that has come to pass at the ``after``-th look."""

    def __init__(self, after):
        self.looks, self.after = 0, after

    def record(self):
        pass

    def query(self):
        self.looks += 1
        return self.looks > self.after


class Watchdog:
    exit_code = 1

    def __init__(self, after):
        self.looks, self.after = 0, after

    def lost(self):
        self.looks += 1
        return "process 1 of 2 ended" if self.looks > self.after else None


@pytest.fixture
def on_gpu(monkeypatch):
    """Downloads that go the way of a GPU, whose tensors and pinned memory are the CPU's."""
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    monkeypatch.setattr(paddle, "CUDAPinnedPlace", paddle.CPUPlace)

    def downloads(group, after):
        monkeypatch.setattr(paddle.device, "Event", lambda: Event(after))
        return Downloads(group)

    return downloads


def group_of(after):
    group = ProcessGroup(0, 2)
    group.watchdog = Watchdog(after)
    return group


def test_a_wait_for_the_device_polls_and_ends_with_the_event(on_gpu):
    group = group_of(after=10**9)
    download = on_gpu(group, after=5)(paddle.full([2], 7.0))
    assert not download.ready()
    np.testing.assert_array_equal(download.value(), [7.0, 7.0])
    assert group.watchdog.looks == 4  # the event was looked at in between


def test_a_wait_for_the_device_ends_when_another_process_has_ended(on_gpu):
    download = on_gpu(group_of(after=3), after=10**9)(paddle.ones([2]))
    with pytest.raises(PeerLost) as lost:
        download.value()
    assert lost.value.code == 1


def test_pinned_memory_is_held_while_its_copy_is_to_come(on_gpu):
    downloads = on_gpu(ProcessGroup(), after=1)
    for _ in range(3):
        downloads(paddle.ones([1]))
    assert len(downloads._held) == 2  # the first has arrived: it was asked after twice
