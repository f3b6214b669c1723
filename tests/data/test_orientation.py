"""Every place that may say which way up a picture is, in every kind of file; honoured once, or ignored."""

import io
import zlib

import cv2
import numpy as np
import pytest

from tests.helpers.picture_files import (
    EXIF,
    TURNS,
    avif_header,
    box,
    exif,
    kinds,
    picture,
    pillow,
    tiff,
    with_chunks,
    with_orientation,
    with_segments,
    with_webp_chunks,
    xmp,
)
from urnet.data.images.decode import decode
from urnet.data.images.orientation import read_orientation

PACKET = b"http://ns.adobe.com/xap/1.0/\0"
ELEMENT = "><tiff:Orientation>%d</tiff:Orientation><x"


def profile(body, name=b"exif"):
    """ImageMagick's text of bytes."""
    digits = body.hex().encode()
    lines = [digits[i : i + 72] for i in range(0, len(digits), 72)]
    return b"\n".join([b"", name, b"%8d" % len(body), *lines, b""])


def text(kind, key, body):
    """A text chunk of PNG, plain, packed or international and packed."""
    head = {b"tEXt": b"", b"zTXt": b"\0", b"iTXt": b"\1\0en\0word\0"}[kind]
    return kind, key + b"\0" + head + (body if kind == b"tEXt" else zlib.compress(body))


def jpeg(*segments):
    return with_segments(kinds()["jpeg"], *segments)


def png(*chunks, behind=False):
    return with_chunks(kinds()["png"], *chunks, behind=behind)


def webp(*chunks, kind="webp"):
    return with_webp_chunks(kinds()[kind], *chunks)


