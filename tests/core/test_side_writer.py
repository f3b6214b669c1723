"""What is written on the side: in order, one at a time, and no error is lost."""

import threading

import pytest

from urnet.core.side_writer import SideWriter

PATIENCE = 60  # seconds until a test that hangs fails


def test_the_owner_goes_on_and_the_second_job_waits_for_the_first():
    done, gate = [], threading.Event()

    def slow():
        assert gate.wait(PATIENCE)
        done.append("first")

    with SideWriter() as writer:
        writer.write(slow)
        writer.check()
        assert done == []  # this thread has gone on
        threading.Timer(0.01, gate.set).start()
        writer.write(lambda: done.append("second"))
        assert done[:1] == ["first"]
        writer.wait()
        assert done == ["first", "second"]
        writer.write(lambda: done.append("third"))
    assert done == ["first", "second", "third"]


def fail():
    raise OSError(28, "No space left on device", "a/model.safetensors")


def test_what_a_job_raises_comes_with_the_next_call_and_no_job_follows():
    done: list[str] = []
    for ask in ("check", "wait", "write"):
        writer = SideWriter()
        writer.write(fail)
        writer._thread.join()
        with pytest.raises(OSError, match=r"No space left on device: 'a/model\.safetensors'"):
            getattr(writer, ask)(*([lambda: done.append("late")] if ask == "write" else []))
    assert done == []


def test_an_error_of_the_writer_goes_before_one_that_came_while_it_wrote():
    def late(gate):
        assert gate.wait(PATIENCE)
        fail()

    for meanwhile, raised in ((None, OSError), (ValueError, OSError), (KeyboardInterrupt, KeyboardInterrupt)):
        gate = threading.Event()
        with pytest.raises(raised), SideWriter() as writer:
            writer.write(lambda gate=gate: late(gate))
            gate.set()
            if meanwhile is not None:
                raise meanwhile


def test_an_error_that_came_while_it_wrote_is_raised_when_it_is_written():
    done: list[str] = []
    with pytest.raises(ValueError, match="of the owner"), SideWriter() as writer:
        writer.write(lambda: done.append("whole"))
        raise ValueError("of the owner")
    assert done == ["whole"]
