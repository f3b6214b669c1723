"""Image files as the web has them: each is read right or reported by path; no hang, no leak, no swap.

Kinds, cuts, bombs and orientations one by one are in test_images.py and test_image_header.py, the programs in
test_hostile_run.py.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.hostile_files import (
    chunk_claim,
    not_images,
    odd_but_good,
    scan_bomb,
    strip_bomb,
    write,
    write_what_has_no_bytes,
)
from tests.helpers.picture_files import encode, kinds, picture, reason
from urnet.config.recipe import Transform
from urnet.data.images import header
from urnet.data.images.decode import UnreadableImage, decode, read_image
from urnet.data.images.transforms import eval_transform
from urnet.data.lists.folders import images_under
from urnet.data.loading.loader import ImageSource, Loader

ROOT = Path(__file__).parents[2]
TRANSFORM = Transform(size=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All the files, good and bad; and name as listed -> why it is unreadable, for the bad ones."""
    folder = tmp_path_factory.mktemp("web")
    bad = not_images()
    write(folder, {**odd_but_good(), **bad})
    return folder, {**dict.fromkeys(bad, ""), **write_what_has_no_bytes(folder)}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("train", [False, True])
def test_every_file_is_read_or_reported_by_path_and_none_stands_for_another(folder, workers, train):
    root, bad = folder
    images = images_under(root)
    assert set(images.paths) == set(odd_but_good()) | set(bad)
    source = ImageSource(images.path, TRANSFORM, train=train, seed=3)
    rows = np.random.default_rng(0).permutation(len(images))
    loader = Loader(source, [(7, rows[:50]), (7, rows[50:])], workers=workers)
    for batch in loader:
        for row, image, readable in zip(batch.rows.tolist(), batch.images, batch.readable, strict=True):
            name = images.name(row)
            assert readable == (name not in bad), name
            if not readable:
                assert not image.any()
                path, why = loader.bad[row]
                assert path == f"{root}/{name}" and bad[name] in why and why and "\n" not in why
            elif train:
                assert np.array_equal(image, source(row, 7)[0]), name
            else:
                assert np.array_equal(image, eval_transform(decode(odd_but_good()[name]), TRANSFORM)), name
    assert len(loader.bad) == len(bad)


def test_two_thousand_bad_files_leave_memory_and_handles_as_they_were(folder):
    root, bad = folder

    def read(n):
        for i in range(n):
            with pytest.raises(UnreadableImage):
                read_image(root / names[i % len(names)])

    names = sorted(bad)
    read(400)  # what libraries keep for good
    handles, before = open_handles(), resident_mib()
    read(2000)
    assert open_handles() == handles
    assert resident_mib() - before < 4


def open_handles() -> int:
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0  # noqa: PTH208


def resident_mib() -> float:
    """Memory in use now; 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * resource.getpagesize() / (1 << 20) if statm.exists() else 0.0


@pytest.mark.parametrize("length", [0x10000000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_png_chunk_that_claims_gigabytes_takes_no_memory(length):
    """OpenCV reserves what the length says, and writes zeros there, before it looks for the bytes."""
    assert decode(chunk_claim(2)[:33] + chunk_claim(2)[43:]).tolist() == [[[9, 9, 9]]]  # good without the chunk
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "cut off" in reason(chunk_claim(length))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 50_000


def test_a_jpeg_of_thousands_of_scans_is_refused_and_a_usual_one_is_not():
    """Each scan is a pass over all pixels: a file of 3 MB could keep a processor busy for an hour."""
    assert decode(scan_bomb(400)).shape == (16, 16, 3)
    assert "scans; at most 500 are accepted" in reason(scan_bomb(501))
    thumbnails = kinds()["jpeg progressive"] + b"\xff\xda" * 400  # behind the end, where they mean nothing
    assert decode(thumbnails).shape == (36, 48, 3)


def test_a_tiff_that_lists_its_strips_over_and_over_costs_no_time(monkeypatch):
    """Of a list that comes a thousand times one is read, of one that is too long none."""
    unpack, read = header.struct.unpack_from, []

    def counted(code, *place):
        values = unpack(code, *place)
        read.append(len(values))
        return values

    monkeypatch.setattr(header.struct, "unpack_from", counted)
    for data, most in ((strip_bomb(), 2), (strip_bomb(3, 70_000), 0)):
        read.clear()
        assert reason(data)
        assert sum(n > 1000 for n in read) <= most
    assert reason(b"II+\0\x08\0\0\0" + b"\xff" * 24)  # an offset of 64 bits


def test_a_pipe_or_device_in_an_images_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from urnet.data.images.decode import UnreadableImage, read_image\n"
        "for path in sys.argv[2:]:\n"
        "    try: read_image(path)\n"
        "    except UnreadableImage as error: print(error.reason)\n"
    )
    paths = [str(tmp_path / name) for name in ("pipe.jpg", "zero.jpg")]
    done = subprocess.run([sys.executable, "-c", code, str(ROOT), *paths], capture_output=True, text=True, timeout=120)
    assert done.stdout == "is a pipe or a device, not a file\n" * 2, done.stderr


def test_a_decoded_image_never_shows_memory_that_nobody_wrote():
    """A JPEG that lacks bytes in its middle is read with grey in their place, the same each time."""
    rng = np.random.default_rng(5)
    data = encode(".jpg", picture(64, 80))
    for _ in range(200):
        broken = bytearray(data)
        at = int(rng.integers(700, len(data) - 40))
        del broken[at : at + 30]
        try:
            first = decode(bytes(broken))
        except UnreadableImage:
            continue
        np.full(first.size, rng.integers(256), np.uint8)  # what the next image's memory held before
        assert np.array_equal(first, decode(bytes(broken)))
