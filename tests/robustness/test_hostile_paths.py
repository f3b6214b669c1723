"""Lists, metadata and archives of others make no read and no write outside the folders they were given."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from data import imagenet_devkit
from tests.helpers.webvision import write_lists
from urnet.config.recipe import Data
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.data.lists.build_table import build_table, images_under, read_image_list, read_validation

QUERIES = {1: 0, 2: 1, 3: 2}
ENGINES = ("google", "flickr")
LEAVING = ("../secret.jpg", "a/../../secret.jpg", "/etc/hostname", "..", "a/..", "./../x.jpg", "a//../../x.jpg")


@pytest.fixture
def opened(monkeypatch):
    """The places that Python opens or lists from now on."""
    places: list[str] = []
    watching = {"open", "os.listdir", "os.scandir"}

    def watch(event, args):
        if (
            watching
            and event in ("open", "os.listdir", "os.scandir")
            and isinstance(args[0], (str, bytes, os.PathLike))
        ):
            places.append(os.fsdecode(args[0]))

    sys.addaudithook(watch)  # which cannot be taken back
    yield places
    watching.clear()


def first(folder: Path, name: str, line: str) -> Path:
    """Put a line before all others of a list."""
    file = folder / name
    file.write_text(line + "\n" + (file.read_text() if file.is_file() else ""))
    return file


@pytest.mark.parametrize("path", LEAVING)
def test_every_list_of_images_is_held_to_its_root(tmp_path, path, opened):
    """Training and validation lists of both plain formats; what infer.py and eval.py are given."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (root / "good.jpg").write_bytes(b"x")
    file = first(root, "list.txt", f"good.jpg 0\n{path} 0")
    opened.clear()
    for form in ("list", "imagenet"):
        data = Data(root=str(root), format=form, train_list=str(file), val_list=str(file), n_classes=1)
        with pytest.raises(InputError, match=r"list\.txt:2: path .* leaves its folder"):
            build_table(data, tmp_path / "table")
        with pytest.raises(InputError, match=r"list\.txt:2: path .* leaves its folder"):
            read_validation(data)
    for options in ({}, {"need_labels": True}, {"check_exists": True}):
        with pytest.raises(InputError, match=r"list\.txt:2: path .* leaves its folder"):
            read_image_list(file, root, **options)
    assert not (tmp_path / "table").exists() or not any((tmp_path / "table").iterdir())
    assert str(file) in opened
    assert not {str(tmp_path / "secret.jpg"), "/etc/hostname"} & set(opened)


@pytest.mark.parametrize(
    "name", ["val_filelist.txt", *(f"train_{kind}_{e}.txt" for kind in ("filelist", "meta_list") for e in ENGINES)]
)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("up", ["..", "a/../.."])
def test_every_list_of_webvision_is_held_to_its_root(tmp_path, version, name, up, opened):
    """Where metadata of the right names lie outside, too: they are never looked at."""
    root = tmp_path / "web"
    write_lists(root, version, QUERIES)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "q0001.json").write_text(json.dumps([{"id": "stolen", "title": "secret"}]))
    number = "1" if "meta" in name else "0"
    first(root / "info", name, f"{up}/outside/q0001.{'json' if 'meta' in name else 'jpg'} {number}")
    data = Data(root=str(root), format=f"webvision{version}", n_classes=3)
    opened.clear()
    with pytest.raises(InputError, match=rf"{name}:1: path .* leaves its folder"):
        if name.startswith("val"):
            read_validation(data)
        else:
            build_table(data, tmp_path / "table")
    assert str(root / "info" / name) in opened
    assert not [place for place in opened if place.startswith(str(outside))]


@pytest.mark.parametrize("query", ["²", "٣", "1" * 5000, "-1", "+1", "1_0"])
def test_a_query_that_only_looks_like_a_number_is_refused(tmp_path, query):
    write_lists(tmp_path, 2, QUERIES)
    first(tmp_path / "info", "queries_synsets_map.txt", f"{query} 0")
    with pytest.raises(InputError, match=r"queries_synsets_map\.txt:1: query .* is accepted once, as a number"):
        build_table(Data(root=str(tmp_path), format="webvision2", n_classes=3), tmp_path / "table")


