"""Exported folders are read as they were written, or refused in a line."""

from __future__ import annotations

import json
import re
import shutil

import cv2
import numpy as np
import pytest

from tests.helpers.serve import exported_toys
from urnet.core.checks import InputError
from urnet.data.images.decode import UnreadableImage
from urnet.inference.exported_predictor import Exported
from urnet.inference.signature import read_signature


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return exported_toys(tmp_path_factory.mktemp("export"))


def changed(folder, place, **keys):
    shutil.copytree(folder, place)
    tree = json.loads((folder / "signature.json").read_text())
    tree.update(keys)
    (place / "signature.json").write_text(json.dumps(tree))
    return place


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"input": {}}, "input.shape.2: found null"),
        ({"input": {"shape": [1, 32, 1 << 40, 3]}}, "size 1099511627776"),
        ({"output": {"shape": ["batch", True]}}, "output.shape.1: found true"),
        ({"output": {"shape": ["batch", 8]}}, "class_names has 7 names, but the model has 8"),
        ({"resize": "crop"}, 'resize: found "crop"; accepted: straight, short'),
        ({"resize_short_size": 31}, "size 32, resize_short_size 31"),
        ({"exif": None}, "exif: found null"),
        ({"class_names": [1] * 7}, "class_names: found [1, 1"),
        ({"files": {"../../etc/passwd": "0"}}, "files: found"),
        ({"files": {"gone.bin": "0"}}, "gone.bin: cannot be read"),
    ],
)
def test_a_signature_that_contradicts_itself_is_refused(exported, tmp_path, keys, said):
    with pytest.raises(InputError) as caught:
        read_signature(changed(exported[1], tmp_path / "x", **keys))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_that_was_not_copied_whole_is_refused(exported, tmp_path):
    _, folder = exported
    for name in ("model.pdiparams", "model.json", "classes.txt"):
        place = shutil.copytree(folder, tmp_path / name)
        data = (place / name).read_bytes()
        (place / name).write_bytes(data[:-1])
        with pytest.raises(InputError, match=re.escape(f"{place / name}: is not the file that was exported")):
            read_signature(place)
    for text, said in (("", "is not JSON"), ("[]", "a JSON object"), ("[" * 100_000, "is not JSON")):
        (place / "signature.json").write_text(text)
        with pytest.raises(InputError, match=said):
            read_signature(place)
    with pytest.raises(InputError, match=r"a folder that tools/export\.py"):
        read_signature(tmp_path / "gone")


def test_an_image_is_prepared_within_its_limits(exported):
    signature = read_signature(exported[1])
    data = cv2.imencode(".png", np.zeros((100, 101, 3), np.uint8))[1].tobytes()
    with pytest.raises(UnreadableImage, match="at most 10000 are accepted"):
        signature.prepare(data, max_pixels=10_000)


def test_a_batch_is_padded_and_its_size_checked(exported):
    toys, folder = exported
    model = Exported(folder, batch_size=3, threads=1)
    images = np.stack([model.signature.prepare((toys.images / name).read_bytes()) for name in toys.names[:4]])
    for n in (1, 2, 3):
        assert model.probabilities(images[:n]) == pytest.approx(toys.expected[:n], abs=1e-4)
    with pytest.raises(InputError, match=r"found 4 in a batch; 1\.\.3 are accepted"):
        model.probabilities(images)
    with pytest.raises(InputError, match="--batch_size: found 0"):
        Exported(folder, batch_size=0)
