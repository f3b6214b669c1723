"""What a file stores is shown: alpha is dropped in one way in every kind, and an animation is its first picture."""

import re
import struct
import zlib

import cv2
import numpy as np
import pytest

from tests.helpers.picture_files import (
    codestream,
    encode,
    gif,
    kinds,
    picture,
    pillow,
    png,
    png_chunk,
    reason,
    tiff,
    with_chunks,
)
from urnet.data.images.decode import decode
from urnet.data.images.header import read_header

ALPHA = np.tile(np.linspace(0, 255, 48).astype(np.uint8), (36, 1))  # from nothing to all
RGBA = np.dstack([picture(), ALPHA])
DEEP = RGBA.astype(np.uint16) * 257


def multiplied(pixels):
    most = np.iinfo(pixels.dtype).max
    colours = (pixels[..., :3].astype(np.uint64) * pixels[..., 3:] + most // 2) // most
    return np.dstack([colours.astype(pixels.dtype), pixels[..., 3]])


WITH_ALPHA = {
    "png": encode(".png", RGBA),
    "png 16 bit": encode(".png", DEEP),
    "webp": encode(".webp", RGBA | np.array([0, 0, 0, 1], np.uint8), cv2.IMWRITE_WEBP_QUALITY, 101),
    "tiff": tiff(RGBA, alpha=2),
    "tiff, unspecified": tiff(RGBA, alpha=0),
    "tiff, not said": tiff(RGBA),
    "tiff, big end first": tiff(RGBA, alpha=2, order=">"),
    "tiff in planes": tiff(RGBA, alpha=2, planar=2),
    "tiff 16 bit": tiff(DEEP, alpha=2),
    "tiff 16 bit, big end first": tiff(DEEP, alpha=2, order=">"),
    "jpeg 2000": encode(".jp2", RGBA, cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000),
    "jpeg 2000, 16 bit": encode(".jp2", DEEP, cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000),
    "avif": encode(".avif", RGBA, cv2.IMWRITE_AVIF_QUALITY, 95, cv2.IMWRITE_AVIF_SPEED, 10),
    "pam": b"P7\n# made here\nWIDTH 48\nHEIGHT 36\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n" + RGBA.tobytes(),
    "bmp": b"BM"
    + struct.pack("<IHHIIiiHHIIIIII", 54 + RGBA.size, 0, 0, 54, 40, 48, -36, 1, 32, 0, 0, 0, 0, 0, 0)
    + RGBA[..., [2, 1, 0, 3]].tobytes(),
}


@pytest.mark.parametrize("name", WITH_ALPHA)
def test_alpha_is_dropped_and_the_colour_under_it_stays(name):
    assert read_header(WITH_ALPHA[name])[1:] == (48, 36, True)
    difference = np.abs(decode(WITH_ALPHA[name]).astype(int) - picture())
    assert difference.mean() < 2 if name == "avif" else not difference.any()


@pytest.mark.parametrize("planar", [1, 2])
def test_colours_that_a_tiff_stores_multiplied_are_divided(planar):
    """Where alpha is small, the file does not know them better; where it is nothing, the stored ones stay."""
    for name, pixels in (("8 bit", RGBA), ("16 bit", DEEP)):
        data = tiff(multiplied(pixels), alpha=1, planar=planar)
        if name == "16 bit" and planar == 2:
            assert "16 bits in planes, multiplied by alpha, cannot be decoded; convert it" in reason(data)
            continue
        difference = np.abs(decode(data).astype(int) - picture())
        assert (difference.max(axis=2) <= np.where(ALPHA > 0, 130 / np.maximum(ALPHA, 1) + 1, 255)).all()
    turned = decode(tiff(multiplied(RGBA), alpha=1, orientation=6, planar=planar))
    assert np.array_equal(turned, np.rot90(decode(tiff(multiplied(RGBA), alpha=1, planar=planar)), -1))


def test_transparent_colours_of_a_palette():
    colours = bytes([9, 8, 7, 0, 0, 255, 0, 255, 0, 255, 0, 0])
    data = png(4, 1, 2, 3, [b"\x1b"], png_chunk(b"PLTE", colours), png_chunk(b"tRNS", bytes([0, 128])))
    assert decode(data).tolist() == [[[9, 8, 7], [0, 0, 255], [0, 255, 0], [255, 0, 0]]]
    grey = png(2, 1, 8, 0, [b"\x50\x60"], png_chunk(b"tRNS", b"\0\x50"))
    assert decode(grey)[0, :, 0].tolist() == [0x50, 0x60]
    grey_alpha = png(2, 1, 8, 4, [b"\x50\0\x60\xff"])
    assert decode(grey_alpha)[0, :, 0].tolist() == [0x50, 0x60]


# ------------------------------------------------------------------ GIF


def control(transparent, delay=0):
    """A GIF's block that makes one colour of the next frame transparent."""
    return b"!\xf9\4" + struct.pack("<BHB", 1, delay, transparent) + b"\0"


def parts(data):
    """Header with palette, frame, of the GIF that ``gif`` makes."""
    return data[: 13 + 3 * 128], data[13 + 3 * 128 : -1]


def test_a_gif_shows_the_colour_that_is_transparent():
    data, expected = gif(picture())
    head, frame = parts(data)
    for index in np.unique(expected[..., 0] // 2)[:3].tolist():
        assert np.array_equal(decode(head + control(index) + frame + b";"), expected)


def test_a_gif_is_whole_with_its_first_frame():
    """Its trailer may be missing, and whatever comes behind the first frame may be broken."""
    data, expected = gif(picture())
    head, frame = parts(data)
    for rest in (b"", b";", b"\0", frame, frame[:40], control(3) + frame + b";", b"!\xfe\5abc", b"garbage"):
        assert np.array_equal(decode(head + frame + rest), expected)
    for n in range(1, len(frame), 97):
        assert reason(head + frame[:-n]) == "the GIF file is cut off"


def test_a_gif_frame_has_its_place_on_the_screen():
    """Beside it is the background; a screen that is too small, or a background that is none, does no harm."""
    data, expected = gif(picture())
    head, frame = parts(data)
    moved = b"," + struct.pack("<HH", 5, 3) + frame[5:]
    large = head[:6] + struct.pack("<HHBB", 60, 50, 0xF6, 9) + head[12:]
    image = decode(large + moved + b";")
    assert image.shape == (50, 60, 3)
    assert np.array_equal(image[3:39, 5:53], expected)
    assert (image[:3] == (18, 9, 246)).all() and (image[:, 53:] == (18, 9, 246)).all()
    for screen in ((0, 0), (10, 10), (48, 36)):
        small = head[:6] + struct.pack("<HHBB", *screen, 0xF6, 200) + head[12:]
        assert np.array_equal(decode(small + frame + b";"), expected)
        assert decode(small + moved + b";").shape == (39, 53, 3)
    huge = b"," + struct.pack("<HHHH", 60000, 60000, 48, 36) + frame[9:]
    assert "claims 60048 x 60036 pixels" in reason(head + huge)


# ------------------------------------------------------------------ other animations


def animated_png(*, default_is_first):
    """IDAT has ``picture()``; frames of another colour follow, and unless the default is one, stand alone."""
    still, other = encode(".png", picture()), encode(".png", 255 - picture())
    body = re.search(b"IDAT(.*)....IEND", other, re.DOTALL)[1][:-8]
    frame = struct.pack(">IIIIIHHBB", 0, 48, 36, 0, 0, 1, 10, 0, 0)
    before = [(b"acTL", struct.pack(">II", 2 if default_is_first else 1, 0))] + [(b"fcTL", frame)] * default_is_first
    behind = [(b"fcTL", b"\0\0\0\1" + frame[4:]), (b"fdAT", b"\0\0\0\2" + body)]
    return with_chunks(with_chunks(still, *before), *behind, behind=True)


@pytest.mark.parametrize("default_is_first", [True, False])
def test_an_animated_png_is_the_picture_that_every_viewer_shows(default_is_first):
    assert np.array_equal(decode(animated_png(default_is_first=default_is_first)), picture())


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "GIF", "TIFF", "MPO", "PNG"])
def test_of_several_pictures_the_first(kind):
    pil = pytest.importorskip("PIL.Image")
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 95}, "MPO": {"quality": 95}}.get(kind, {})
    data = pillow(picture(), kind, save_all=True, append_images=[pil.fromarray(255 - picture())], **options)
    assert np.abs(decode(data).astype(int) - picture()).mean() < 6


