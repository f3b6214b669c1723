"""How a request's body is packed: by its content type. The kind of a picture is read from its own bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from python_multipart.multipart import parse_options_header

from tools.service.form import form_images
from tools.service.json_body import json_images
from tools.service.refused import Refused
from tools.service.upload import Upload

ACCEPTED = "multipart/form-data, application/json, image/* or application/octet-stream"
UNTOLD = (b"", b"application/x-www-form-urlencoded")  # what clients send that were not told: requests, curl

Reader = Callable[[bytes, int], list[Upload]]  # of a body, and how many images are accepted


def reader_of(content_type: str) -> Reader:
    """What takes the images out of a body of this type; both raise Refused, this one 415 for other types."""
    kind, options = parse_options_header(content_type)
    kind = kind.strip().lower()
    if kind.startswith(b"image/") or kind == b"application/octet-stream":
        return one_image
    if kind == b"application/json":
        return json_images
    if kind == b"multipart/form-data":
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise Refused(
                400,
                "content type: multipart/form-data without a boundary; the program that builds the form must write it",
            )
        return partial(form_images, boundary)
    if kind in UNTOLD:
        return partial(untold_images, content_type)
    raise unknown(content_type)


def one_image(body: bytes, most: int) -> list[Upload]:
    """A body that is an image."""
    return [Upload("", body)]


def untold_images(content_type: str, body: bytes, most: int) -> list[Upload]:
    """A body of no type, or of the one that curl gives to all: JSON and what is not text are taken as what they are."""
    if re.match(rb"\s*\{", body):
        return json_images(body, most)
    if re.search(rb"[^\t-\r -~]", body[:1024]):
        return one_image(body, most)
    raise unknown(content_type)


def unknown(content_type: str) -> Refused:
    """The refusal of a type."""
    found = f"found {content_type[:80]!r}" if content_type else "none was sent"
    return Refused(415, f"content type: {found}; accepted: {ACCEPTED}")
