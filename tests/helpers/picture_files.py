"""Image files of many kinds, made from one small picture; some are written byte by byte."""

import io
import struct
import zlib
from functools import cache

import cv2
import numpy as np
import pytest

from urnet.data.images.decode import UnreadableImage, decode
from urnet.data.images.header import read_header


def picture(height=36, width=48, seed=0):
    """A smooth RGB picture with distinct channels and no symmetry, uint8 (height, width, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255)


def encode(extension, rgb, *options):
    """The bytes OpenCV writes for an RGB (or one-channel) picture."""
    stored = rgb if rgb.ndim == 2 else rgb[:, :, [2, 1, 0, *range(3, rgb.shape[2])]]
    good, data = cv2.imencode(extension, np.ascontiguousarray(stored), list(options))
    assert good
    return data.tobytes()


def pillow(image, kind, **options):
    """The bytes Pillow writes; the test is skipped where Pillow is not installed."""
    pil = pytest.importorskip("PIL.Image")
    if isinstance(image, np.ndarray):
        image = pil.fromarray(image)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@cache
def kinds():
    """name -> bytes of one picture in every kind that is read, as OpenCV writes them."""
    rgb = picture()
    alpha = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    return {
        "jpeg": encode(".jpg", rgb),
        "jpeg progressive": encode(".jpg", rgb, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "jpeg restart": encode(".jpg", rgb, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        "jpeg grey": encode(".jpg", rgb[..., 0]),
        "png": encode(".png", rgb),
        "png alpha": encode(".png", alpha),
        "png 16 bit": encode(".png", rgb.astype(np.uint16) * 257),
        "png 1 bit": encode(".png", (rgb[..., 0] > 99).astype(np.uint8), cv2.IMWRITE_PNG_BILEVEL, 1),
        "webp": encode(".webp", rgb, cv2.IMWRITE_WEBP_QUALITY, 90),
        "webp lossless": encode(".webp", rgb, cv2.IMWRITE_WEBP_QUALITY, 101),
        "bmp": encode(".bmp", rgb),
        "bmp grey": encode(".bmp", rgb[..., 0]),
        "tiff": encode(".tiff", rgb),
        "tiff plain": encode(".tiff", rgb, cv2.IMWRITE_TIFF_COMPRESSION, 1),
        "tiff alpha": tiff(np.dstack([rgb, rgb[..., 0]]), alpha=2),
        "avif": encode(".avif", rgb, cv2.IMWRITE_AVIF_QUALITY, 95, cv2.IMWRITE_AVIF_SPEED, 10),
        "jpeg 2000": encode(".jp2", rgb, cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000),
        "pnm": encode(".ppm", rgb),
        "pnm grey": encode(".pgm", rgb[..., 0]),
    }


def gif(rgb):
    """A GIF of a picture cut to 128 colours, in plain 8-bit codes (cleared in time), and its exact pixels."""
    height, width = rgb.shape[:2]
    levels = np.clip(rgb[..., 0] // 2, 0, 127)
    bits = []
    for i, value in enumerate(levels.ravel()):
        if i % 100 == 0:
            bits.append(128)  # clear: codes stay 8 bits wide
        bits.append(int(value))
    packed = bytes([*bits, 129])
    blocks = b"".join(bytes([len(part)]) + part for part in (packed[i : i + 255] for i in range(0, len(packed), 255)))
    palette = bytes(channel for level in range(128) for channel in (2 * level, level, 255 - level))
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF6, 0, 0) + palette
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + bytes([7]) + blocks + b"\0"
    expected = np.stack([2 * levels, levels, 255 - levels], axis=-1).astype(np.uint8)
    return head + frame + b";", expected


def tiff(pixels, *, alpha=None, orientation=1, order="<", planar=1, xmp=b"", tags=()):
    """A TIFF of one strip, (height, width, 3 or 4) of 8 or 16 bits, in planes if ``planar`` is 2, with more tags."""
    height, width, n = pixels.shape
    stored = pixels.astype(pixels.dtype.newbyteorder(order))
    body = (stored if planar == 1 else stored.transpose(2, 0, 1)).tobytes()
    strips = 1 if planar == 1 else n
    length = len(body) // strips
    entries = [(256, 4, [width]), (257, 4, [height]), (258, 3, [8 * pixels.itemsize] * n), (259, 3, [1]), (262, 3, [2])]
    entries += [(273, 4, [8 + i * length for i in range(strips)]), (274, 3, [orientation]), (277, 3, [n])]
    entries += [(278, 4, [height]), (279, 4, [length] * strips), (284, 3, [planar])]
    entries += [(338, 3, [alpha])] * (alpha is not None) + [(700, 1, list(xmp))] * bool(xmp) + list(tags)
    at = 8 + len(body)
    behind = at + 2 + 12 * len(entries) + 4
    directory, values = struct.pack(order + "H", len(entries)), b""
    for tag, kind, numbers in sorted(entries):
        packed = struct.pack(order + f"{len(numbers)}{ {1: 'B', 3: 'H', 4: 'I'}[kind] }", *numbers)
        if len(packed) > 4:
            values, packed = values + packed, struct.pack(order + "I", behind + len(values))
        directory += struct.pack(order + "HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "I", at) + body + directory + bytes(4) + values


def box(name, *bodies):
    """A box of an AVIF or JP2 file."""
    return struct.pack(">I4s", 8 + sum(map(len, bodies)), name) + b"".join(bodies)


def avif_header(width, height, *properties, items=b""):
    """An AVIF file of one item, whose picture is not there: its size and further boxes of properties."""
    boxes = [box(b"ispe", bytes(4), struct.pack(">II", width, height)), *properties]
    numbers = bytes(range(1, len(boxes) + 1))
    associated = box(b"ipma", bytes(4), struct.pack(">IHB", 1, 1, len(numbers)), numbers)
    parts = [box(b"pitm", bytes(4), b"\0\1"), box(b"iloc", bytes(8)), box(b"iinf", bytes(6))]
    meta = box(b"meta", bytes(4), *parts, box(b"iprp", box(b"ipco", *boxes), associated))
    return box(b"ftyp", b"avif", bytes(4), b"avifmif1") + meta


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, colour, rows, *chunks):
    """A PNG from its header fields and raw rows (each without its filter byte)."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", body), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


