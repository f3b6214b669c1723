"""One image of a request, as it came or as base64 text."""

from __future__ import annotations

import base64
import string
from typing import NamedTuple

from tools.service.refused import Refused

BLANKS = b" \t\r\n\f\v"
LETTERS = (string.ascii_letters + string.digits + "+/").encode()
ALPHABETS = bytes.maketrans(b"-_", b"+/")  # the one for addresses, too


class Upload(NamedTuple):
    """``file``: the name that came with the image; empty where none did."""

    file: str
    data: bytes


def from_base64(text: bytes, where: str) -> bytes:
    """The bytes of a base64 text or a ``data:`` URL, with or without line ends and padding. Raises Refused (400)."""
    if text[:5].lower() == b"data:":
        head, comma, text = text.partition(b",")
        if not comma or not head.lower().endswith(b";base64"):
            raise Refused(400, f"{where}: a data: URL without `;base64,`; base64 is accepted")
    packed = text.translate(ALPHABETS, BLANKS).rstrip(b"=")
    other = packed.translate(None, LETTERS)
    if other:
        raise Refused(400, f"{where}: is not base64 text; found {other[:4].decode('utf-8', 'replace')[0]!r} in it")
    if len(packed) % 4 == 1:
        raise Refused(
            400, f"{where}: is not base64 text; {len(packed)} characters are not possible, so its end is missing"
        )
    return base64.b64decode(packed + b"=" * (-len(packed) % 4))