EXIF_KEY, XMP_KEY = b"Raw profile type exif", b"XML:com.adobe.xmp"
PLACES = {
    "jpeg": lambda o: jpeg(EXIF + exif(o)),
    "jpeg, big end first": lambda o: jpeg(EXIF + exif(o, ">")),
    "jpeg, four bytes": lambda o: jpeg(EXIF + exif(o, ">", 4)),
    "jpeg, one byte": lambda o: jpeg(EXIF + exif(o, "<", 1)),
    "jpeg, xmp": lambda o: jpeg(PACKET + xmp(o)),
    "jpeg, xmp element": lambda o: jpeg(PACKET + xmp(o, ELEMENT)),
    "jpeg, exif before xmp": lambda o: jpeg(PACKET + xmp(3), EXIF + exif(o)),
    "jpeg, exif without, xmp": lambda o: jpeg(EXIF + b"II*\0\x08\0\0\0" + bytes(6), PACKET + xmp(o)),
    "jpeg progressive": lambda o: with_segments(kinds()["jpeg progressive"], EXIF + exif(o)),
    "png": lambda o: png((b"eXIf", exif(o))),
    "png, behind the picture": lambda o: png((b"eXIf", exif(o)), behind=True),
    "png, with the words": lambda o: png((b"eXIf", EXIF + exif(o))),
    "png, raw profile": lambda o: png(text(b"tEXt", EXIF_KEY, profile(EXIF + exif(o)))),
    "png, raw profile packed": lambda o: png(text(b"zTXt", EXIF_KEY, profile(EXIF + exif(o))), behind=True),
    "png, raw profile APP1": lambda o: png(
        text(b"zTXt", b"Raw profile type APP1", profile(EXIF + exif(o), b"generic profile"))
    ),
    "png, raw profile international": lambda o: png(text(b"iTXt", EXIF_KEY, profile(exif(o)))),
    "png, eXIf before raw profile": lambda o: png(text(b"tEXt", EXIF_KEY, profile(EXIF + exif(3))), (b"eXIf", exif(o))),
    "png, xmp": lambda o: png((b"iTXt", XMP_KEY + bytes(5) + xmp(o))),
    "png, xmp packed": lambda o: png(text(b"iTXt", XMP_KEY, xmp(o))),
    "png 16 bit": lambda o: with_chunks(kinds()["png 16 bit"], (b"eXIf", exif(o))),
    "webp": lambda o: webp((b"EXIF", exif(o))),
    "webp, with the words": lambda o: webp((b"EXIF", EXIF + exif(o, ">"))),
    "webp lossless": lambda o: webp((b"EXIF", EXIF + exif(o)), kind="webp lossless"),
    "webp, xmp": lambda o: webp((b"XMP ", xmp(o))),
    "webp, exif before xmp": lambda o: webp((b"XMP ", xmp(3)), (b"EXIF", exif(o))),
    "tiff": lambda o: tiff(picture(), orientation=o),
    "tiff, big end first": lambda o: tiff(picture(), orientation=o, order=">"),
    "tiff alpha": lambda o: tiff(np.dstack([picture(), picture()[..., 0]]), alpha=2, orientation=o),
    "tiff 16 bit": lambda o: tiff(picture().astype(np.uint16) * 257, orientation=o),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_orientation_is_honoured_once_or_ignored(place):
    stored = decode(PLACES[place](1))
    assert stored.shape == (36, 48, 3)
    for orientation, upright in TURNS.items():
        data = PLACES[place](orientation)
        assert np.array_equal(decode(data, exif="ignore"), stored)
        assert np.array_equal(decode(data, exif="honour"), upright(stored))
        assert decode(data).flags.c_contiguous
    for orientation in (0, 9):
        assert np.array_equal(decode(PLACES[place](orientation)), stored)


def test_xmp_of_a_tiff():
    """Where the tag is missing; where it is there it comes first."""
    plain = tiff(picture())
    data = tiff(picture(), xmp=xmp(6))
    missing = data.replace(b"\x12\1\3\0\1\0\0\0\1\0", b"\x13\1\3\0\1\0\0\0\1\0")
    assert np.array_equal(decode(data), decode(plain))
    assert np.array_equal(decode(missing), TURNS[6](decode(plain)))


@pytest.mark.parametrize("mirror", [None, 0, 1])
@pytest.mark.parametrize("turns", [None, 0, 1, 2, 3])
def test_avif_has_turns_to_the_left_then_a_mirror(turns, mirror):
    """ISO/IEC 23008-12: axis 0 exchanges top and bottom, 1 left and right. EXIF does not count there."""
    found = [(b"irot", turns), (b"imir", mirror)]
    properties = [box(name, bytes([value])) for name, value in found if value is not None]
    orientation = read_orientation(avif_header(5, 7, *properties), "AVIF")
    image = picture(5, 7)
    expected = np.rot90(image, turns or 0)
    expected = expected if mirror is None else expected[::-1] if mirror == 0 else expected[:, ::-1]
    assert np.array_equal(TURNS[orientation](image), expected)


@pytest.mark.parametrize("orientation", TURNS)
def test_avif_as_pillow_writes_and_reads_it(orientation):
    pil, ops = pytest.importorskip("PIL.Image"), pytest.importorskip("PIL.ImageOps")
    tags = pil.Exif()
    tags[274] = orientation
    data = pillow(picture(), "AVIF", exif=tags, quality=90)
    assert np.array_equal(decode(data), np.asarray(ops.exif_transpose(pil.open(io.BytesIO(data)))))
    assert decode(data, exif="ignore").shape == (36, 48, 3)
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'
    alone = pillow(picture(), "AVIF", xmp=xmp % orientation, quality=90)
    assert np.array_equal(decode(alone), np.asarray(ops.exif_transpose(pil.open(io.BytesIO(alone)))))
    both = pillow(picture(), "AVIF", exif=tags, xmp=xmp % (orientation % 8 + 1), quality=90)
    assert np.array_equal(decode(both), np.asarray(ops.exif_transpose(pil.open(io.BytesIO(both)))))


@pytest.mark.parametrize(
    "data",
    [
        jpeg(EXIF + b"II*\0\xff\xff\xff\xff"),
        jpeg(EXIF + exif(6)[:-10]),
        jpeg(EXIF + b"?"),
        png((b"zTXt", EXIF_KEY + b"\0\0no zlib")),
        png(text(b"tEXt", EXIF_KEY, b"\nexif\n 10\nno digits")),
        png(text(b"zTXt", EXIF_KEY, bytes(1 << 24))),  # 16 kB that unpack to 16 MiB
        webp((b"EXIF", b"")),
    ],
)
def test_broken_metadata_turns_nothing(data):
    assert decode(data).shape == (36, 48, 3)


def test_pillow_agrees_about_every_place():
    pil, ops = pytest.importorskip("PIL.Image"), pytest.importorskip("PIL.ImageOps")
    for place, make in PLACES.items():
        if place in ("png, raw profile APP1", "jpeg, one byte", "tiff alpha", "tiff 16 bit", "png 16 bit"):
            continue  # which Pillow does not know, or turns twice
        for orientation in TURNS:
            data = make(orientation)
            theirs = np.asarray(ops.exif_transpose(pil.open(io.BytesIO(data))).convert("RGB")).astype(int)
            assert decode(data).shape == theirs.shape, (place, orientation)
            assert np.abs(decode(data) - theirs).max() < 8, (place, orientation)


def test_jpegs_are_turned_as_opencv_turns_them():
    for orientation in TURNS:
        data = with_orientation(kinds()["jpeg"], orientation)
        assert np.array_equal(decode(data), cv2.imdecode(np.frombuffer(data, np.uint8), 1)[..., ::-1])
