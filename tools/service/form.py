"""The images in a request's body: multipart/form-data, or one image as it is."""

from __future__ import annotations

from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

FIELD = "image"
ACCEPTED = f"multipart/form-data with a field `{FIELD}`, or image/*"


class Refused(Exception):
    """A request without an answer: HTTP status, one line of text, further headers."""

    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Upload(NamedTuple):
    """``file``: the name that came with the image; empty where none did."""

    file: str
    data: bytes


def boundary_of(content_type: str) -> bytes:
    """The boundary of a multipart body; empty for image/*. Raises Refused (415, 400) for all else."""
    kind, options = parse_options_header(content_type)
    if kind.startswith(b"image/") or kind == b"application/octet-stream":
        return b""
    if kind != b"multipart/form-data":
        raise Refused(415, f"content type: found {content_type[:80]!r}; accepted: {ACCEPTED}")
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise Refused(400, "content type: multipart/form-data without a boundary")
    return boundary


def uploads(body: bytes, boundary: bytes, most: int) -> list[Upload]:
    """The images of a body; one without a ``boundary`` is an image itself.

    Raises Refused: 400 for a damaged or empty form or a field of another name, 413 for more than ``most``.
    """
    if not boundary:
        return [Upload("", body)]
    found: list[Upload] = []
    ends: list[bool] = []

    def keep(part: Field | File) -> None:
        name = (part.field_name or b"").decode("utf-8", "replace")
        if name != FIELD:
            raise Refused(400, f"form: found a field {name[:80]!r}; accepted: `{FIELD}`")
        if len(found) == most:
            raise Refused(413, f"form: at most {most} images are accepted in a request")
        if isinstance(part, File):
            part.file_object.seek(0)
            found.append(Upload((part.file_name or b"").decode("utf-8", "replace"), part.file_object.read()))
        else:
            found.append(Upload("", part.value or b""))

    try:
        parser = FormParser(
            "multipart/form-data",
            keep,
            keep,
            on_end=lambda: ends.append(True),
            boundary=boundary,
            config={"MAX_MEMORY_FILE_SIZE": float("inf")},  # nothing is written to the disk
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, f"form: damaged ({' '.join(str(error).split())[:120]})") from None
    if not ends:
        raise Refused(400, "form: is cut off; its last boundary is missing")
    if not found:
        raise Refused(400, f"form: holds no image; accepted: one or more fields `{FIELD}`")
    return found
