"""Image files of many kinds, made from one small picture; some are written byte by byte."""

import io
import struct
import zlib
from functools import cache

import cv2
import numpy as np
import pytest

from urnet.data.images.decode import UnreadableImage, decode


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


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, colour, rows, *chunks):
    """A PNG from its header fields and raw rows (each without its filter byte)."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", body), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def with_orientation(jpeg, orientation, order="<"):
    """The JPEG with an EXIF segment that holds nothing but the orientation."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 0x112, 3, 1, orientation, 0)
    body = b"Exif\0\0" + mark + struct.pack(order + "IH", 8, 1) + entry + struct.pack(order + "I", 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


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
    }


def reason(data, **options):
    """Why ``decode`` finds these bytes unreadable; fails where it does not."""
    with pytest.raises(UnreadableImage) as caught:
        decode(data, name="x.jpg", **options)
    assert caught.value.path == "x.jpg"
    assert "\n" not in str(caught.value)
    return caught.value.reason
