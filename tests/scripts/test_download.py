"""data/download_webvision2018.sh against a server that breaks off, restarts, lies and disappears."""

from __future__ import annotations

import copy
import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.faulty_server import Served, serving
from tests.helpers.tar_bytes import tar_bytes
from tests.helpers.webvision import N_CLASSES, write_web
from urnet.core.checks import InputError
from urnet.data.lists.build_table import build_table, read_validation
from urnet.pipeline.recipes import load_recipe

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "data" / "download_webvision2018.sh"
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


def download(url, folder, *kinds, client="", tries=4, script=SCRIPT, **settings):
    defaults = {
        "WEBVISION_URL": url,
        **({"WEBVISION_DIR": str(folder)} if folder else {}),
        "WEBVISION_CLIENT": client,
        "WEBVISION_TRIES": str(tries),
        "WEBVISION_WAIT": "0",
        "WEBVISION_STALL": "5",
        "no_proxy": "127.0.0.1",
    }
    environment = {**os.environ, **defaults, **settings}
    return subprocess.run(["sh", str(script), *kinds], env=environment, capture_output=True, text=True, timeout=600)


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
    assert "gave up after 3 attempts that brought nothing new; 1000 of " in done.stderr.splitlines()[-1]
    assert contents(tmp_path) == {"val_images_resized.tar.part": VAL_TAR[:1000]}


@pytest.mark.parametrize(
    ("claimed", "message"),
    [
        *((size, f"{len(VAL_TAR)} of {size} bytes are here") for size in (len(VAL_TAR) + 512, len(VAL_TAR) - 512)),
        (-1, "does not tell its size"),
        (None, "val_images_resized.tar: the server returns 404 for http://127.0.0.1"),  # no reason to wait
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
    assert f"gave up after 2 attempts that brought nothing new; no response from {url}" in done.stderr


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_where_no_server_ever_answered_three_tries_are_enough_and_the_client_s_reason_is_told(tmp_path, client, scheme):
    folder = tmp_path / "not yet there"
    with serving({}) as url:  # which speaks no TLS
        address = url.replace("http:", f"{scheme}:") if scheme == "https" else "http://127.0.0.1:1"
        done = download(address, folder, client=client, tries=60)
    assert done.returncode == 1
    assert f"gave up after 3 attempts that brought nothing new; no response from {address}: " in done.stderr
    assert re.search({"http": "refused|connect", "https": "SSL"}[scheme], done.stderr.splitlines()[-1])
    assert not folder.exists()


def test_a_server_that_answered_is_waited_for(tmp_path, files, client):
    files["/val_images_resized.tar"].head_plan = ["503"] * 5
    with serving(files) as url:
        done = download(url, tmp_path, client=client, tries=6)
    assert done.returncode == 0, done.stderr


PAGE = b"<!DOCTYPE html><html><body>Maintenance</body></html>\n"
BAD_LISTS = {
    "page": (PAGE, "is a web page that begins '<!DOCTYPE html><html><body>Maintenance</body></html>', not a list"),
    "page after blanks": (
        b"\n\n  <html>\n<h1>Sign in</h1>",
        "is a web page that begins '<html>', not a list of images",
    ),
    "xml": (b"\xef\xbb\xbf<?xml version='1.0'?><Error/>", "is a web page that begins '<?xml"),
    "json": (b'{"error": "quota"}', 'is JSON that begins \'{"error": "quota"}\''),
    "compressed": (gzip.compress(LIST), "is compressed (gzip), not a list of images"),
    "text": (b"Service unavailable\n", 'has in line 1 "Service unavailable"; lines of `path label` are accepted'),
    "empty": (b"", "is empty, not a list of images"),
    "blank": (b"\n\n", "is empty"),
    "page in its middle": (LIST + PAGE, 'has in line 3 "<!DOCTYPE html>'),
    "without label": (b"val000000.jpg 3\nval000001.jpg", 'has in line 2 "val000001.jpg"; lines of `path label`'),
    "label too large": (b"val000000.jpg 5000\n", "labels from 0 to 4999"),
    "leads out": (b"../val000000.jpg 3\n", 'has in line 1 "../val000000.jpg 3"'),
    "of other images": (b"a.jpg 3\nb.jpg 4\n", "names none of the images in val/"),
    "cut": (LIST[:-1], "names 2 of the 5 images in val/, and its last line has no end: it was cut off"),
}


@pytest.mark.parametrize("fault", BAD_LISTS)
def test_what_is_no_list_is_never_kept_as_one_and_an_old_one_is_found_out(tmp_path, files, fault):
    body, message = BAD_LISTS[fault]
    files["/val_filelist.txt"].body = body
    (tmp_path / "val").mkdir()
    for name, image in IMAGES.items():
        (tmp_path / "val" / name).write_bytes(image)
    with serving(files) as url:
        done = download(url, tmp_path)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["val"]
    kept = tmp_path / "val_list.txt"
    kept.write_bytes(body)  # as an earlier version of the script did
    done = download("http://127.0.0.1:1", tmp_path)  # nobody is there, nor asked
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].endswith(f"; remove it and call again: rm '{kept}'")
    assert kept.read_bytes() == body


def test_lists_of_other_line_ends_are_lists_and_what_they_lack_is_told(tmp_path, files):
    files["/val_filelist.txt"].body = b"\xef\xbb\xbfval000000.jpg 3\r\nval000001.jpg\t0\r\n\r\nval000009.jpg 4999"
    with serving(files) as url:
        done = download(url, tmp_path)
    assert done.returncode == 1  # its last line may have been cut, as one of its images is not there
    files["/val_filelist.txt"].body += b"\r\n"
    with serving(files) as url:
        done = download(url, tmp_path)
    assert done.returncode == 0
    assert "note: val_list.txt names 1 images that are not in val/, the first is val000009.jpg" in done.stderr


def test_a_page_in_an_archive_s_place_is_not_kept(tmp_path, files, client):
    files["/val_images_resized.tar"].body = PAGE
    with serving(files) as url:
        done = download(url, tmp_path, client=client)
        assert done.returncode == 1
        told = (
            "(a web page that begins '<!DOCTYPE html><html><body>Maintenance</body></html>') is not a whole tar archive"
        )
        assert f"val_images_resized.tar {told}; nothing was kept. Open {url}/val_images" in done.stderr.splitlines()[-1]
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "val_images_resized.tar.part").write_bytes(PAGE)  # the beginning of nothing
        (tmp_path / "info.tar").write_bytes(PAGE)  # by hand
        files["/val_images_resized.tar"].body = VAL_TAR
        assert download(url, tmp_path, client=client).returncode == 0
        done = download(url, tmp_path, "info", client=client)
    assert done.returncode == 1
    assert f"info.tar {told}; nothing was unpacked" in done.stderr
    assert "info.tar stays in" in done.stderr.splitlines()[-1]
    (tmp_path / "info.tar").unlink()
    assert_validation_is_whole(tmp_path)


