"""The service's pages: one style, everything in one file, and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from pathlib import Path
from typing import NamedTuple

from urnet.data.images.header import ACCEPTED

HERE = Path(__file__).parent


class Page(NamedTuple):
    """A page and the headers that go with it."""

    text: str
    headers: dict[str, str]


def front_page() -> Page:
    """The page to drop images on."""
    return make_page("page.html", kinds=escape(ACCEPTED))


def make_page(template: str, **parts: str) -> Page:
    """The page of a file here: each ``{{name}}`` in it is replaced by that part, ``{{style}}`` by the pages' style."""
    parts["style"] = (HERE / "pages.css").read_text(encoding="utf-8")
    text = (HERE / template).read_text(encoding="utf-8")
    text = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], text)
    return Page(text, {"Content-Security-Policy": _policy(text), "Referrer-Policy": "no-referrer"})


def _policy(page: str) -> str:
    """The page's content security policy: its own style and script, by their hashes, and this service."""
    parts = ["default-src 'none'", "img-src blob: data:", "connect-src 'self'", "base-uri 'none'", "form-action 'none'"]
    for tag in ("style", "script"):
        for inner in re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
            parts.append(f"{tag}-src 'sha256-{digest}'")
    return "; ".join([*parts, "frame-ancestors 'none'"])
