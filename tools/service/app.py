"""The routes of tools/serve.py. Every error is one line of plain text; what it hides is on stderr."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from tools.service.form import Refused, Upload, boundary_of, uploads
from tools.service.queue import Full, Pipeline
from urnet.core.top_k import topk
from urnet.data.images.decode import UnreadableImage
from urnet.inference.signature import Signature

PAGE = Path(__file__).with_name("page.html")
HELD = 16  # bodies of the largest size that are held at a time, in bytes; beyond that requests are refused
# Who sends a body hears a refusal only when the rest of it has been read: so much of it, so long.
DRAINED, DRAIN_SECONDS = 4, 2.0
# What is counted since the start; "refused": status 4xx; "late": 504; "failed": 500.
COUNTED = ("requests", "images", "unreadable", "refused", "late", "failed")


@dataclass(frozen=True)
class Limits:
    """Of a request: bytes of its body, images, seconds."""

    body: int
    images: int
    seconds: float


class Service:
    """What the routes share: the model's signature, the pipeline, the limits, and counts.

    ``alive()``: whether there is an engine to compute.
    """

    def __init__(self, signature: Signature, pipeline: Pipeline, limits: Limits, alive: Callable[[], bool]) -> None:
        self.signature, self.pipeline, self.limits, self.alive = signature, pipeline, limits, alive
        self.counts = dict.fromkeys(COUNTED, 0)
        self.started = time.monotonic()
        self._held = 0  # bytes of bodies

    async def predict(self, request: Request, k: int) -> dict[str, Any]:
        """The answer to a request. Raises Refused."""
        seconds, until = self.limits.seconds, time.monotonic() + self.limits.seconds
        boundary = boundary_of(request.headers.get("content-type", ""))
        chunks: list[bytes] = []
        late = Refused(408, f"the body did not arrive within {seconds:g} seconds")
        try:
            self.pipeline.check_space()
            await asyncio.wait_for(self._receive(request, chunks), seconds)
            found = await asyncio.to_thread(uploads, b"".join(chunks), boundary, self.limits.images)
            late = Refused(504, f"no answer within {seconds:g} seconds")
            work = self.pipeline.predict([upload.data for upload in found])
            rows = await asyncio.wait_for(work, max(0.0, until - time.monotonic()))
        except asyncio.TimeoutError:
            raise late from None
        except ClientDisconnect:
            raise Refused(400, "body: the client left") from None
        except Full as full:
            text = f"the queue of {self.pipeline.limit} images is full; try again"
            raise Refused(429, text, Retry_After=str(full.seconds)) from None
        finally:
            self._held -= sum(map(len, chunks))
        self.counts["images"] += len(found)
        images = [self._entry(upload, row, k) for upload, row in zip(found, rows, strict=True)]
        return {"model": self.signature.model, "images": images}

    async def _receive(self, request: Request, chunks: list[bytes]) -> None:
        """Append the body to ``chunks``, within the limits."""
        most = self.limits.body
        length = request.headers.get("content-length", "0")
        announced = int(length) if length.isdecimal() and len(length) < 20 else 0
        read = 0
        async for chunk in request.stream():
            read += len(chunk)
            if max(read, announced) > most:
                raise Refused(413, f"body: at most {most} bytes are accepted")
            if self._held + len(chunk) > HELD * most:
                raise Full(self.pipeline.wait_seconds())
            self._held += len(chunk)
            chunks.append(chunk)

    def _entry(self, upload: Upload, row: np.ndarray | BaseException, k: int) -> dict[str, Any]:
        """One image's part of the answer; its keys are those of infer.py's .jsonl, with the upload's name."""
        entry: dict[str, Any] = {"file": upload.file, "classes": [], "scores": [], "names": [], "error": ""}
        if isinstance(row, UnreadableImage):
            self.counts["unreadable"] += 1
            return {**entry, "error": row.reason}
        if isinstance(row, BaseException):
            raise Refused(500, "the model failed; the service's log says why")
        classes, scores = (values[0].tolist() for values in topk(row[None], k))
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


def make_app(service: Service) -> FastAPI:
    """The service's routes; nothing else answers, FastAPI's own pages (they load scripts from afar) least."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        batches = asyncio.create_task(service.pipeline.run())
        yield
        batches.cancel()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan)
    page = PAGE.read_text(encoding="utf-8")
    policy = {"Content-Security-Policy": page_policy(page), "Referrer-Policy": "no-referrer"}

    @app.get("/")
    async def index() -> Response:
        return HTMLResponse(page, headers=policy)

    @app.get("/health")
    async def health() -> Response:
        return JSONResponse(service.health(), status_code=200 if service.alive() else 503)

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        service.counts["requests"] += 1
        k = read_topk(request.query_params.multi_items(), service.signature.n_classes)
        return JSONResponse(await service.predict(request, k))

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        if error.status != 408:
            await drain(request, DRAINED * service.limits.body)
        service.counts[{500: "failed", 504: "late"}.get(error.status, "refused")] += 1
        return text(error.text, error.status, error.headers)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        await drain(request, DRAINED * service.limits.body)
        return text(f"{error.detail}; accepted: GET /, GET /health, POST /predict", error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        service.counts["failed"] += 1  # Starlette raises it again, and uvicorn logs it on stderr
        return text("the service failed; its log says why", 500)

    return app


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


def text(line: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """One line of plain text, which no browser shall take for anything else."""
    return PlainTextResponse(line + "\n", status, {**(headers or {}), "X-Content-Type-Options": "nosniff"})


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


def page_policy(page: str) -> str:
    """The page's content security policy: its own style and script, by their hashes, and this service."""
    parts = ["default-src 'none'", "img-src blob: data:", "connect-src 'self'", "base-uri 'none'", "form-action 'none'"]
    for tag in ("style", "script"):
        (inner,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        parts.append(f"{tag}-src 'sha256-{digest}'")
    return "; ".join([*parts, "frame-ancestors 'none'"])
