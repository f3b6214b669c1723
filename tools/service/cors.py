"""Which pages of other origins may read the service's responses in a browser (tools/serve.py --cors)."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from tools.service.refused import error_response


class Cors(CORSMiddleware):
    """Starlette's, without credentials (there are none), whose refusal is JSON as all others are."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=("Content-Encoding", "X-Requested-With"),
            expose_headers=("Retry-After",),
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        kept = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
        text = f"{bytes(answer.body).decode()}; accepted: the origins given to --cors, GET, HEAD and POST"
        return error_response(text, answer.status_code, kept)
