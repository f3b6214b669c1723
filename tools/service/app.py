"""The routes of tools/serve.py. Every error is one JSON object with one sentence; what it hides is on stderr."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tools.service.content import reader_of
from tools.service.cors import Cors
from tools.service.gzip_body import is_packed, unpacked
from tools.service.limits import Limits
from tools.service.openapi import docs_page, read_openapi
from tools.service.pages import front_page
from tools.service.queue import Full, Pipeline
from tools.service.refused import Refused, error_response
from tools.service.upload import Upload
from urnet.core.cpus import usable_cores
from urnet.core.top_k import topk
from urnet.data.images.decode import UnreadableImage
from urnet.inference.signature import Signature

HELD = 16  # bodies of the largest size that are held at a time, in bytes; beyond that requests are refused
# Who sends a body hears a refusal only when the rest of it has been read: so much of it, so long.
DRAINED, DRAIN_SECONDS = 4, 2.0
# What is counted since the start; "refused": status 4xx; "late": 504; "failed": 500.
COUNTED = ("requests", "images", "unreadable", "refused", "late", "failed")


class Service:
    """What the routes share: the model's signature, the pipeline, the limits, and counts.

    ``alive()``: whether there is an engine to compute. ``crowded()``: whether more connections are open than
    the service keeps up with.
    """

    def __init__(
        self,
        signature: Signature,
        pipeline: Pipeline,
        limits: Limits,
        alive: Callable[[], bool],
        crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        self.signature, self.pipeline, self.limits, self.alive, self.crowded = (
            signature,
            pipeline,
            limits,
            alive,
            crowded,
        )
        self.counts = dict.fromkeys(COUNTED, 0)
        self.started = time.monotonic()
        self._held = 0  # bytes of bodies
        # (few: while a body is taken apart it may need several times its size)
        self._readers = ThreadPoolExecutor(usable_cores(), thread_name_prefix="read")

    async def predict(self, request: Request, k: int) -> dict[str, Any]:
        """The answer to a request. Raises Refused."""
        seconds, until = self.limits.seconds, time.monotonic() + self.limits.seconds
        read = reader_of(request.headers.get("content-type", ""))
        packed = is_packed(", ".join(request.headers.getlist("content-encoding")))
        chunks: list[bytes] = []
        late = Refused(408, f"the body did not arrive within {seconds:g} seconds")
        try:
            self.pipeline.check_space()
            await asyncio.wait_for(self._receive(request, packed, chunks), seconds)
            self._hold(chunks, [b"".join(chunks)])
            late = Refused(504, f"no result within {seconds:g} seconds")
            taking = asyncio.get_running_loop().run_in_executor(self._readers, read, chunks[0], self.limits.images)
            found = await asyncio.wait_for(taking, max(0.0, until - time.monotonic()))
            self._hold(chunks, [upload.data for upload in found])
            work = self.pipeline.predict([upload.data for upload in found])
            rows = await asyncio.wait_for(work, max(0.0, until - time.monotonic()))
        except asyncio.TimeoutError:
            raise late from None
        except ClientDisconnect:
            raise Refused(400, "body: the client disconnected") from None
        except Full as full:
            text = f"the queue of {self.pipeline.limit} images is full; try again"
            raise Refused(429, text, Retry_After=str(full.seconds)) from None
        finally:
            self._hold(chunks, [])
        self.counts["images"] += len(found)
        images = [self._entry(upload, row, k) for upload, row in zip(found, rows, strict=True)]
        return {"model": self.signature.model, "images": images}

    async def _receive(self, request: Request, packed: bool, chunks: list[bytes]) -> None:
        """Append the body to ``chunks``, unpacked, within the limits."""
        most, rest = self.limits.body, ", unpacked" if packed else ""
        length = request.headers.get("content-length", "0")
        announced = int(length) if length.isdecimal() and len(length) < 20 else 0
        too_large = Refused(413, f"body: at most {most} bytes are accepted{rest}")
        if announced > most:
            raise too_large
        read = 0
        async for chunk in unpacked(request.stream()) if packed else request.stream():
            read += len(chunk)
            if read > most:
                raise too_large
            if self._held + len(chunk) > HELD * most:
                raise Full(self.pipeline.wait_seconds())
            self._held += len(chunk)
            chunks.append(chunk)

    def _hold(self, chunks: list[bytes], instead: list[bytes]) -> None:
        """Hold other bytes instead of a request's ``chunks``."""
        self._held += sum(map(len, instead)) - sum(map(len, chunks))
        chunks[:] = instead

    def _entry(self, upload: Upload, row: Any, k: int) -> dict[str, Any]:
        """One image's part of the answer; its keys are those of infer.py's .jsonl, with the upload's name.

        ``row``: probabilities (C,), or a pair of them and in_classes, or why there are none.
        """
        entry: dict[str, Any] = {"file": upload.file, "classes": [], "scores": [], "names": [], "error": ""}
        if self.signature.in_classes:
            entry["in_classes"] = None
        if isinstance(row, UnreadableImage):
            self.counts["unreadable"] += 1
            return {**entry, "error": row.reason}
        if isinstance(row, BaseException):
            raise Refused(500, "the model failed; the service's log says why")
        probabilities, fits = row if isinstance(row, tuple) else (row, None)
        if fits is not None:
            entry["in_classes"] = float(f"{fits:.9g}")
        classes, scores = (values[0].tolist() for values in topk(probabilities[None], k))
        names = [self.signature.class_names[c] for c in classes] if self.signature.class_names else []
        return {**entry, "classes": classes, "scores": [float(f"{s:.9g}") for s in scores], "names": names}

    def health(self) -> dict[str, Any]:
        """What /health answers."""
        pipeline, signature = self.pipeline, self.signature
        return {
            "status": "ok" if self.alive() else "failed",
            "model": signature.model,
            "classes": signature.n_classes,
            "image_size": signature.size,
            "queue": pipeline.pending,
            "queue_limit": pipeline.limit,
            "batch_size": pipeline.batch_size,
            "batches": pipeline.batches,
            "computed": pipeline.computed,
            "image_seconds": round(pipeline.image_seconds, 6),
            "uptime_seconds": round(time.monotonic() - self.started, 3),
            **self.counts,
        }


