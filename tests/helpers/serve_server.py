"""For the tests of the service: a server in a thread, over an engine that a test can hold and break."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import uvicorn

from tests.helpers.picture_files import encode, picture
from tools.service.app import Service, make_app
from tools.service.client import ask_once
from tools.service.limits import Limits
from tools.service.protocol import JsonProtocol
from tools.service.queue import Pipeline
from urnet.config.recipe import Transform
from urnet.inference.signature import Signature

NAMES = ("zero", "<b>one</b>", "zwei é 图", "three", "four", "five", "six")
SIGNATURE = Signature(Path("nowhere"), "toy", 7, NAMES, Transform(size=8), "honour")
BODY = 100_000  # bytes that are accepted
PNG = encode(".png", picture())


def scores_of(images):
    """Probabilities that tell the images apart: the mean colour says the ranking. (n, 7) float32."""
    level = images.reshape(len(images), -1).mean(axis=1, keepdims=True, dtype=np.float64)
    logits = np.sin(level * np.arange(1, 8))
    return (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)


class Held:
    """``compute`` of a pipeline; waits for ``go``, raises ``error`` if there is one."""

    def __init__(self):
        self.go, self.error, self.sizes = threading.Event(), None, []
        self.go.set()

    def __call__(self, images):
        self.go.wait()
        self.sizes.append(len(images))
        if self.error:
            raise self.error
        return scores_of(images)


class Server:
    """uvicorn in a thread, with the settings of tools/serve.py that matter here."""

    def __init__(self, compute, seconds=120.0, origins=()):
        self.compute, self.alive, self.crowded = compute, True, False
        prepare = partial(SIGNATURE.prepare, max_pixels=10_000)
        self.pipeline = Pipeline(prepare, compute, batch_size=4, limit=8, decoders=2)
        limits = Limits(BODY, 5, seconds)
        self.service = Service(SIGNATURE, self.pipeline, limits, lambda: self.alive, lambda: self.crowded)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        config = uvicorn.Config(make_app(self.service, origins), http=JsonProtocol, ws="none", log_level="error")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self.socket]})
        self._thread.start()

    def close(self):
        self.compute.go.set()
        self._server.should_exit = True
        self._thread.join()

    def get(self, path, method="GET", body=None, headers=None):
        """Status, headers and text of any request."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()

    def health(self):
        """What /health says."""
        return json.loads(self.get("/health")[2])


def until(condition):
    """Wait for what must come; so long only that a broken service does not hold up the tests for ever."""
    end = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def refused(server, request, query=""):
    """Status and text of a refusal: a JSON object with one sentence."""
    status, body = ask_once(server.port, request, query)
    assert status >= 400
    return status, sentence(body)


def sentence(body):
    """The one sentence of a refusal's body."""
    text = body if isinstance(body, str) else body.decode()
    assert text.endswith("}\n") and text.count("\n") == 1
    assert "Traceback" not in text and ".py" not in text
    ((key, said),) = json.loads(text).items()
    assert key == "error" and said
    return said


def expected(data, k=5):
    """The entry of an image file's bytes, worked out by hand."""
    image = cv2.resize(cv2.imdecode(np.frombuffer(data, np.uint8), 1)[:, :, ::-1], (8, 8))
    scores = scores_of(image[None])[0]
    classes = np.argsort(-scores, kind="stable")[:k]
    names = [NAMES[c] for c in classes]
    return {"classes": classes.tolist(), "scores": pytest.approx(scores[classes].tolist()), "names": names}
