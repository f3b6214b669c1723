"""Which files of a folder are images, which are named as unreadable, and which are nobody's."""

import os

import pytest

from tests.helpers.picture_files import kinds
from urnet.core.checks import InputError
from urnet.data.lists.class_tree import labelled_folders, sub_folders
from urnet.data.lists.folders import images_under

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
HTML = b"<!DOCTYPE html><html>"


def write(root, files):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


@pytest.mark.parametrize("suffix", ["jfif", "JPE", "mpo", "avif", "jp2", "pnm", "pbm", "apng", "dib", "TIF"])
def test_the_suffix_of_a_picture_is_enough(tmp_path, suffix):
    write(tmp_path, {f"x.{suffix}": b"?"})
    assert list(images_under(tmp_path).paths) == [f"x.{suffix}"]


def test_the_content_decides_where_the_suffix_says_nothing(tmp_path, capsys):
    names = [
        "photo",
        "x.jpg?w=300",
        "x.jpg_large",
        "x.jpg:large",
        "get.php?id=7",
        "1.5",
        "x.webp!d",
        "lies.heic",
        "no.",
    ]
    pictures = dict(zip(names, list(kinds().values()) * 2, strict=False))
    others = {"page": HTML, "note": b"text", "x.jpg.json": b"{}", "x.jpg_original": kinds()["jpeg"], "empty": b""}
    write(tmp_path, {**pictures, **others, "x.txt": kinds()["jpeg"], "half.jpg.part": kinds()["jpeg"]})
    (tmp_path / "gone").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / ".pipe")
    (tmp_path / "to a pipe").symlink_to(".pipe")
    assert list(images_under(tmp_path).paths) == sorted(pictures)
    assert f"note: {tmp_path}: 9 files are not images: empty …\n" == capsys.readouterr().err


def test_pictures_that_cannot_be_read_are_named(tmp_path, capsys):
    tiff = kinds()["tiff"]
    write(
        tmp_path,
        {"b.heic": HEIC, "a/b": HEIC, "c.svg": b"<svg>", "d.NEF": tiff, "e.dng": kinds()["jpeg"], "f.dng": HTML},
    )
    assert list(images_under(tmp_path).paths) == ["e.dng"]
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"note: {tmp_path}: 1 file is not an image: f.dng"
    kinds_said = "1 x a camera's raw picture (d.NEF …), 2 x an HEIC picture (a/b …), 1 x an SVG drawing (c.svg …)"
    assert said[1] == f"note: {tmp_path}: left out, since it cannot be read: {kinds_said}; convert it to JPEG"
    (tmp_path / "e.dng").unlink()
    with pytest.raises(InputError, match=r"has no image below it, only what cannot be read: .*2 x an HEIC picture"):
        images_under(tmp_path)


LITTER = ["__MACOSX", "@eaDir", ".ipynb_checkpoints", "$RECYCLE.BIN", "lost+found", ".git", "System Volume Information"]


def test_what_systems_leave_behind_is_left_out_everywhere(tmp_path, capsys):
    jpeg = kinds()["jpeg"]
    write(tmp_path, {f"ant/{name}/x.jpg": jpeg for name in LITTER})
    write(tmp_path, {f"{name}/x.jpg": jpeg for name in LITTER})
    names = ("Thumbs.db", "thumbs.db", "desktop.ini", ".DS_Store", "._x.jpg", "ehthumbs.db", "Icon\r")
    write(tmp_path, {place + name: jpeg for name in names for place in ("", "ant/")})
    write(tmp_path, {"ant/x.jpg": jpeg})
    assert sub_folders(tmp_path) == ["ant"]
    assert list(images_under(tmp_path).paths) == ["ant/x.jpg"]
    assert list(labelled_folders(tmp_path, ["ant"], "class").paths) == ["ant/x.jpg"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["x.avif", "photo"])
def test_an_image_beside_the_class_folders_has_no_class(tmp_path, name):
    write(tmp_path, {"ant/x.jpg": b"?", name: kinds()["png"], "notes": b"text"})
    with pytest.raises(InputError, match=rf"image '{name}' is in no sub-folder"):
        labelled_folders(tmp_path, ["ant"], "class")