def make_app(service: Service, origins: Sequence[str] = ()) -> ASGIApp:
    """The service's routes, which pages of these origins may ask from a browser ("*": any page)."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        batches = asyncio.create_task(service.pipeline.run())
        yield
        batches.cancel()

    openapi = read_openapi(service.signature.model, service.signature.n_classes, service.limits)
    front, docs = front_page(), docs_page(openapi)

    async def health(request: Request) -> Response:
        alive = service.alive()
        return JSONResponse(service.health(), 200 if alive else 503, {} if alive else {"Retry-After": "10"})

    async def predict(request: Request) -> Response:
        service.counts["requests"] += 1
        k = read_topk(request.query_params.multi_items(), service.signature.n_classes)
        return JSONResponse(await service.predict(request, k))

    async def index(request: Request) -> Response:
        return HTMLResponse(front.text, headers=front.headers)

    async def docs_index(request: Request) -> Response:
        return HTMLResponse(docs.text, headers=docs.headers)

    async def description(request: Request) -> Response:
        return JSONResponse(openapi)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        if error.status != 408:
            await drain(request, DRAINED * service.limits.body)
        service.counts[{500: "failed", 504: "late"}.get(error.status, "refused")] += 1
        return error_response(error.text, error.status, error.headers)

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        await drain(request, DRAINED * service.limits.body)
        text = f"{error.detail}: {request.method} {request.scope['path'][:80]}; accepted: {places}"
        return error_response(text, error.status_code, error.headers)

    async def failed(request: Request, error: Exception) -> Response:
        service.counts["failed"] += 1  # Starlette raises it again, and uvicorn logs it on stderr
        return error_response("the service failed; its log says why", 500)

    routes = [
        Route("/", index),
        Route("/health", health),
        Route("/predict", predict, methods=["POST"]),
        Route("/docs", docs_index),
        Route("/openapi.json", description),
    ]
    places = ", ".join(f"{'POST' if 'POST' in (route.methods or ()) else 'GET'} {route.path}" for route in routes)
    handlers = {Refused: refused, HTTPException: unknown, Exception: failed}
    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)
    app.router.redirect_slashes = False

    async def unless_crowded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and service.crowded():
            headers = {"Retry-After": "1", "Connection": "close"}
            await error_response("too many connections are open; try again", 503, headers)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return Cors(unless_crowded, origins) if origins else unless_crowded


async def drain(request: Request, most: int) -> None:
    """Read what is left of a body and forget it."""

    async def read() -> None:
        left = most
        async for chunk in request.stream():
            left -= len(chunk)
            if left < 0:
                return

    # (RuntimeError: it was read to its end already)
    with contextlib.suppress(RuntimeError, ClientDisconnect, asyncio.TimeoutError):
        await asyncio.wait_for(read(), DRAIN_SECONDS)


def read_topk(query: list[tuple[str, str]], n_classes: int) -> int:
    """``?topk=``, by default 5 or all classes where there are fewer. Raises Refused, also for other keys."""
    if not query:
        return min(5, n_classes)
    if len(query) > 1 or query[0][0] != "topk":
        found = "&".join(key for key, _ in query)
        raise Refused(400, f"query: found {found[:40]!r}; accepted: topk, once")
    ((_, word),) = query
    if not (word.isascii() and word.isdecimal() and len(word) < 10 and 1 <= int(word) <= n_classes):
        raise Refused(400, f"topk: found {word[:40]!r}; accepted: 1 to {n_classes}")
    return int(word)
