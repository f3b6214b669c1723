"""What others send to a service: requests that are damaged, huge when unpacked, of wrong types, or no HTTP at all."""

from __future__ import annotations

import base64
import gzip
import json
import random
from collections.abc import Sequence

import cv2
import numpy as np

from tools.service.client import FORM, Ask, form


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, and sometimes the end cut off."""
    found = bytearray(data)
    for _ in range(rng.randrange(1, 9)):
        found[rng.randrange(len(found))] = rng.randrange(256)
    return bytes(found[: rng.randrange(len(found))] if rng.random() < 0.3 else found)


def hostile(n: int, seeds: Sequence[bytes], bomb_side: int) -> list[Ask]:
    """``n`` requests, the same every time: damaged images and forms, bombs, wrong types, and no HTTP at all.

    ``seeds`` are image files; ``bomb_side`` the side of a square PNG that is larger than what is accepted.
    """
    rng, good = random.Random(0), form([("a", s) for s in seeds[:3]]).body
    texts = json.dumps({"images": [base64.b64encode(s).decode() for s in seeds[:3]]}).encode()
    packed, zeros = gzip.compress(good), gzip.compress(bytes(50_000_000))
    bomb = cv2.imencode(".png", np.zeros((bomb_side, bomb_side, 3), np.uint8))[1].tobytes()
    makers = (
        lambda: Ask(damaged(rng.choice(seeds), rng), "image/jpeg"),
        lambda: form([("a.jpg", damaged(rng.choice(seeds), rng)) for _ in range(rng.randrange(1, 5))]),
        lambda: Ask(damaged(good, rng)),
        lambda: Ask(good[: rng.randrange(len(good))]),
        lambda: Ask(good, rng.choice(("text/plain", "image/", "multipart/form-data", "\x7f;;", FORM + "0"))),
        lambda: rng.choice((Ask(b""), Ask(b"", "image/png"), form([]), form([("", b"")]), form([("x", b"")], "y"))),
        lambda: Ask(bomb, "image/png"),
        lambda: form([("bomb.png", bomb)] * 8),
        lambda: Ask(damaged(texts, rng), "application/json"),
        lambda: Ask(rng.choice((b"[", b'{"image":', b'{"a":1,')) * 200_000, "application/json"),
        lambda: Ask(damaged(packed, rng), encoding="gzip"),
        lambda: Ask(zeros, rng.choice((FORM, "image/png", "application/json")), "gzip"),
        lambda: Ask(rng.randbytes(rng.randrange(500)), rng.choice(("image/gif", ""))),
        lambda: Ask(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\nabc", ""),
    )
    return [makers[i % len(makers)]() for i in range(n)]
