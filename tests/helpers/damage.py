"""Damage to real files: bytes flipped, overwritten with numbers often mistaken, cut, deleted, repeated, spliced."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence

from hypothesis import strategies as st

KINDS = ("flip", "set", "insert", "cut", "delete", "repeat", "splice")
NUMBERS = [
    struct.pack(order + code, value & (1 << bits) - 1)
    for order, (code, bits) in itertools.product("<>", (("B", 8), ("H", 16), ("I", 32), ("Q", 64)))
    for value in (0, 1, 2, 255, 60_000, (1 << bits - 1) - 1, 1 << bits - 1, -1, -16)
]
TEXT = rb'.. / # : [ ] { } " *a &a - null 1e999 .nan !!int \ud800 F8_E4M3 BF16 IEND R b'
BYTES = (b" 7", b"\n", b"\r", b"\0", b"h\x00", b"\x85", b"cos\nsystem\n", b"\xff\xda", b"\xff\xd9")
WORDS = [*TEXT.split(), *BYTES]
WORDS += [text.encode(errors="surrogatepass") for text in ("²", "\u2028", "\ud800")]
VALUES = NUMBERS + WORDS


def edit(data: bytes, kind: str, at: int, length: int, value: bytes, other: bytes) -> bytes:
    """``data`` with one edit at byte ``at`` (taken modulo its length); ``other`` may be spliced in."""
    at %= len(data) + 1
    end = min(at + length, len(data))
    if kind == "flip":
        return data[:at] + bytes(byte ^ (value[0] or 1) for byte in data[at : at + 1]) + data[at + 1 :]
    if kind == "set":
        return data[:at] + value + data[at + len(value) :]
    if kind == "insert":
        return data[:at] + value + data[at:]
    if kind == "cut":
        return data[:at]
    if kind == "delete":
        return data[:at] + data[end:]
    if kind == "repeat":
        return data[:end] + data[at:end] * 3 + data[end:]
    return data[:at] + other[at % (len(other) + 1) :]


@st.composite
def damaged(draw: st.DrawFn, files: Sequence[bytes]) -> bytes:
    """One of the files after one to five edits."""
    data = draw(st.sampled_from(files))
    values = st.one_of(st.sampled_from(VALUES), st.binary(min_size=1, max_size=9))
    edits = st.tuples(st.sampled_from(KINDS), st.integers(0, 1 << 20), st.integers(1, 64), values)
    for kind, at, length, value in draw(st.lists(edits, min_size=1, max_size=5)):
        data = edit(data, kind, at, length, value, draw(st.sampled_from(files)))
    return data
