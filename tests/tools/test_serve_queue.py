"""The way of an image through the service: batches, limits, what fails and what is given up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from itertools import chain

import numpy as np
import pytest

from tools.service.queue import Full, Pipeline
from urnet.data.images.decode import UnreadableImage


def image_of(blob):
    """The 'image' of a blob: its number, as (1, 1, 3)."""
    if blob == b"bad":
        raise UnreadableImage("<bytes>", "no image")
    return np.full((1, 1, 3), int(blob), np.uint8)


class Engine:
    """Predicts every image's number, in float; waits for ``go``, and fails where it is told to."""

    def __init__(self):
        self.batches, self.go, self.entered, self.fail = [], threading.Event(), threading.Event(), False
        self.go.set()

    def __call__(self, images):
        self.entered.set()
        self.go.wait()
        self.batches.append(images[:, 0, 0, 0].tolist())
        if self.fail:
            raise RuntimeError("planted")
        return images[:, 0, 0].astype(np.float32)


@contextlib.asynccontextmanager
async def running(engine):
    """A pipeline over the engine: batches of 4, at most 20 images."""
    pipeline = Pipeline(image_of, engine, batch_size=4, limit=20, decoders=2)
    task = asyncio.create_task(pipeline.run())
    try:
        yield pipeline
    finally:
        engine.go.set()
        task.cancel()


async def numbers(pipeline, *blobs):
    return [row if isinstance(row, Exception) else row[0] for row in await pipeline.predict(blobs)]


async def held(engine, pipeline, *requests):
    """The requests' tasks, while the engine waits in a batch of the first image."""
    engine.go.clear()
    engine.entered.clear()
    tasks = [asyncio.create_task(numbers(pipeline, b"0"))]
    await asyncio.to_thread(engine.entered.wait)
    tasks += [asyncio.create_task(numbers(pipeline, *request)) for request in requests]
    while pipeline._ready.qsize() < sum(map(len, requests)):
        await asyncio.sleep(0.001)
    return tasks


def test_every_image_gets_its_own_answer_and_those_that_come_together_are_computed_together():
    async def scenario():
        async with running(engine) as pipeline:
            tasks = await held(engine, pipeline, *([b"%d" % n] for n in range(1, 7)))
            assert pipeline.pending == 7
            engine.go.set()
            assert await asyncio.gather(*tasks) == [[n] for n in range(7)]
            assert [len(batch) for batch in engine.batches] == [1, 4, 2]
            for start in range(0, 100, 10):
                pairs = [(n, (n + 50) % 100) for n in range(start, start + 10)]
                found = await asyncio.gather(*(numbers(pipeline, b"%d" % a, b"%d" % b) for a, b in pairs))
                assert found == [list(pair) for pair in pairs]
            assert pipeline.pending == 0 and pipeline.computed == 207

    engine = Engine()
    asyncio.run(scenario())
    assert max(map(len, engine.batches)) == 4


def test_more_than_the_queue_takes_is_refused_whole():
    async def scenario():
        async with running(engine) as pipeline:
            tasks = await held(engine, pipeline, [b"1"] * 17)
            pipeline.image_seconds = 0.6
            with pytest.raises(Full) as caught:
                await pipeline.predict([b"2"] * 3)
            assert caught.value.seconds == 11  # 18 images, rounded up
            tasks.append(asyncio.create_task(numbers(pipeline, b"3", b"3")))  # the refused ones took no place
            engine.go.set()
            assert await asyncio.gather(*tasks) == [[0], [1] * 17, [3, 3]]
            assert pipeline.pending == 0

    engine = Engine()
    asyncio.run(scenario())
    assert 2 not in chain(*engine.batches)


def test_a_request_given_up_is_not_computed():
    async def scenario():
        async with running(engine) as pipeline:
            first, given_up, kept = await held(engine, pipeline, [b"1", b"4"], [b"2"])
            given_up.cancel()
            never = asyncio.create_task(numbers(pipeline, b"5"))
            never.cancel()  # before it began
            await asyncio.wait([given_up, never])
            assert pipeline.pending == 2
            engine.go.set()
            assert await asyncio.gather(first, kept) == [[0], [2]]

    engine = Engine()
    asyncio.run(scenario())
    assert engine.batches == [[0], [2]]


def test_what_fails_costs_its_image_or_its_batch_only(capsys):
    async def scenario():
        async with running(engine) as pipeline:
            bad, good = await numbers(pipeline, b"bad", b"7")
            assert isinstance(bad, UnreadableImage) and good == 7
            engine.fail = True
            (failed,) = await numbers(pipeline, b"1")
            assert isinstance(failed, RuntimeError)
            engine.fail = False
            assert await numbers(pipeline, b"2") == [2]

    engine = Engine()
    asyncio.run(scenario())
    assert engine.batches == [[7], [1], [2]]
    assert capsys.readouterr().err == "failed: RuntimeError: planted\n"