def test_folders_without_files_and_pages_among_the_lists_are_found_out(tmp_path, files):
    files["/info.tar"] = Served(tar_bytes({"synsets.txt": b"n0 a\n", "queries.txt": PAGE}, "info/"))
    (tmp_path / "val/more").mkdir(parents=True)
    with serving(files) as url:
        done = download(url, tmp_path, "val")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert (
            f"val/ is here, but contains no file; remove it and run this again: rm -r '{tmp_path}/val'" in done.stderr
        )
        done = download(url, tmp_path, "info")
        assert done.returncode == 1
        assert "info/queries.txt is a web page that begins" in done.stderr
        files["/val_images_resized.tar"].body = tar_bytes({})
        (tmp_path / "val/more").rmdir()
        (tmp_path / "val").rmdir()
        done = download(url, tmp_path, "val")
    assert done.returncode == 1
    assert "val_images_resized.tar holds no file; nothing was unpacked" in done.stderr


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


@pytest.fixture
def copied(tmp_path):
    """The script in a copy of its folder, so that its default is not this repository's."""
    (tmp_path / "data").mkdir()
    return [shutil.copy(ROOT / "data" / name, tmp_path / "data") for name in ("unpack.sh", SCRIPT.name)][1]


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """A WebVision folder, its number of rows, and its files by kind: info, val and images."""
    root = tmp_path_factory.mktemp("web")
    n_rows = write_web(root, 2)
    made = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.*")}
    val = {name: body for name, body in made.items() if name.startswith("val_images_resized/")}
    images = {name: body for name, body in made.items() if "_images_resized/q" in name}
    rest = made.keys() - val.keys() - images.keys()
    return n_rows, {name if name.startswith("info/") else f"info/{name}": made[name] for name in rest}, val, images


