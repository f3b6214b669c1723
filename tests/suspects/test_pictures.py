"""What is made of a picture's file: the view, hashes, and JPEG decoded at a part of its size."""

import hashlib

import cv2
import numpy as np
import pytest

from tests.helpers.judged_pictures import picture, write
from tests.helpers.picture_files import encode
from urnet.config.recipe import Transform
from urnet.data.images.decode import decode
from urnet.data.images.header import read_header
from urnet.data.images.transforms import eval_transform
from urnet.data.kept.pictures import PictureSource, reduction
from urnet.data.loading.loader import Loader

VIEW = Transform(size=32, eval="short", resize_short=36)


def source(paths, transform=VIEW):
    return PictureSource([str(path) for path in paths], transform, exif="honour", max_pixels=10**8)


def test_a_row_of_bytes_holds_view_and_hashes(tmp_path):
    path = write(tmp_path / "a.png", picture("red", 1))
    made = source([path])
    row, why = made.view(str(path), 0, 0)
    views, about = made.split(np.stack([row, row]))
    assert why == "" and views.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(views[1], eval_transform(decode(path.read_bytes()), VIEW))
    assert about["content"][0].tobytes() == hashlib.sha256(path.read_bytes()).digest()
    assert about["pixels"][0] == 48 * 64 and about["thumbnail"].shape == (2, 64, 64) and about["hash"][0] != 0


@pytest.mark.parametrize("workers", [0, 1])
def test_worker_processes_make_the_same(tmp_path, workers):
    paths = [write(tmp_path / f"{i}.png", picture("blue", i)) for i in range(5)]
    paths.append(tmp_path / "gone.png")
    made = source(paths)
    loader = Loader(made, [(0, np.arange(4)), (0, np.arange(4, 6))], workers=workers)
    batches = list(loader)
    assert [batch.readable.tolist() for batch in batches] == [[True] * 4, [True, False]]
    for batch in batches:
        for row, image in zip(batch.rows[batch.readable], batch.images[batch.readable], strict=True):
            np.testing.assert_array_equal(image, made.view(str(paths[row]), 0, 0)[0])
    assert loader.bad[5][0] == str(paths[5])


def test_large_jpegs_are_decoded_smaller_and_look_the_same(tmp_path):
    large = cv2.resize(picture("green", 3), (1200, 900), interpolation=cv2.INTER_CUBIC)
    data = encode(".jpg", large)
    path = tmp_path / "large.jpg"
    path.write_bytes(data)
    assert reduction(read_header(data), VIEW) == 8
    assert reduction(read_header(data), Transform(size=224, eval="short")) == 2
    assert reduction(read_header(data), Transform(size=512)) == 1
    assert reduction(read_header(encode(".png", large)), VIEW) == 1
    made = source([path])
    view = made.split(made.view(str(path), 0, 0)[0][None]).views[0]
    assert np.abs(view.astype(int) - eval_transform(decode(data), VIEW)).mean() < 3