TURNS = {  # EXIF orientation -> what shows the stored picture upright
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}
EXIF = b"Exif\0\0"


def exif(orientation, order="<", kind=3):
    """EXIF data that holds nothing but the orientation (kind 1, 3, 4: in 1, 2, 4 bytes), without words before it."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(order + {1: "B", 3: "H", 4: "I"}[kind], orientation).ljust(4, b"\0")
    return mark + struct.pack(order + "IHHHI", 8, 1, 0x112, kind, 1) + value + bytes(4)


def xmp(orientation, form='tiff:Orientation="%d"'):
    """XMP text that holds nothing but the orientation."""
    return b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description " + form.encode() % orientation + b"/></x:xmpmeta>"


def with_segments(jpeg, *bodies):
    """The JPEG with APP1 segments of these contents."""
    return jpeg[:2] + b"".join(b"\xff\xe1" + struct.pack(">H", len(b) + 2) + b for b in bodies) + jpeg[2:]


def with_orientation(jpeg, orientation, order="<"):
    """The JPEG with an EXIF segment that holds nothing but the orientation."""
    return with_segments(jpeg, EXIF + exif(orientation, order))


def with_chunks(png_file, *chunks, behind=False):
    """The PNG with further chunks (name, content), before or behind the picture."""
    at = png_file.index(b"IEND") - 4 if behind else 33
    return png_file[:at] + b"".join(png_chunk(*chunk) for chunk in chunks) + png_file[at:]


def with_webp_chunks(webp, *chunks):
    """The plain WebP as an extended one with further chunks (name, content)."""
    image = read_header(webp)
    size = (image.width - 1).to_bytes(3, "little") + (image.height - 1).to_bytes(3, "little")
    parts = [(b"VP8X", bytes([0x0C, 0, 0, 0]) + size), *chunks]
    packed = [name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1) for name, body in parts]
    body = b"WEBP" + packed[0] + webp[12:] + b"".join(packed[1:])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def claims(width, height):
    """Tiny files of every kind whose headers claim width x height pixels."""
    png_head = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    frame = struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0"
    scan = b"\xff\xda" + struct.pack(">H", 8) + b"\1\1\0\0\x3f\0"
    entry = "<HHII"
    tiff = b"II*\0" + struct.pack("<IH", 8, 2)
    tiff += struct.pack(entry, 256, 4, 1, width) + struct.pack(entry, 257, 4, 1, height) + bytes(4)
    vp8x = b"VP8X" + struct.pack("<I", 10) + bytes(4)
    vp8x += max(0, width - 1).to_bytes(3, "little") + max(0, height - 1).to_bytes(3, "little")
    return {
        "PNG": png_head + png_chunk(b"IEND", b""),
        "JPEG": b"\xff\xd8\xff\xc0" + frame + scan + b"\0\xff\xd9",
        "GIF": b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";",
        "BMP": b"BM" + struct.pack("<IHHIIiiHHI", 54, 0, 0, 54, 40, width, -height, 1, 24, 0) + bytes(20),
        "TIFF": tiff,
        "WebP": b"RIFF" + struct.pack("<I", 4 + len(vp8x)) + b"WEBP" + vp8x,
        "AVIF": avif_header(width, height),
        "JPEG 2000": codestream(width, height, max(1, width), max(1, height)),
        "PNM": b"P6 %d %d 255\n" % (width, height),
    }


def codestream(width, height, tile_width, tile_height, parts=1, layers=1, block=4, subsampled=1):
    """A JPEG 2000 codestream without any picture in it."""
    size = struct.pack(">H8IH", 0, width, height, 0, 0, tile_width, tile_height, 0, 0, parts)
    size += bytes([7, subsampled, 1]) * parts
    style = struct.pack(">BBHBBBBBB", 0, 0, layers, 0, 0, block, block, 0, 1)
    tile = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 14, 0, 1) + b"\xff\x93"
    segments = ((0xFF51, size), (0xFF52, style), (0xFF5C, b"\x40\x40"))
    head = b"".join(struct.pack(">HH", marker, 2 + len(body)) + body for marker, body in segments)
    return b"\xff\x4f" + head + tile + b"\xff\xd9"


def reason(data, **options):
    """Why ``decode`` finds these bytes unreadable; fails where it does not."""
    with pytest.raises(UnreadableImage) as caught:
        decode(data, name="x.jpg", **options)
    assert caught.value.path == "x.jpg"
    assert "\n" not in str(caught.value)
    return caught.value.reason