def test_links_that_the_owner_made_are_followed_wherever_they_lead(tmp_path):
    """Data sets are often spread over disks by links. No archive of others can make one that leads out."""
    (tmp_path / "disk/a").mkdir(parents=True)
    (tmp_path / "disk/a/x.jpg").write_bytes(b"x")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path / "disk")
    (tmp_path / "list.txt").write_text("link/a/x.jpg 0\n")
    assert list(images_under(tmp_path / "root").paths) == ["link/a/x.jpg"]
    assert len(read_image_list(tmp_path / "list.txt", tmp_path / "root", check_exists=True)) == 1


def test_a_list_cannot_name_a_file_with_a_line_break_and_a_folder_scan_can(tmp_path):
    """The name falls into two lines: the first has no label, or names no file."""
    (tmp_path / "new\nline.jpg").write_bytes(b"x")
    (tmp_path / ".list.txt").write_text("new\nline.jpg 0\n")
    with pytest.raises(InputError, match=r"list\.txt:1: found 'new' without a label"):
        read_image_list(tmp_path / ".list.txt", tmp_path, need_labels=True)
    with pytest.raises(InputError, match=r"list\.txt:1: .*/new does not exist \(2 of 2 listed images are missing"):
        read_image_list(tmp_path / ".list.txt", tmp_path, check_exists=True)
    assert list(images_under(tmp_path).paths) == ["new\nline.jpg"]


@pytest.mark.parametrize("name", ["new\nline", "carriage\rreturn", "caf\udce9"])
def test_a_class_folder_whose_name_is_no_line_of_text_is_refused_at_once(tmp_path, name):
    """Class names are lines of classes.txt."""
    for label in ("good", name):
        try:
            (tmp_path / label).mkdir()
        except OSError:
            pytest.skip("this file system takes UTF-8 names only")
        (tmp_path / label / "x.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="a class's name is one line of UTF-8 text"):
        build_table(Data(root=str(tmp_path), format="folder", n_classes=2), tmp_path / "table")


def test_folders_a_thousand_deep_are_read(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(1200):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(os.open("x.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        assert list(images_under(tmp_path).paths) == ["d/" * 1200 + "x.jpg"]
    finally:
        os.close(here)
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # Python's own rmtree cannot


def write_kit(path: Path, **contents: bytes) -> Path:
    """A development kit with these contents of its two files; a member with `..` in its path comes first."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (
            ("../../../outside/data/x", b"x"),
            ("kit/data/meta.mat", contents.get("meta", b"")),
            ("kit/data/ILSVRC2012_validation_ground_truth.txt", contents.get("truth", b"1\n")),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({"meta": b"no matlab file"}, "holds no struct array `synsets`"),
        ({"meta": b""}, "holds no struct array `synsets`"),
        ({"meta": b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"\xff" * 64}, "holds no struct array"),
        ({"truth": b"\xff\xfe1\n"}, "is not text; a number per line is accepted"),
        ({"truth": bytes(20 << 20)}, "20971520 bytes; 16777216 are accepted"),
    ],
)
def test_a_hostile_development_kit_is_refused_in_one_line_and_writes_nothing(tmp_path, capsys, contents, words):
    """It is read in memory, member by member; nothing of it is unpacked."""
    kit = write_kit(tmp_path / "kit.tar.gz", **contents)
    code = cli.run(imagenet_devkit.main, [str(kit)])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert [path.name for path in tmp_path.iterdir()] == ["kit.tar.gz"]
    assert not (tmp_path.parent / "outside").exists()


def test_a_kit_cut_anywhere_is_refused_in_one_line(tmp_path):
    whole = write_kit(tmp_path / "kit.tar.gz", meta=os.urandom(500)).read_bytes()
    for n in range(0, len(whole), 7):
        (tmp_path / "kit.tar.gz").write_bytes(whole[:n])
        with pytest.raises(InputError, match=r"kit\.tar\.gz|meta\.mat"):
            imagenet_devkit.validation_synsets(tmp_path / "kit.tar.gz")
