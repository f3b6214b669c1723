"""Who may ask: a request that has the address's token, under a name of this machine, from no other page.

The token is a part of the path, so that no cookie is needed, which every port of a machine would get. A page elsewhere
that makes the browser ask here (a form, a name that is resolved to this machine) lacks it, and its Host or Origin is
another; what is answered may be neither kept nor framed, and no address leaves in a Referer.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import secrets
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
NO_TOKEN = "open the complete address that tools/review.py printed; it is a new one at each start"


def new_token() -> str:
    """128 random bits as text."""
    return secrets.token_urlsafe(16)


def refusal(text: str, status: int) -> Response:
    """An answer that says in one sentence what is wrong."""
    return Response(json.dumps({"error": text}, ensure_ascii=False) + "\n", status, media_type="application/json")


class Guard:
    """``app`` behind the token; ``names``: hosts besides addresses and localhost under which it is asked."""

    def __init__(self, app: ASGIApp, token: str, names: Iterable[str] = ()) -> None:
        self._app, self._token = app, token.encode()
        self._names = {"localhost", *(name.casefold() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        answer, rest = self._refused(scope)
        if answer is not None:
            await answer(scope, receive, with_headers)
        else:
            await self._app({**scope, "path": rest, "raw_path": rest.encode()}, receive, with_headers)

    def _refused(self, scope: Scope) -> tuple[Response | None, str]:
        """Why the request gets no answer, None: it gets one; and its path without the token."""
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return refusal(f"Host {hosts[:1]}: an address of this machine is accepted, or localhost", 403), ""
        if any(origin.casefold() != f"http://{hosts[0]}".casefold() for origin in origins):
            return refusal(f"Origin {origins[0][:80]!r}: only this page may send requests", 403), ""
        if scope["method"] == "POST" and headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return refusal("another page may not send requests", 403), ""
        token, slash, rest = scope["path"].removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(errors="replace"), self._token) or not slash:
            return refusal(NO_TOKEN, 403), ""
        return None, f"/{rest}"

    def _is_ours(self, host: str) -> bool:
        """Whether it is an address, which no one can make a name of theirs point to, or a name that is expected."""
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if name.casefold() in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
