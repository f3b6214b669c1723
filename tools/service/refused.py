"""A refused request and its response: one JSON object, `{"error": "one sentence"}`."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response


class Refused(Exception):
    """A request without an answer: HTTP status, one sentence, further headers."""

    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def error_body(text: str) -> bytes:
    """The JSON that says it; it ends with a line's end, for who reads it in a terminal."""
    return json.dumps({"error": text}, ensure_ascii=False).encode(errors="replace") + b"\n"


def error_response(text: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that says what is wrong, which no browser shall take for anything but JSON."""
    headers = {**(headers or {}), "X-Content-Type-Options": "nosniff"}
    return Response(error_body(text), status, headers, media_type="application/json")
