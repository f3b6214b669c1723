"""The images in a JSON body: {"image": "…"} or {"images": ["…", …]}, base64 or data: URLs."""

from __future__ import annotations

import json
from typing import Any

from tools.service.refused import Refused
from tools.service.upload import Upload, from_base64

KEYS = ("image", "images")
WORDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
TOPK = "; topk goes into the address: /predict?topk=3"


def json_images(body: bytes, most: int) -> list[Upload]:
    """The images of a JSON object; each key has one base64 text or a list of them.

    Raises Refused: 400 for what is no such object (a text that is not base64 is named by its place), 413 for
    more than ``most`` images. Base64 has no commas and brackets, so that a body with many of them is refused
    before it becomes millions of Python's objects.
    """
    accepted = f"at most {most} images are accepted in a request"
    if sum(map(body.count, (b",", b"[", b"{"))) > 4 * most + 16:
        raise Refused(413, f"JSON: has more lists and commas than images need; {accepted}")
    try:
        tree = json.loads(body, object_pairs_hook=_object)
    except RecursionError:
        raise Refused(400, "JSON: is nested too deeply") from None
    except ValueError as error:
        raise Refused(400, f"JSON: cannot be read ({' '.join(str(error).split())[:120]})") from None
    if not isinstance(tree, dict):
        raise Refused(400, f'JSON: found {_word(tree)}; accepted: {{"image": "base64"}} or {{"images": ["base64", …]}}')
    for key in tree:
        if key not in KEYS:
            hint = TOPK if key == "topk" else ""
            raise Refused(400, f"JSON: found a key {key[:80]!r}; accepted: `image` or `images`{hint}")
    texts = {}
    for key, value in tree.items():
        texts.update({f"{key}[{i}]": text for i, text in enumerate(value)} if isinstance(value, list) else {key: value})
    if not texts:
        raise Refused(400, "JSON: holds no image; accepted: `image` or `images`")
    if len(texts) > most:
        raise Refused(413, f"JSON: found {len(texts)}; {accepted}")
    return [Upload("", _decoded(text, where)) for where, text in texts.items()]


def _decoded(text: Any, where: str) -> bytes:
    if not isinstance(text, str):
        raise Refused(400, f"{where}: found {_word(text)}; a base64 text is accepted")
    return from_base64(text.strip().encode("utf-8", "replace"), where)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a key that stands twice would lose an image in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _word(value: Any) -> str:
    return WORDS.get(type(value), "a number")
