"""HTTP as uvicorn reads it; what is not HTTP is refused in JSON as well."""

from __future__ import annotations

import contextlib

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from tools.service.refused import error_body


class JsonProtocol(H11Protocol):
    """uvicorn's, but for the body of its only answer of its own."""

    def send_400_response(self, msg: str) -> None:
        """Answer that the request cannot be read, and close the connection."""
        body = error_body("the request is not readable HTTP/1.1")
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
        with contextlib.suppress(h11.LocalProtocolError):  # an answer has begun already
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
