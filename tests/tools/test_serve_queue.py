"""The way of an image through the service: batches, limits, what fails and what is given up."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import chain

import numpy as np
import pytest

from tools.service import queue
from tools.service.queue import Full, Pipeline
from urnet.data.images.decode import UnreadableImage

SECONDS = 10


def image_of(blob):
    """The 'image' of a blob: its number, as (1, 1, 3)."""
    if blob == b"bad":
        raise UnreadableImage("<bytes>", "no image")
    return np.full((1, 1, 3), int(blob), np.uint8)


class Engine:
    """Answers every image with its number, in float; waits for ``go``, and fails where it is told to."""

    def __init__(self):
        self.batches, self.go, self.entered = [], threading.Event(), threading.Event()
        self.fail = False
        self.go.set()

    def __call__(self, images):
        self.entered.set()
        assert self.go.wait(SECONDS)
        self.batches.append(images[:, 0, 0, 0].tolist())
        if self.fail:
            raise RuntimeError("planted")
        return images[:, 0, 0].astype(np.float32)


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def pipeline(engine):
    with Pipeline(image_of, engine, batch_size=4, limit=20, decoders=2) as pipeline:
        yield pipeline
        engine.go.set()


def number(future):
    return future.result(SECONDS)[0]


def until(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def hold(engine, pipeline):
    """Let the engine wait in a batch of one image; returns its future."""
    engine.go.clear()
    engine.entered.clear()
    (first,) = pipeline.submit([b"0"])
    assert engine.entered.wait(SECONDS)
    return first


def test_every_image_gets_its_own_answer_whoever_asks(engine, pipeline):
    def ask(start):
        found = []
        for n in range(start, start + 10):
            futures = pipeline.submit([b"%d" % n, b"%d" % (n + 100)])
            found += [number(future) for future in futures]
        return found

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(0, 80, 10)))
    for start, found in zip(range(0, 80, 10), answers, strict=True):
        assert found == [n + more for n in range(start, start + 10) for more in (0, 100)]
    assert sorted([*chain(*engine.batches)]) == sorted([*range(80), *range(100, 180)])
    assert pipeline.pending == 0 and pipeline.computed == 160


def test_requests_that_come_together_are_computed_together(engine, pipeline):
    first = hold(engine, pipeline)
    futures = [pipeline.submit([b"%d" % n])[0] for n in range(1, 7)]
    until(lambda: len(pipeline._ready) == 6)
    assert pipeline.pending == 7
    engine.go.set()
    assert [number(future) for future in [first, *futures]] == list(range(7))
    assert [len(batch) for batch in engine.batches] == [1, 4, 2]


def test_more_than_the_queue_takes_is_refused_whole(engine, pipeline):
    hold(engine, pipeline)
    pipeline.submit([b"1"] * 17)
    with pytest.raises(Full) as caught:
        pipeline.submit([b"2"] * 3)
    assert caught.value.seconds >= 1
    futures = pipeline.submit([b"3"] * 2)  # the refused ones took no place
    engine.go.set()
    assert wait(futures, SECONDS).not_done == set()
    until(lambda: pipeline.pending == 0)
    assert [*chain(*engine.batches)].count(2) == 0


def test_the_seconds_of_a_refusal_are_those_of_the_queue(engine, pipeline):
    number(pipeline.submit([b"1"])[0])
    hold(engine, pipeline)
    pipeline.submit([b"1"] * 19)
    pipeline.image_seconds = 0.6
    with pytest.raises(Full) as caught:
        pipeline.submit([b"1"])
    assert caught.value.seconds == 12


def test_an_image_given_up_is_not_computed(engine, pipeline):
    first = hold(engine, pipeline)
    given_up, kept = pipeline.submit([b"1", b"2"])
    until(lambda: len(pipeline._ready) == 2)
    assert given_up.cancel()
    engine.go.set()
    assert (number(first), number(kept)) == (0, 2)
    until(lambda: pipeline.pending == 0)
    assert [*chain(*engine.batches)] == [0, 2]


def test_what_is_no_image_costs_nothing_and_says_why(engine, pipeline):
    bad, good = pipeline.submit([b"bad", b"7"])
    with pytest.raises(UnreadableImage, match="no image"):
        bad.result(SECONDS)
    assert number(good) == 7
    until(lambda: pipeline.pending == 0)
    assert engine.batches == [[7]]


def test_a_failing_engine_fails_its_batch_only(engine, pipeline, capsys):
    engine.fail = True
    with pytest.raises(RuntimeError, match="planted"):
        pipeline.submit([b"1"])[0].result(SECONDS)
    engine.fail = False
    assert number(pipeline.submit([b"2"])[0]) == 2
    assert pipeline.alive
    assert capsys.readouterr().err == "failed: RuntimeError: planted\n"


def test_after_a_failed_batch_it_is_not_alive_until_it_has_recovered(engine, monkeypatch, capsys):
    monkeypatch.setattr(queue, "RETRY_SECONDS", 0.05)
    tries, well = [], threading.Event()

    def recover():
        tries.append(time.monotonic())
        if not well.is_set():
            raise RuntimeError("not yet")

    with Pipeline(image_of, engine, batch_size=4, limit=9, decoders=1, recover=recover) as pipeline:
        assert number(pipeline.submit([b"1"])[0]) == 1 and pipeline.alive and not tries
        engine.fail = True
        with pytest.raises(RuntimeError, match="planted"):
            pipeline.submit([b"1"])[0].result(SECONDS)
        until(lambda: len(tries) > 2)  # without another image
        assert not pipeline.alive and pipeline.pending == 0
        well.set()
        until(lambda: pipeline.alive)
        tried = len(tries)
        time.sleep(0.2)
        assert len(tries) == tried
        engine.fail = False
        assert number(pipeline.submit([b"2"])[0]) == 2
    assert "failed: RuntimeError: not yet\n" in capsys.readouterr().err


def test_the_seconds_of_an_image_count_what_decoding_takes(engine):
    def slow(blob):
        time.sleep(0.05)
        return image_of(blob)

    with Pipeline(slow, engine, batch_size=4, limit=20, decoders=1) as pipeline:
        assert wait(pipeline.submit([b"1"] * 8), SECONDS).not_done == set()
        assert 0.03 < pipeline.image_seconds < 0.5


def test_closing_does_not_wait_for_ever(engine, monkeypatch):
    monkeypatch.setattr(queue, "CLOSING_SECONDS", 0.1)
    pipeline = Pipeline(image_of, engine, batch_size=4, limit=20, decoders=1)
    hold(engine, pipeline)
    begin = time.monotonic()
    pipeline.close()
    assert time.monotonic() - begin < 5
    engine.go.set()


def test_closing_finishes_what_was_accepted_and_takes_no_more(engine, pipeline):
    hold(engine, pipeline)
    futures = pipeline.submit([b"%d" % n for n in range(1, 10)])
    closing = threading.Thread(target=pipeline.close)
    closing.start()
    until(lambda: pipeline._closing)
    with pytest.raises(Full):
        pipeline.submit([b"1"])
    engine.go.set()
    assert [number(future) for future in futures] == list(range(1, 10))
    closing.join(SECONDS)
    assert not closing.is_alive() and not pipeline.alive