# ------------------------------------------------------------------ AVIF, JPEG 2000


@pytest.mark.parametrize("mode", ["L", "LA"])
@pytest.mark.parametrize("values", ["full", "limited"])
def test_grey_avif(mode, values):
    """With alpha OpenCV cannot decode it, and it takes 16 to 235 as they are."""
    pil = pytest.importorskip("PIL.Image")
    grey = picture()[..., 0]
    image = pil.fromarray(np.repeat(grey[..., None], 3, 2))
    if mode == "LA":
        image.putalpha(pil.fromarray(ALPHA))
    data = pillow(image, "AVIF", subsampling="4:0:0", quality=95, range=values)
    assert read_header(data) == ("AVIF", 48, 36, True)
    assert np.abs(decode(data).astype(int) - grey[..., None]).mean() < 2


def test_an_avif_whose_picture_is_larger_than_it_says_is_a_bomb():
    data = encode(".avif", np.zeros((2200, 2200, 3), np.uint8), cv2.IMWRITE_AVIF_SPEED, 10)
    size = struct.pack(">II", 2200, 2200)
    assert data.count(size) == 1 and len(data) < 1000
    claimed = data.replace(size, struct.pack(">II", 16, 16))
    assert reason(claimed) == "the AVIF header claims 16 x 16 pixels, its data 2200 x 2200"


