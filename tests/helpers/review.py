"""For the tests of review: a list of suspects with its pictures, the page's answers without a server, and one with."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import uvicorn

from tests.helpers.picture_files import picture
from urnet.data.decisions import DecisionsFile
from urnet.report.photos import Photos
from urnet.report.suspects import VERDICTS, Evidence, write_csv
from urnet.review.app import make_app
from urnet.review.opened import opened
from urnet.review.pictures import Pictures
from urnet.review.state import Review

TOKEN = "a-token"
NAMES = ["ant", "bee <b>&", "cat"]
FACES = 24  # pixels of a side


def make_list(folder: Path, n: int = 24, n_off: int = 2) -> Path:
    """``n`` pictures in ``folder``/photos and their list: rows 0 to 5 are wrong, 6 and 7 duplicates, then off topic.

    Row r lies in class r % 3; a wrong one is suggested to be of the next class, at 0 and 3 so of the same pair.
    """
    labels = np.arange(n) % 3
    paths = [f"{NAMES[c]}/{row:03d}.png" for row, c in enumerate(labels.tolist())]
    for row, path in enumerate(paths):
        place = folder / "photos" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place), picture(FACES, FACES, seed=row if row != 7 else 6))
    verdict = np.zeros(n, np.int8)
    verdict[:6] = VERDICTS.index("wrong label")
    verdict[6:8] = VERDICTS.index("duplicate under another label")
    verdict[8 : 8 + n_off] = VERDICTS.index("off topic")
    suggested = np.where(verdict == 1, (labels + 1) % 3, labels).astype(np.int32)
    same_as = [""] * n
    same_as[6], same_as[7] = paths[7], paths[6]
    evidence = Evidence(
        suggested=suggested,
        label_quality=np.linspace(0.01, 0.99, n).astype(np.float32),
        verdict=verdict,
        suggested_prob=np.full(n, 0.75, np.float32),
        group=np.where(verdict == VERDICTS.index("duplicate under another label"), 3, -1),
        in_classes=np.where(verdict == VERDICTS.index("off topic"), 0.25, 1.0).astype(np.float32),
        same_as=same_as,
    )
    write_csv(folder / "suspects.csv", Photos(paths, labels, NAMES, folder / "photos"), evidence, np.arange(n))
    return folder / "suspects.csv"


def review_of(file: Path, root: Path | None = None, **asked) -> Review:
    """A list under review, with decisions.csv beside it; ``root``: None for the folder photos beside it."""
    photos, evidence = opened(file, root=str(root or file.parent / "photos"), **asked)
    return Review(photos, evidence, Pictures(photos), DecisionsFile(file.with_name("decisions.csv")))


def app_of(review: Review):
    return make_app(review, "suspects.csv", TOKEN, ["127.0.0.1"])


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


def ask(app, path, body=None, method=None, *, token=TOKEN, **headers) -> Answer:
    """What an app answers; ``body``: is sent as JSON."""
    path, _, query = path.partition("?")
    given = {"host": "127.0.0.1:8765", "content_type": "application/json", **headers}
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items() if value]
    place = f"/{token}/{path}" if token is not None else path
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
        "method": method or ("GET" if body is None else "POST"), "path": place, "raw_path": place.encode(),
        "query_string": query.encode(), "headers": raw, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8765),
    }  # fmt: skip
    sent = []
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def receive():
        return {"type": "http.request", "body": b"" if body is None else data, "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    found = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:]))


class Served:
    """A list on a free port, served from a thread; ``address`` is its page."""

    def __init__(self, review: Review) -> None:
        self.review = review
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}/{TOKEN}/"
        config = uvicorn.Config(app_of(review), ws="none", log_level="error", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.review.close()
