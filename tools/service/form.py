"""The images in a multipart/form-data body."""

from __future__ import annotations

import quopri
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from tools.service.json_body import TOPK
from tools.service.refused import Refused
from tools.service.upload import Upload, from_base64

FIELDS = "`image`, `images`, `file` or `files`, each also with []"
FIELD = re.compile(r"(image|file)s?(\[[0-9]*\])?")
EXTENDED = re.compile(rb";\s*filename\*\s*=\s*\"?([\w-]+)'[\w-]*'([^;\"\s]*)", re.ASCII | re.IGNORECASE)
ENCODINGS = (b"", b"7bit", b"8bit", b"binary", b"base64", b"quoted-printable")


def form_images(boundary: bytes, body: bytes, most: int) -> list[Upload]:
    """The images of a form.

    Raises Refused: 400 for a damaged or empty form or a field of another name, 413 for more than ``most``.
    """
    form = _Form(most)
    callbacks: Any = {name: getattr(form, name) for name in dir(form) if name.startswith("on_")}
    try:
        parser = MultipartParser(boundary, callbacks)
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, f"form: damaged ({' '.join(str(error).split())[:120]})") from None
    if not form.ended:
        raise Refused(400, "form: is cut off; the last boundary is missing")
    if not form.found:
        raise Refused(400, f"form: holds no image; accepted: one or more fields {FIELDS}")
    return form.found


class _Form:
    """What the parser calls, part by part."""

    def __init__(self, most: int) -> None:
        self.most, self.found, self.ended = most, list[Upload](), False
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self._name = self._value = b""
        self._file = ""

    def on_part_begin(self) -> None:
        self._headers, self._pieces = {}, []

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def on_headers_finished(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if not FIELD.fullmatch(field):
            hint = TOPK if field == "topk" else ""
            raise Refused(400, f"form: found a field {field[:80]!r}; accepted: {FIELDS}{hint}")
        if len(self.found) == self.most:
            raise Refused(413, f"form: at most {self.most} images are accepted in a request")
        self._file = file_name(disposition) or options.get(b"filename", b"").decode("utf-8", "replace")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def on_part_end(self) -> None:
        data, where = b"".join(self._pieces), f"form: image {len(self.found)}"
        encoding = self._headers.get(b"content-transfer-encoding", b"").strip().lower()
        if encoding not in ENCODINGS:
            raise Refused(400, f"{where}: content transfer encoding: found {encoding[:40]!r}; accepted: binary, base64")
        if encoding == b"quoted-printable":
            data = quopri.decodestring(data)
        if encoding == b"base64" or data[:5].lower() == b"data:":  # the latter is what a canvas gives
            data = from_base64(data, where)
        self.found.append(Upload(self._file, data))

    def on_end(self) -> None:
        self.ended = True


def file_name(disposition: bytes) -> str:
    """The name in ``filename*=utf-8''…`` (RFC 5987), which some clients send for names beyond ASCII; else empty."""
    found = EXTENDED.search(disposition)
    if not found:
        return ""
    try:
        return unquote_to_bytes(found[2]).decode(found[1].decode(), "replace")
    except LookupError:
        return ""