def test_jpeg_2000_without_boxes_and_of_luma_and_chroma():
    pil = pytest.importorskip("PIL.Image")
    assert np.array_equal(decode(pillow(picture(), "JPEG2000", no_jp2=True)), picture())
    grey = picture()[..., 1]
    assert np.array_equal(decode(pillow(grey, "JPEG2000", no_jp2=True)), np.dstack([grey] * 3))
    data = pillow(pil.fromarray(picture()).convert("YCbCr"), "JPEG2000")
    assert np.abs(decode(data).astype(int) - picture()).max() < 4


@pytest.mark.parametrize(
    "data, words",
    [
        (codestream(10_000, 9_000, 1, 1), "has 90000000 tiles; at most 8192"),
        (codestream(640, 640, 10, 10, layers=65_535), "has up to 268431360 parts; 4194304 are accepted"),
        (codestream(9_000, 9_000, 9_000, 9_000, block=0), "has up to 5062501 parts"),
        (codestream(48, 36, 48, 36, parts=3, subsampled=2), "colours at fewer pixels, .* convert it to JPEG"),
        (codestream(48, 36, 0, 36), "header is broken"),
        (codestream(48, 36, 48, 36, parts=5), "header is broken"),
    ],
)
def test_a_jpeg_2000_that_costs_far_more_than_its_size(data, words):
    assert re.search(words, reason(data))


# ------------------------------------------------------------------ Netpbm


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"P1\n# bits\n3 2\n0 1 0\n110", [[255, 0, 255], [0, 0, 255]]),
        (b"P1 3 2 010110", [[255, 0, 255], [0, 0, 255]]),
        (b"P4\n3 2\n\x40\xc0", [[255, 0, 255], [0, 0, 255]]),
        (b"P2\n2 1\n255\n0 200", [[0, 200]]),
        (b"P2\n2 1 # a\n# b\n10\n#c\n5\n10\n", [[128, 255]]),
        (b"P2 2 1 255 300 7", [[255, 7]]),
        (b"P5\n2 1\n255\n\x07\xc8", [[7, 200]]),
        (b"P5 2 1 15 \x0f\x03", [[255, 51]]),
        (b"P5 2 1 15 \x10\x03", [[255, 51]]),
        (b"P5\r\n2 1\n65535\n\x12\xff\xff\x00", [[0x12, 0xFF]]),
        (b"P5 2 1 1023 \x03\xff\x00\x00", [[255, 0]]),
        (b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 2\nMAXVAL 255\nTUPLTYPE GRAYSCALE_ALPHA\nENDHDR\n\x07\0\x09\xff", [[7, 9]]),
        (b"P7\nHEIGHT 1\nWIDTH 2\nMAXVAL 1\nDEPTH 1\nENDHDR\n\1\0", [[255, 0]]),
    ],
)
def test_netpbm_pictures_of_one_channel(data, expected):
    assert decode(data)[..., 0].tolist() == expected
    assert decode(data + b"\n# garbage").tolist() == decode(data).tolist()


def test_netpbm_pictures_of_colours():
    text = "P3\n# made here\n48 36\n255\n" + "\n".join(map(str, picture().ravel().tolist()))
    assert np.array_equal(decode(text.encode()), picture())
    assert np.array_equal(decode(b"P6 48 36 255\n" + picture().tobytes()), picture())
    deep = picture().astype(">u2") * 257
    assert np.array_equal(decode(b"P6\n48 36\n65535\n" + deep.tobytes()), picture())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"P6 48", "a text file, not a picture"),
        (b"P6 48 36 255\n\0\0", "the PNM file is cut off"),
        (b"P3 2 1 255 1 2 3 4 5", "the PNM file is cut off"),
        (b"P2 2 1 255 1 x", "the PNM file is cut off"),
        (b"P2 2 1 0 1 1", "the PNM header is broken"),
        (b"P6 2 1 70000 ", "the PNM header is broken"),
        (b"P5 0 1 255 ", "the PNM header claims 0 x 1 pixels"),
        (b"P7\nWIDTH 2\n", "the header is cut off"),
        (b"P7\nWIDTH 2\nHEIGHT x\nENDHDR\n", "the PNM header is broken"),
        (b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 5\nMAXVAL 255\nENDHDR\n", "the PNM header is broken"),
        (b"P6 " + b"# \n" * 100_000 + b"2 1 255 ", "a text file, not a picture"),
        (b"Pf\n2 1\n-1.0\n", "a PFM picture"),
    ],
)
def test_netpbm_files_that_are_none(data, words):
    assert words in reason(data)


def test_broken_text_after_a_good_header_is_never_another_error():
    for n in range(1, 60):
        data = zlib.compress(b"%d" % n)
        for kind in b"1234567":
            try:
                decode(b"P%c 3 2 200 " % kind + data)
            except Exception as error:
                assert type(error).__name__ == "UnreadableImage"


@pytest.mark.parametrize("tags", [[(50706, 1, [1, 4, 0, 0])], [(254, 4, [1]), (330, 4, [8])]])
def test_a_preview_in_a_cameras_raw_file_is_not_the_picture(tags):
    assert reason(tiff(picture(), tags=tags)) == "a camera's raw picture, which cannot be read; convert it to JPEG"


def test_every_kind_is_named_by_its_content():
    for name, data in kinds().items():
        assert read_header(data).kind.lower() in name
