"""Netpbm's pictures: PBM, PGM and PPM as text or bytes (P1 to P6) and PAM (P7), after the formats' manual pages.

Read here, not by OpenCV, which takes values as they are whatever the largest one is.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PNM = re.compile(rb"P([1-6])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})")
_MAXVAL = re.compile(_GAP + rb"(\d{1,9})")
_PAM_LINE = re.compile(rb"[ \t\r]*(?:#[^\n]*|([A-Z]+)[ \t]*([^\n]*?)[ \t\r]*)\n")
_MOST_HEADER = 1 << 16  # bytes, most of them comments
_NO_DIGIT = re.compile(rb"[^\d\s]")


class Netpbm(NamedTuple):
    """Size, values per pixel, their largest value (0: single bits), where they begin, whether they are text."""

    width: int
    height: int
    channels: int
    largest: int
    start: int
    text: bool = False

    @property
    def value_bytes(self) -> int:
        """Bytes of a value that is not text."""
        return 1 if self.largest < 256 else 2

    def ends(self, data: bytes) -> bool:
        """Whether all values can be there (text is counted by ``decode``)."""
        n = self.width * self.height * self.channels
        if self.text:
            return len(data) - self.start >= (n if self.largest == 0 else 2 * n - 1)
        row = (self.width + 7) // 8 if self.largest == 0 else self.width * self.channels * self.value_bytes
        return len(data) - self.start >= row * self.height


def is_netpbm(data: bytes) -> bool:
    """Whether a file begins as one of the kinds does."""
    return data[:1] == b"P" and data[1:2].isdigit() and bool(_PNM.match(data, 0, 4096) or data.startswith(b"P7\n"))


def read_netpbm(data: bytes) -> Netpbm:
    """Raises ValueError where the header is broken, IndexError where it is cut off."""
    head = _pam(data) if data.startswith(b"P7") else _pnm(data)
    if not (head.channels in (1, 2, 3, 4) and 0 <= head.largest < 65536):
        raise ValueError("the PNM header is broken")
    return head


def _pnm(data: bytes) -> Netpbm:
    found = _PNM.match(data, 0, _MOST_HEADER)
    if found is None:
        raise IndexError
    kind, width, height = (int(word) for word in found.groups())
    channels, at, largest = 3 if kind in (3, 6) else 1, found.end(), 0
    if kind not in (1, 4):
        found = _MAXVAL.match(data, at, _MOST_HEADER)
        if found is None:
            raise IndexError
        at, largest = found.end(), int(found[1])
        if not largest:
            raise ValueError("the PNM header is broken")
    return Netpbm(width, height, channels, largest, at + 1, text=kind < 4)


def _pam(data: bytes) -> Netpbm:
    words: dict[bytes, bytes] = {}
    at = 3
    while True:
        line = _PAM_LINE.match(data, at, _MOST_HEADER)
        if line is None:
            raise IndexError
        at = line.end()
        if line[1] == b"ENDHDR":
            break
        if line[1]:
            words[line[1]] = line[2]
    numbers = [words.get(name, b"") for name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL")]
    if not all(number.isdigit() and len(number) < 10 for number in numbers) or int(numbers[3]) < 1:
        raise ValueError("the PNM header is broken")
    width, height, channels, largest = map(int, numbers)
    return Netpbm(width, height, channels, largest, at)


def decode(data: bytes) -> np.ndarray:
    """The picture, RGB, uint8 (height, width, 3); alpha is dropped. Raises ValueError where values are missing."""
    head = read_netpbm(data)
    shape = head.height, head.width, head.channels
    values = (_words(data, head) if head.text else _bytes(data, head)).reshape(shape)
    if head.text:
        values = np.minimum(values, max(1, head.largest))
    if head.largest == 0:
        values = np.where(values, np.uint8(0), np.uint8(255))  # 1 is black
    elif head.largest == 65535:
        values = values >> 8
    elif head.largest != 255:
        clipped = np.minimum(values, head.largest).astype(np.uint32)
        values = (clipped * 255 + head.largest // 2) // head.largest
    colours = values[..., :3] if head.channels > 2 else np.repeat(values[..., :1], 3, axis=2)
    return np.ascontiguousarray(colours, np.uint8)


def _bytes(data: bytes, head: Netpbm) -> np.ndarray:
    if head.largest == 0:
        rows = np.frombuffer(data, np.uint8, (head.width + 7) // 8 * head.height, head.start)
        return np.unpackbits(rows.reshape(head.height, -1), axis=1, count=head.width)
    kind = np.uint8 if head.value_bytes == 1 else np.dtype(">u2")
    return np.frombuffer(data, kind, head.width * head.height * head.channels, head.start)


def _words(data: bytes, head: Netpbm) -> np.ndarray:
    """The values written as decimal numbers; of single bits blanks between them may be missing."""
    n = head.width * head.height * head.channels
    text = re.sub(rb"#[^\r\n]*", b"", data[head.start - 1 :])
    end = _NO_DIGIT.search(text)
    text = text[: end.start()] if end else text
    if head.largest == 0:
        values = np.frombuffer(text.translate(None, b" \t\r\n\v\f"), np.uint8) - ord("0")
    else:
        values = np.fromstring(text, np.uint32, sep=" ")
    if len(values) < n:
        raise ValueError("the PNM file is cut off")
    return values[:n]