def test_training_archives_are_unpacked_one_by_one_and_the_recipes_read_them(tmp_path, copied, web, monkeypatch):
    n_rows, info, val, images = web
    names = [f"webvision_train_{i:02d}.tar" for i in range(33)]
    parts = [{name: images[name] for name in sorted(images)[i::33]} for i in range(33)]
    files = {
        **{f"/{name}": Served(tar_bytes(part)) for name, part in zip(names, parts, strict=True)},
        "/info.tar": Served(tar_bytes({name: body for name, body in info.items() if name != "info/val_filelist.txt"})),
        "/val_images_resized.tar": Served(tar_bytes(val)),
        "/val_filelist.txt": Served(info["info/val_filelist.txt"]),
    }
    late, root = files.pop(f"/{names[4]}"), tmp_path / "data/webvision2018"
    recipes = sorted(ROOT.glob("recipes/webvision2018/*.yaml"))
    assert len(recipes) == 4
    wanted = [load_recipe(recipe, [f"data.n_classes={N_CLASSES}"]).data for recipe in recipes]
    monkeypatch.chdir(tmp_path)
    for there in (tmp_path, root):  # nothing, and an empty folder
        there.mkdir(exist_ok=True)
        with pytest.raises(InputError, match=r"`sh data/download_webvision2018\.sh info train val` fills"):
            read_validation(wanted[0])
    with serving(files) as url:  # an interruption costs one archive
        assert download(url, None, "train", script=copied).returncode == 1
        assert len(list(root.glob("train/*/*/*.jpg"))) == sum(map(len, parts[:4]))
        files[f"/{names[4]}"] = late
        done = download(url, None, "info", "train", "val", script=copied, WEBVISION_KEEP="1")
    assert done.returncode == 0, done.stderr
    assert all(len(served.starts) == 1 for served in files.values())
    assert sorted(path.name for path in root.glob("webvision*.tar")) == names[4:]  # kept only when asked
    assert "data.root" not in done.stderr
    for number, data in enumerate(wanted):
        table, validation = build_table(data, tmp_path / f"{number}"), read_validation(data)
        assert table.n_rows == n_rows
        assert {Path(path).read_bytes() for path in table.paths(range(n_rows))} == set(images.values())
        assert {(Path(validation.root) / path).read_bytes() for path in validation.paths} == set(val.values())
        assert (table.column("query") > 0).all()
    # The release's commands find the same images under its names.
    assert contents(tmp_path / "data/val") == contents(root / "val")
    assert (tmp_path / "data/val_list.txt").read_bytes() == info["info/val_filelist.txt"]


def test_a_call_goes_on_where_an_earlier_one_wrote(tmp_path, files, copied):
    (tmp_path / "data/val_images_resized.tar.part").write_bytes(VAL_TAR[:7000])
    with serving(files) as url:
        done = download(url, None, script=copied)
    assert done.returncode == 0, done.stderr
    assert files["/val_images_resized.tar"].starts == [7000]
    said = f"continuing in {tmp_path}/data, where an earlier call left val_images_resized.tar.part"
    assert f"{said}; give recipes -o data.root={tmp_path}/data" in done.stderr.splitlines()[0]
    assert contents(tmp_path / "data/val") == IMAGES
    assert not (tmp_path / "data/webvision2018").exists()


def test_info_and_test(tmp_path):
    files = {
        "/info.tar": Served(tar_bytes({"synsets.txt": b"n0 a\n", "queries.txt": b"q\n"}, "info/")),
        "/test_images_resized.tar": Served(tar_bytes({"t1.jpg": b"1", "t2.jpg": b"2"})),
        "/test_filelist.txt": Served(b"t1.jpg\nt2.jpg\n"),
    }
    with serving(files) as url:
        done = download(url, tmp_path, "info", "test")
    assert done.returncode == 0
    assert contents(tmp_path / "info") == {"synsets.txt": b"n0 a\n", "queries.txt": b"q\n"}
    assert contents(tmp_path / "test") == {"t1.jpg": b"1", "t2.jpg": b"2"}
    assert (tmp_path / "test_list.txt").read_bytes() == b"t1.jpg\nt2.jpg\n"
    assert done.stderr.endswith(
        f"the recipes read data/webvision2018; for this folder give -o data.root='{tmp_path}'\n"
    )


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
        (["val"], {"WEBVISION_TRIES": "0"}, "whole numbers above 0; found '0'"),
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
