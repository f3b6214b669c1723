"""Headers: sizes before decoding, bombs, files that are cut off, what is not an image at all."""

import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from tests.helpers.picture_files import claims, encode, kinds, picture, reason
from urnet.data.images.decode import UnreadableImage, decode
from urnet.data.images.header import ACCEPTED, read_header


@pytest.mark.parametrize("name", kinds())
def test_a_file_cut_anywhere_is_unreadable_and_never_another_error(name):
    data = kinds()[name]
    for n in range(len(data)):
        try:
            image = decode(data[:n])
        except UnreadableImage:
            continue
        assert np.array_equal(image, decode(data)), n  # only padding was cut off
        assert n >= len(data) - 2


@pytest.mark.parametrize("name", kinds())
def test_bytes_behind_the_end_do_no_harm(name):
    data = kinds()[name]
    assert np.array_equal(decode(data + b"trailing \xff\xd8 garbage\0" * 9), decode(data))


def test_a_jpeg_cut_behind_its_embedded_thumbnail_is_unreadable():
    """The thumbnail inside the EXIF segment has an end marker of its own, which must not count."""
    jpeg, thumbnail = kinds()["jpeg"], encode(".jpg", picture(8, 8))
    body = b"Exif\0\0" + thumbnail
    data = jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]
    assert np.array_equal(decode(data), decode(jpeg))
    for n in (len(body) + 6, len(body) + 10, len(data) - 400, len(data) - 2):
        assert reason(data[:n])


def test_the_end_is_found_among_the_segments_of_a_progressive_file():
    data = kinds()["jpeg progressive"]
    assert data.count(b"\xff\xda") > 2
    assert read_header(data + b"?").whole
    assert not read_header(data[:-2] + b"??").whole


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "empty"),
        (b"\x07no kind that anybody knows", f"not a {ACCEPTED} file"),
        (b"\xff\xd8\xff", "cut off"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "cut off"),
        (b"\xff\xd8\xff\xd9", "broken"),
        (b"\x89PNG\r\n\x1a\n", "broken"),
        (b"GIF89a", "cut off"),
        (b"BM", "cut off"),
        (b"II*\0", "cut off"),
        (b"II*\0" + b"\xff" * 40, "cut off"),
        (b"RIFF\x04\0\0\0WEBP", "broken"),
    ],
)
def test_what_is_no_image_says_why(data, words):
    assert words in reason(data)


@pytest.mark.parametrize(
    "data, words",
    [
        (b"just some text, named .jpg", f"a text file, not a picture; accepted: {ACCEPTED}"),
        ("naïve text, cut in a letter é".encode()[:-1], "a text file, not a picture"),
        (b"BMW builds cars, and so on", "a text file, not a picture"),
        (b"  \r\n", "nothing but blanks, not a picture; download or copy it again"),
        (bytes(999), "nothing but zero bytes, not a picture; download or copy it again"),
        (b"<html>404</html>", "an HTML page, not a picture; the server sent it in place of a picture"),
        (b"\xef\xbb\xbf\n<!DOCTYPE HTML><title>", "an HTML page, not a picture"),
        (b'{"error": 404}', "a JSON file, not a picture"),
        (b"<?xml version='1.0'?><Error/>", "an XML file, not a picture"),
        (b"<?xml version='1.0'?><svg xmlns=''/>", "an SVG drawing, which cannot be read; convert it to JPEG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, not a picture; .*git lfs pull"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "an HEIC picture, which cannot be read; convert it to JPEG"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heix", "an HEIC picture"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a camera's raw picture"),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp41avc1", "a video, not a picture; cut pictures out of it"),
        (b"\0\0\0\x0cJXL \r\n\x87\n\0\0", "a JPEG XL picture"),
        (b"\xff\x0a\x00", "a JPEG XL picture"),
        (b"8BPS\0\1", "a Photoshop picture"),
        (b"\0\0\1\0\1\0", "an icon"),
        (b"\0\0\2\0\1\0", "a cursor"),
        (b"\0\0\2\0" + bytes(8) + b"\5\0\7\0\x18\0", "a TGA picture, which cannot be read; convert it to JPEG"),
        (b"%PDF-1.4", "a PDF document, not a picture"),
        (b"PK\3\4", "an archive, not a picture; unpack it"),
        (b"\x1f\x8b\x08", "an archive, not a picture"),
        (b"RIFF\0\0\0\0AVI LIST", "a video"),
        (bytes(128) + b"DICM", "a DICOM picture"),
    ],
)
def test_what_is_no_picture_that_can_be_read_is_named(data, words):
    assert re.match(words, reason(data))


@pytest.mark.parametrize("kind", claims(1, 1))
def test_a_huge_claim_is_refused_before_decoding(kind, monkeypatch):
    def never(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(cv2, "imdecode", never)
    data = claims(60000, 60000)[kind]
    assert read_header(data)[:3] == (kind, 60000, 60000)
    assert reason(data) == "the header claims 60000 x 60000 pixels; at most 100000000 are accepted"
    limited = reason(claims(100, 101)[kind], max_pixels=10_000)
    assert limited == "the header claims 100 x 101 pixels; at most 10000 are accepted"
    if kind != "WebP":  # which stores size - 1
        assert "claims 0 x 5 pixels" in reason(claims(0, 5)[kind])


def test_the_largest_claim_that_is_accepted_is_decoded():
    for kind, data in claims(100, 100).items():
        assert "claims 100 x" not in reason(data, max_pixels=10_000), kind


BOMB = """
import resource, zlib
from tests.helpers.picture_files import png_chunk, claims
from urnet.data.images.decode import decode, UnreadableImage
data = claims(60000, 60000)["PNG"][:-12] + png_chunk(b"IDAT", zlib.compress(bytes(180001 * 60)))
data += png_chunk(b"IEND", b"")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(data)
except UnreadableImage as error:
    print(error)
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8000
"""


def test_a_bomb_takes_no_memory():
    """A real PNG of 60000 x 60000 black pixels, 13 kB per row before compression; in a process of its own."""
    done = subprocess.run([sys.executable, "-c", BOMB], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "60000 x 60000" in done.stdout


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["little", "big"])
def test_tiff_headers_of_both_byte_orders_and_sizes(order, big):
    """Hand-made TIFF and BigTIFF files of one strip, which the header reader and OpenCV must agree on."""
    rgb = picture(5, 7)
    pixels, room = rgb.tobytes(), 8 if big else 4

    def number(value, size):
        return value.to_bytes(size, order)

    tags = [(256, 7), (257, 5), (258, 8), (259, 1), (262, 2), (273, 0), (277, 3), (278, 5), (279, len(pixels))]
    start = (16 if big else 8) + (8 if big else 2) + len(tags) * (20 if big else 12) + room
    body = number(len(tags), 8 if big else 2)
    for tag, value in tags:
        value = start if tag == 273 else value
        body += number(tag, 2) + number(4, 2) + number(1, room) + number(value, 4) + bytes(room - 4)
    mark = b"II" if order == "little" else b"MM"
    head = mark + (number(43, 2) + number(8, 2) + number(0, 2) if big else number(42, 2))
    data = head + number(len(head) + room, room) + body + bytes(room) + pixels
    assert read_header(data) == ("TIFF", 7, 5, True)
    assert np.array_equal(decode(data), rgb)
    assert not read_header(data[:-1]).whole
