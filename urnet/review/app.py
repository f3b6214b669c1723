"""What the page asks for. Pictures are asked for by row, never by path; every refusal is one sentence in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import resources
from typing import Any, TypeGuard

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from urnet.core.checks import InputError
from urnet.data.images.decode import UnreadableImage
from urnet.review.guard import Guard, refusal
from urnet.review.items import Items
from urnet.review.pictures import SIDES
from urnet.review.state import Conflict, Now, Review

FILES = {
    "": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
    "server.js": ("server.js", "text/javascript"),
    "pictures.js": ("pictures.js", "text/javascript"),
    "single.js": ("single.js", "text/javascript"),
    "batch.js": ("batch.js", "text/javascript"),
    "find.js": ("find.js", "text/javascript"),
}
BODY = 1 << 20  # bytes of a request at most
MOST = 500  # rows of a request at most


def make_app(review: Review, title: str, token: str, names: Iterable[str] = ()) -> ASGIApp:
    """The page and its answers below ``/token/``. ``title``: the list's name; ``names``: hosts, see ``Guard``."""
    items = Items(review)

    async def file(request: Request) -> Response:
        name, kind = FILES[request.scope["path"].removeprefix("/")]
        return Response(resources.files(__package__).joinpath("page", name).read_bytes(), media_type=kind)

    def state(request: Request) -> Response:
        show = request.query_params.get("show") or items.first_choice()
        return JSONResponse({"title": title, "show": show, **items.about(), **review.progress(show)})

    def some(request: Request) -> Response:
        query = request.query_params
        n = min(_number(query.get("n", "12"), "n"), MOST)
        without = {_number(word, "without") for word in query.get("without", "").split(",") if word}
        rows = [row for row in review.waiting(query.get("show", "all")).tolist() if row not in without]
        return JSONResponse({"items": [items.item(row) for row in rows[:n]], "left": len(rows)})

    def one(request: Request) -> Response:
        return JSONResponse(items.item(_row(request)))

    def batches(request: Request) -> Response:
        return JSONResponse({"batches": review.batches()})

    def picture(request: Request) -> Response:
        return _jpeg(review.pictures.jpeg(_row(request), _size(request)))

    def twin(request: Request) -> Response:
        return _jpeg(review.pictures.of_validation(items.of_validation(_row(request)), _size(request)))

    def _row(request: Request) -> int:
        row = _number(request.path_params["row"], "row")
        if row >= len(review.labels):
            raise InputError(f"row: found {row}; accepted: 0 to {len(review.labels) - 1}")
        return row

    async def decide(request: Request) -> Response:
        asked = await _asked(request)
        review.waiting(asked.setdefault("show", "all"))  # an unknown choice is refused before anything is written
        rows, shows, was = asked.get("rows", []), asked.get("shows"), asked.get("was")
        if not (_whole(rows) and type(shows) is int and _said(was)):
            raise InputError(
                'body: {"rows": [0], "shows": 0, "was": [["", -1]], "show": "all", "revision": 0} is accepted'
            )
        expected = [Now(*entry) for entry in was]
        notes = await run_in_threadpool(review.decide, rows, shows, expected)
        return await run_in_threadpool(answer, asked, {"notes": notes})

    async def undo(request: Request) -> Response:
        asked = await _asked(request)
        review.waiting(asked.setdefault("show", "all"))
        paths, rows = await run_in_threadpool(review.undo, asked.get("revision", -1))
        taken = [items.item(row) for row in rows[:1]]
        return await run_in_threadpool(answer, asked, {"taken": len(paths), "items": taken})

    def answer(asked: dict[str, Any], more: dict[str, Any]) -> Response:
        show, since = asked["show"], asked.get("revision", 0)
        changed = {row: [(now := review.now(row)).decision, now.label] for row in review.changes[max(since, 0) :]}
        return JSONResponse({**more, "changed": changed, **review.progress(show)})

    async def bad(request: Request, error: Exception) -> Response:
        return refusal(str(error), 400)

    async def conflict(request: Request, error: Exception) -> Response:
        return refusal(str(error), 409)

    async def unreadable(request: Request, error: Exception) -> Response:
        assert isinstance(error, UnreadableImage)
        return refusal(error.reason, 422)

    async def unwritten(request: Request, error: Exception) -> Response:
        return refusal(" ".join(str(error).split()), 507)

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return refusal(error.detail, error.status_code)

    routes = [
        Route("/state", state),
        Route("/items", some),
        Route("/item/{row}", one),
        Route("/batches", batches),
        Route("/picture/{row}/{size}", picture),
        Route("/validation/{row}/{size}", twin),
        Route("/decide", decide, methods=["POST"]),
        Route("/undo", undo, methods=["POST"]),
        *(Route(f"/{name}", file) for name in FILES),
    ]
    handlers = {
        InputError: bad,
        Conflict: conflict,
        UnreadableImage: unreadable,
        OSError: unwritten,
        HTTPException: unknown,
    }
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Guard(app, token, names)


def _jpeg(data: bytes) -> Response:
    return Response(data, media_type="image/jpeg")


def _size(request: Request) -> str:
    size = request.path_params["size"]
    if size not in SIDES:
        raise InputError(f"size: found {size[:40]!r}; accepted: {', '.join(SIDES)}")
    return size


def _number(word: str, name: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) < 12):
        raise InputError(f"{name}: found {word[:40]!r}; accepted: a whole number")
    return int(word)


def _whole(rows: Any) -> bool:
    """Whether it is a list of rows."""
    return isinstance(rows, list) and len(rows) <= MOST and all(type(row) is int for row in rows)


def _said(was: Any) -> TypeGuard[list[tuple[str, int]]]:
    """Whether it is a list of pairs as ``Now``."""
    return isinstance(was, list) and all(
        isinstance(entry, list) and len(entry) == 2 and type(entry[0]) is str and type(entry[1]) is int for entry in was
    )


async def _asked(request: Request) -> dict[str, Any]:
    """The JSON object that is a request's body. Raises InputError."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise InputError("content-type: application/json is accepted")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY:
            raise InputError(f"body: at most {BODY} bytes are accepted")
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    if (
        not isinstance(asked, dict)
        or type(asked.get("revision", 0)) is not int
        or type(asked.get("show", "")) is not str
    ):
        raise InputError("body: a JSON object is accepted, its revision a whole number, show a text")
    return asked
