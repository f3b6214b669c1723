"""The largest frame that an AV1 bitstream announces: what its decoder reserves, whatever the file around it says."""

from __future__ import annotations

_SEQUENCE_HEADER = 1
_MOST_UNITS = 10_000  # a picture has three or four


def largest_frame(data: bytes) -> tuple[int, int]:
    """Width and height of the largest frame of any sequence header (AV1 specification, 5.3 and 5.5); else 0, 0.

    Raises IndexError where a unit is cut off, ValueError where there are too many.
    """
    at, found = 0, (0, 0)
    for _ in range(_MOST_UNITS):
        if at >= len(data):
            return found
        head = data[at]
        at += 2 if head & 4 else 1
        size = len(data) - at
        if head & 2:
            size, at = _leb128(data, at)
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            found = max(found, _frame(_Bits(data[at : at + size])), key=lambda frame: frame[0] * frame[1])
        at += size
    raise ValueError("the AV1 data has too many parts")


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """A number of up to 8 bytes, and the place behind it."""
    value = 0
    for i in range(8):
        value |= (data[at + i] & 127) << 7 * i
        if not data[at + i] & 128:
            return value, at + i + 1
    raise IndexError


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data[:512], "big"), 8 * len(data[:512])

    def read(self, n: int) -> int:
        self._left -= n
        if self._left < 0:
            raise IndexError
        return self._value >> self._left & (1 << n) - 1

    def skip_uvlc(self) -> None:
        zeros = 0
        while not self.read(1):
            zeros += 1
        self.read(zeros if zeros < 32 else 0)


def _frame(bits: _Bits) -> tuple[int, int]:
    bits.read(4)  # profile, still picture
    if bits.read(1):  # the short header of a still picture
        bits.read(5)
    else:
        _skip_timing(bits)
    of_width, of_height = bits.read(4) + 1, bits.read(4) + 1
    return bits.read(of_width) + 1, bits.read(of_height) + 1


def _skip_timing(bits: _Bits) -> None:
    """The timing, decoder model and operating points, which stand before the frame's size."""
    model, delay = 0, 0
    if bits.read(1):
        bits.read(64)
        if bits.read(1):
            bits.skip_uvlc()
        model = bits.read(1)
        if model:
            delay = bits.read(5) + 1
            bits.read(32 + 5 + 5)
    display = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if model and bits.read(1):
            bits.read(2 * delay + 1)
        if display and bits.read(1):
            bits.read(4)
