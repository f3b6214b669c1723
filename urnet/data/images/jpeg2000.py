"""What a JPEG 2000 file's header says: a bare codestream (.j2k) or one in the boxes of JP2, after ISO/IEC 15444-1."""

from __future__ import annotations

import struct

from urnet.data.images.boxes import boxes

JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
CODESTREAM = b"\xff\x4f\xff\x51"
_MOST_TILES = 8192  # the decoder keeps some kilobytes for each
_MOST_BLOCKS = 1 << 22  # code blocks and packets, some hundred bytes each


def read_jpeg2000(data: bytes) -> tuple[int, int, bool]:
    """Width, height, and whether the end is there. Raises ValueError for what costs far more than its size."""
    at = 0
    if data.startswith(JP2):
        found = next((found for found in boxes(data, 0, len(data)) if found.name == b"jp2c"), None)
        if found is None:
            raise IndexError
        at = found.start
    if data[at : at + 4] != CODESTREAM:
        raise ValueError("the JPEG 2000 header is broken")
    x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0, parts = struct.unpack_from(">8IH", data, at + 8)
    width, height = x1 - x0, y1 - y0
    if min(tile_x, tile_y) < 1 or tile_x0 > x0 or tile_y0 > y0 or not 0 < parts <= 4:
        raise ValueError("the JPEG 2000 header is broken")
    if any(data[at + 43 + 3 * i : at + 45 + 3 * i] != b"\1\1" for i in range(parts)):
        raise ValueError(
            "the JPEG 2000 file stores colours at fewer pixels, which cannot be decoded; convert it to JPEG"
        )
    n_tiles = -(-(x1 - tile_x0) // tile_x) * -(-(y1 - tile_y0) // tile_y)
    if n_tiles > _MOST_TILES:
        raise ValueError(f"the JPEG 2000 file has {n_tiles} tiles; at most {_MOST_TILES} are accepted")
    at += 2
    while data[at : at + 2] != b"\xff\x90":  # up to the first tile
        marker, length = struct.unpack_from(">HH", data, at)
        if marker < 0xFF00 or length < 2:
            raise ValueError("the JPEG 2000 header is broken")
        if marker == 0xFF52:
            _check_cost(data, at + 4, length - 2, n_tiles * parts, width * height * parts)
        at += 2 + length
    return width, height, _ends(data, at)


def as_srgb(data: bytes) -> tuple[bytes, bool]:
    """The file, its colours said to be sRGB, and whether they are luma and chroma, which OpenCV mistakes."""
    at = data.find(b"colr\1", 0, 4096) if data.startswith(JP2) else -1
    if at < 0 or data[at + 7 : at + 11] != b"\0\0\0\x12":
        return data, False
    return data[: at + 10] + b"\x10" + data[at + 11 :], True


def is_grey_codestream(data: bytes) -> bool:
    """Whether a file without boxes, whose header was read, has one component."""
    return data.startswith(CODESTREAM) and data[40:42] == b"\0\1"


def _check_cost(data: bytes, at: int, length: int, planes: int, samples: int) -> None:
    """The coding style: refuse so many layers, precincts and code blocks that they cost more than the pixels."""
    style, _, layers, _, levels, log_width, log_height = struct.unpack_from(">BBHBBBB", data, at)
    block = 1 << (log_width & 15) + (log_height & 15) + 4
    precincts = data[at + 10 : at + length] if style & 1 else b"\xff"
    smallest = min((1 << (size & 15) + (size >> 4) for size in precincts), default=1)
    blocks = samples // min(block, smallest) + 1
    packets = (samples // smallest + planes * (levels + 1)) * layers
    if blocks > _MOST_BLOCKS or packets > _MOST_BLOCKS:
        raise ValueError(f"the JPEG 2000 file has up to {max(blocks, packets)} parts; {_MOST_BLOCKS} are accepted")


def _ends(data: bytes, at: int) -> bool:
    """Walk the parts of tiles to the end marker; a part of length 0 is the last and goes on to the end."""
    while data[at : at + 2] == b"\xff\x90":
        (length,) = struct.unpack_from(">I", data, at + 6)
        if length == 0:
            return data.rstrip(b"\0").endswith(b"\xff\xd9")
        if length < 14:
            return False
        at += length
    return data[at : at + 2] == b"\xff\xd9"
