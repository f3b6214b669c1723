"""Decoding: every kind of file, damaged ones, bombs, EXIF. Each file is read right or is UnreadableImage."""

import io
import os

import cv2
import numpy as np
import pytest

from tests.helpers.picture_files import encode, gif, kinds, picture, pillow, png, png_chunk, reason
from urnet.core.checks import InputError
from urnet.data.images.decode import UnreadableImage, decode, read_image


@pytest.mark.parametrize("name", kinds())
def test_every_kind_is_rgb_and_close_to_the_picture(name, tmp_path):
    """And has the pixels of the 2018 release, which lets OpenCV read the file."""
    (tmp_path / "image.jpg").write_bytes(kinds()[name])
    image = decode(kinds()[name])
    if name != "tiff alpha":  # whose colours OpenCV multiplies by alpha
        assert np.array_equal(image, cv2.imread(str(tmp_path / "image.jpg"))[..., ::-1])
    assert image.dtype == np.uint8
    assert image.shape == (36, 48, 3)
    assert image.flags.c_contiguous
    rgb = picture()
    if "grey" in name:
        rgb = np.repeat(rgb[..., :1], 3, axis=2)
    if "1 bit" in name:
        rgb = np.repeat(np.where(rgb[..., :1] > 99, 255, 0), 3, axis=2)
    lossy = name in ("webp", "avif") or (name.startswith("jpeg") and name != "jpeg 2000")
    assert np.abs(image.astype(int) - rgb).mean() <= (6 if lossy else 0)


def test_grey_and_low_bit_and_palette_pngs():
    grey4 = png(2, 1, 4, 0, [b"\x0f"])
    assert decode(grey4).tolist() == [[[0, 0, 0], [255, 255, 255]]]
    palette = png(4, 1, 2, 3, [b"\x1b"], png_chunk(b"PLTE", bytes([9, 8, 7, 0, 0, 255, 0, 255, 0, 255, 0, 0])))
    assert decode(palette).tolist() == [[[9, 8, 7], [0, 0, 255], [0, 255, 0], [255, 0, 0]]]


def test_16_bits_keep_the_high_byte():
    values = [0, 255, 256, 0x1234, 0xFEFF, 0xFFFF]
    row = b"".join(value.to_bytes(2, "big") for value in values)
    assert decode(png(6, 1, 16, 0, [row]))[0, :, 0].tolist() == [value >> 8 for value in values]
    colour = decode(png(2, 1, 16, 2, [row]))
    assert colour.reshape(-1).tolist() == [value >> 8 for value in values]
    tiff = encode(".tiff", np.array([values], np.uint16))
    assert np.abs(decode(tiff)[0, :, 0].astype(int) - [value >> 8 for value in values]).max() <= 1


def test_alpha_is_dropped_and_the_stored_colour_stays():
    row = bytes([10, 20, 30, 0, 40, 50, 60, 128, 70, 80, 90, 255])
    assert decode(png(3, 1, 8, 6, [row])).tolist() == [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]]
    transparent = png_chunk(b"tRNS", b"\0\x0a\0\x14\0\x1e")
    assert decode(png(1, 1, 8, 2, [bytes([10, 20, 30])], transparent)).tolist() == [[[10, 20, 30]]]


def test_cmyk_jpeg_has_the_right_colours():
    pil = pytest.importorskip("PIL.Image")
    rgb = picture()
    data = pillow(pil.fromarray(rgb).convert("CMYK"), "JPEG", quality=95)
    image = decode(data).astype(int)
    assert np.abs(image - rgb).mean() < 4
    theirs = np.asarray(pil.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(image - theirs).mean() < 2


@pytest.mark.skipif(tuple(map(int, cv2.__version__.split(".")[:2])) < (4, 11), reason="OpenCV reads GIF from 4.11 on")
def test_gif_first_frame():
    data, expected = gif(picture())
    assert np.array_equal(decode(data), expected)
    second = data[:-1] + data[13 + 3 * 128 : -1] + b";"  # the frame again
    assert np.array_equal(decode(second), expected)
    for n in range(len(data) - 1):
        assert reason(data[:n])


@pytest.mark.parametrize("shape", [(1, 1), (1, 20000), (20000, 1), (3, 2)])
def test_extreme_shapes(shape):
    rgb = picture(*shape)
    assert np.array_equal(decode(encode(".png", rgb)), rgb)
    assert decode(encode(".jpg", rgb)).shape == (*shape, 3)


def test_an_exif_choice_that_is_none_is_bad_input():
    with pytest.raises(InputError, match=r"exif.*'honor'.*honour"):
        decode(kinds()["jpeg"], exif="honor")


@pytest.mark.parametrize("name", ["with space.jpg", "grün 图像 é.jpg", "no-extension", "upper.JPEG", "lie.png"])
def test_any_name_is_read_and_the_content_decides_the_kind(tmp_path, name):
    for kind, data in kinds().items():
        (tmp_path / name).write_bytes(data)
        assert np.array_equal(read_image(tmp_path / name), decode(data)), kind
        assert np.array_equal(read_image(str(tmp_path / name)), decode(data)), kind


def test_what_cannot_be_read_is_unreadable(tmp_path):
    def why(path, **options):
        with pytest.raises(UnreadableImage) as caught:
            read_image(path, **options)
        assert caught.value.path == str(path)
        return caught.value.reason

    assert "No such file" in why(tmp_path / "missing.jpg")
    (tmp_path / "caf\xe9.jpg").touch()
    assert why(tmp_path / "cafe\u0301.jpg").endswith("; what looks the same on the disk is in Unicode's form NFC")
    assert "Is a directory" in why(tmp_path)
    assert "Not a directory" in why(__file__ + "/x.jpg")
    assert "null" in why("a\0b.jpg")
    assert "too long" in why(tmp_path / ("x" * 300))
    with (tmp_path / "huge.jpg").open("wb") as stream:
        stream.write(kinds()["jpeg"])
        stream.truncate(1 << 40)  # a sparse terabyte
    assert f"{1 << 40} bytes" in why(tmp_path / "huge.jpg")
    if os.geteuid():
        (tmp_path / "locked.jpg").write_bytes(kinds()["jpeg"])
        (tmp_path / "locked.jpg").chmod(0)
        assert "Permission denied" in why(tmp_path / "locked.jpg")
