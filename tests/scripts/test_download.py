"""data/download_webvision2018.sh against a server that breaks off, restarts, lies and disappears."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.faulty_server import Served, serving
from tests.helpers.tar_bytes import tar_bytes

SCRIPT = Path(__file__).parents[2] / "data" / "download_webvision2018.sh"
IMAGES = {f"val{i:06d}.jpg": np.random.default_rng(i).bytes(4000 + i) for i in range(5)}
LIST = b"val000000.jpg 3\nval000001.jpg 0\n"


VAL_TAR = tar_bytes(IMAGES, "val_images_resized/")


@pytest.fixture(params=["curl", "wget"])
def client(request):
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture
def files():
    return {"/val_images_resized.tar": Served(VAL_TAR), "/val_filelist.txt": Served(LIST)}


def download(url, folder, *kinds, client="", tries=4, **settings):
    defaults = {
        "WEBVISION_URL": url,
        "WEBVISION_DIR": str(folder),
        "WEBVISION_CLIENT": client,
        "WEBVISION_TRIES": str(tries),
        "WEBVISION_WAIT": "0",
        "WEBVISION_STALL": "5",
        "no_proxy": "127.0.0.1",
    }
    environment = {**os.environ, **defaults, **settings}
    return subprocess.run(["sh", str(SCRIPT), *kinds], env=environment, capture_output=True, text=True, timeout=60)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_validation_is_whole(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["val", "val_list.txt"]
    assert contents(folder / "val") == IMAGES
    assert (folder / "val_list.txt").read_bytes() == LIST


def test_without_arguments_the_validation_set_lands_under_the_release_names(tmp_path, files, client):
    folder = tmp_path / "a folder with spaces"
    with serving(files) as url:
        done = download(url, folder, client=client)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert_validation_is_whole(folder)


def test_broken_transfers_go_on_where_they_stopped(tmp_path, files, client):
    tar = files["/val_images_resized.tar"]
    tar.plan = [1000, "503", 0, 2000]
    tar.head_plan = ["503", "500"]
    with serving(files) as url:
        done = download(url, tmp_path, client=client, tries=3)
    assert done.returncode == 0, done.stderr
    assert_validation_is_whole(tmp_path)
    assert [start or 0 for start in tar.starts] == [0, 1000, 1000, 1000, 3000]
    assert "the server is not ready (status 503); trying again in 0 s" in done.stderr


@pytest.mark.parametrize(
    ("served", "there", "starts"),
    [
        ({"plan": [-1]}, None, [None, 1]),  # it falls silent
        ({}, VAL_TAR[:7000], [7000]),  # a part of an earlier call is used
        ({}, b"x" * (len(VAL_TAR) + 1), None),  # a part longer than the file is dropped
        ({"ranges": False, "plan": [5000]}, None, None),  # it ignores ranges
    ],
)
def test_odd_servers_and_parts_of_earlier_calls(tmp_path, files, client, served, there, starts):
    tar = files["/val_images_resized.tar"]
    for name, value in served.items():
        setattr(tar, name, copy.copy(value))  # a plan is used up
    if there is not None:
        (tmp_path / "val_images_resized.tar.part").write_bytes(there)
    with serving(files) as url:
        done = download(url, tmp_path, client=client, WEBVISION_STALL="1")
    assert done.returncode == 0, done.stderr
    assert starts is None or tar.starts == starts
    assert_validation_is_whole(tmp_path)


def test_it_gives_up_after_attempts_that_brought_nothing(tmp_path, files, client):
    files["/val_images_resized.tar"].plan = [1000] + [0] * 99
    with serving(files) as url:
        done = download(url, tmp_path, client=client, tries=3)
    assert done.returncode == 1
    assert len(files["/val_images_resized.tar"].starts) == 1 + 3
    assert "given up after 3 attempts that brought nothing new; 1000 of " in done.stderr.splitlines()[-1]
    assert contents(tmp_path) == {"val_images_resized.tar.part": VAL_TAR[:1000]}


@pytest.mark.parametrize(
    ("claimed", "message"),
    [
        *((size, f"{len(VAL_TAR)} of {size} bytes are here") for size in (len(VAL_TAR) + 512, len(VAL_TAR) - 512)),
        (-1, "does not tell its size"),
        (None, "val_images_resized.tar: the server answers 404 to http://127.0.0.1"),  # no reason to wait
    ],
)
def test_a_size_that_is_not_the_claimed_one_is_refused(tmp_path, files, client, claimed, message):
    files["/val_images_resized.tar"].claimed = claimed
    if claimed is None:
        del files["/val_images_resized.tar"]
    wait = "100" if claimed is None else "0"
    with serving(files) as url:
        done = download(url, tmp_path, client=client, tries=2, WEBVISION_WAIT=wait)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "val").exists()


def test_a_server_that_is_away(tmp_path, client):
    with serving({}) as url:
        pass
    done = download(url, tmp_path, client=client, tries=2)
    assert done.returncode == 1
    assert f"given up after 2 attempts that brought nothing new; no answer from {url}" in done.stderr


@pytest.mark.parametrize("cut", [512, 1024, 3000, 10240])
def test_an_archive_that_is_cut_on_the_server_is_not_unpacked(tmp_path, files, cut):
    files["/val_images_resized.tar"].body = VAL_TAR.rstrip(b"\0")[:-cut]
    with serving(files) as url:
        done = download(url, tmp_path)
    assert done.returncode == 1
    assert "val_images_resized.tar is not a whole tar archive; nothing was unpacked" in done.stderr
    assert not (tmp_path / "val").exists()


def test_what_is_complete_is_not_asked_for_again(tmp_path, files):
    with serving(files) as url:
        assert download(url, tmp_path).returncode == 0
    before = contents(tmp_path / "val")
    assert download("http://127.0.0.1:1", tmp_path, tries=1).returncode == 0  # nobody is there
    assert contents(tmp_path / "val") == before
    (tmp_path / "val_list.txt").unlink()
    with serving(files) as url:
        assert download(url, tmp_path).returncode == 0
    assert len(files["/val_images_resized.tar"].starts) == 1
    assert_validation_is_whole(tmp_path)


def test_training_archives_are_unpacked_one_by_one_and_an_interruption_costs_one(tmp_path):
    names = [f"webvision_train_{i:02d}.tar" for i in range(33)]
    files = {f"/{name}": Served(tar_bytes({f"google/{name}.jpg": name.encode()})) for name in names}
    late = files.pop(f"/{names[4]}")
    with serving(files) as url:
        assert download(url, tmp_path, "train").returncode == 1
        assert len(list(tmp_path.glob("train/google/*.jpg"))) == 4
        files[f"/{names[4]}"] = late
        done = download(url, tmp_path, "train", WEBVISION_KEEP="1")
    assert done.returncode == 0, done.stderr
    assert {path.read_bytes().decode() for path in tmp_path.glob("train/google/*.jpg")} == set(names)
    assert all(len(served.starts) == 1 for served in files.values())
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == names[4:]  # kept only when asked


def test_info_and_test(tmp_path):
    files = {
        "/info.tar": Served(tar_bytes({"synsets.txt": b"n0 a\n", "queries.txt": b"q\n"}, "info/")),
        "/test_images_resized.tar": Served(tar_bytes({"t1.jpg": b"1", "t2.jpg": b"2"})),
        "/test_filelist.txt": Served(b"t1.jpg\nt2.jpg\n"),
    }
    with serving(files) as url:
        assert download(url, tmp_path, "info", "test").returncode == 0
    assert contents(tmp_path / "info") == {"synsets.txt": b"n0 a\n", "queries.txt": b"q\n"}
    assert contents(tmp_path / "test") == {"t1.jpg": b"1", "t2.jpg": b"2"}
    assert (tmp_path / "test_list.txt").read_bytes() == b"t1.jpg\nt2.jpg\n"


def test_a_full_disk_shows_before_the_transfer(tmp_path, files):
    fake = tmp_path / "bin" / "df"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nprintf 'Filesystem\\nx 100 90 10 90%% /\\n'\n")
    fake.chmod(0o755)
    with serving(files) as url:
        done = download(url, tmp_path / "d", PATH=f"{fake.parent}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "has 0 MiB free" in done.stderr.splitlines()[-1]
    assert files["/val_images_resized.tar"].starts == []


@pytest.mark.parametrize(
    ("kinds", "settings", "message"),
    [
        (["vall"], {}, "found 'vall'; val, train, info, test, all or --help is accepted"),
        (["val"], {"WEBVISION_TRIES": "0"}, "whole numbers above 0, found '0'"),
        (["val"], {"WEBVISION_WAIT": "soon"}, "found 'soon'"),
        (["val"], {"WEBVISION_CLIENT": "ftp"}, "curl or wget is accepted"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(tmp_path, kinds, settings, message):
    environment = {**os.environ, "WEBVISION_DIR": str(tmp_path / "d"), **settings}
    done = subprocess.run(["sh", str(SCRIPT), *kinds], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "d").exists()


def test_help_needs_nothing(tmp_path):
    done = subprocess.run(["sh", str(SCRIPT), "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert "WEBVISION_WAIT" in done.stdout
