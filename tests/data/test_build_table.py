"""Lists and folders: every format, every kind of line and of bad line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.webvision import write_lists
from urnet.config.recipe import Data
from urnet.core.checks import InputError
from urnet.data.lists.build_table import (
    build_table,
    images_under,
    open_or_build,
    read_class_names,
    read_image_list,
    read_validation,
)
from urnet.data.lists.lines import read_lines
from urnet.data.lists.missing import check_some_there

# ------------------------------------------------------------------ lines


def all_lines(file: Path, **options: Any) -> list[tuple[str, int, int]]:
    return [
        line
        for block in read_lines(file, **options)
        for line in zip(block.path.to_pylist(), block.number.tolist(), block.line.tolist(), strict=True)
    ]


GOOD = [  # a line, its path and its number; None: no line of the list
    ("# comment 3", None),
    (" \t", None),
    ("a.jpg 3", ("a.jpg", 3)),
    ("dir/é.png  0", ("dir/é.png", 0)),
    ("with  two blanks.jpg\t12", ("with  two blanks.jpg", 12)),
    ("n 12 x 49\t ", ("n 12 x", 49)),
    ("日本/語 007", ("日本/語", 7)),
    ("q#1 1", ("q#1", 1)),
    ("7 7", ("7", 7)),
]
BARE = [("photo", ("photo", -1)), ("a-1 -1", ("a-1", -1)), ("b 3x", ("b 3x", -1)), ("c -", ("c -", -1))]


@pytest.mark.parametrize("needed", [True, False])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("block_bytes", [1, 7, 64, 1 << 20])
def test_lines_are_read_in_blocks_of_any_size(tmp_path, needed, end, block_bytes):
    """The first bad line is named by its number in the whole file."""
    lines = GOOD if needed else GOOD + BARE
    expected = [(*found, number) for number, (_, found) in enumerate(lines, 1) if found]
    text, options = end.join(line for line, _ in lines), {"needed": needed, "high": 49, "block_bytes": block_bytes}
    file = tmp_path / "list.txt"
    for data in (text, "\ufeff" + text + end):
        file.write_bytes(data.encode())
        assert all_lines(file, **options) == expected
        for bad in ("x 50", *(("x 12345678901", "x") if needed else ("x -2",))):
            file.write_bytes(f"{data.removesuffix(end)}{end}{bad}{end}a 99{end}".encode())
            with pytest.raises(InputError, match=rf"list\.txt:{len(lines) + 1}: "):
                all_lines(file, **options)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (b"a 1\nb\n", {}, "LIST:2: found 'b' without a label; accepted: `path label`"),
        (b"a 1\nb c\n", {}, "LIST:2: label 'c' is not an integer; accepted: `path label`, an integer from 0"),
        (b"a 1\n\nb 5\n", {"high": 4}, "LIST:3: label 5 is outside; accepted: 0..4"),
        (b"a -1\n", {"high": 4}, "LIST:1: label -1 is outside; accepted: 0..4"),
        (b"a -2\n", {"high": 4, "needed": False}, "LIST:1: label -2 is outside; accepted: 0..4"),
        (b"a 2147483648\n", {}, "LIST:1: label 2147483648 is outside; accepted: an integer from 0"),
        (b"a 1\nb 0\n", {"low": 1, "what": "row"}, "LIST:2: row 0 is outside; accepted: an integer from 1"),
        (b"# x\n 3\n", {}, "LIST:2: no path before label 3"),
        (b"a 1\nb\xff 2\n", {}, "LIST:2: found the byte 0xff, which is not UTF-8; UTF-8 is accepted"),
        ("a 1\nb\n".encode("utf-16"), {}, "LIST:2: found 'b' without a label; accepted: `path label`"),
        ("a 1\n".encode("utf-16")[:-1], {}, "LIST: is not valid UTF-16 text ("),
        ("a 1\n".encode("utf-32"), {}, "LIST: is UTF-32 text; save it as UTF-8"),
        (b"a 1\nb\0 2\n", {}, "LIST:2: found a zero byte; text is accepted"),
        (b"a 1\n/b 2\n", {}, "LIST:2: path '/b' leaves its folder; accepted: a relative path without `..`"),
        (b"a..b 1\na/../../b 2\n", {}, "LIST:2: path 'a/../../b' leaves its folder; accepted: a relative"),
        (b"a 1\n.. 2\n", {}, "LIST:2: path '..' leaves its folder"),
        (b"a 1\na/.. 2\n", {}, "LIST:2: path 'a/..' leaves its folder"),
        (b"x" * 70_000, {"block_bytes": 1000}, "LIST: a line is longer than 64 KiB; is this a list?"),
    ],
)
def test_bad_lines_are_named(tmp_path, data, options, message):
    file = tmp_path / "list.txt"
    file.write_bytes(data)
    with pytest.raises(InputError) as caught:
        all_lines(file, **options)
    assert str(caught.value).startswith(message.replace("LIST", str(file)))
    assert "\n" not in str(caught.value)


def test_names_that_only_look_like_leaving_are_accepted(tmp_path):
    (tmp_path / "list.txt").write_text("a..b/c.. 1\n...jpg 2\n.hidden/x 3\n")
    assert [path for path, _, _ in all_lines(tmp_path / "list.txt")] == ["a..b/c..", "...jpg", ".hidden/x"]


# ------------------------------------------------------------------ lists of images


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"image")
    return root


def test_an_image_list(tmp_path):
    (tmp_path / "list.txt").write_text("a b.jpg 3\n# no\nc.jpg\nd.jpg 0\nd.jpg 0\n")
    images = read_image_list(tmp_path / "list.txt", tmp_path, n_classes=4)
    assert len(images) == 4 and list(images.paths) == ["a b.jpg", "c.jpg", "d.jpg", "d.jpg"]
    assert images.labels.dtype == np.int32 and images.labels.tolist() == [3, -1, 0, 0]
    assert images.name(1) == "c.jpg" and images.path(1) == str(tmp_path / "c.jpg")
    assert images.paths[1:3] == ["c.jpg", "d.jpg"] and images.paths[-1] == "d.jpg"
    assert images.where(2) == f"{tmp_path / 'list.txt'}:4"


@pytest.mark.parametrize(
    "listed, words",
    [
        ("1/a", "; 1/a.jpg is: paths need their suffix"),
        ("1/A.jpg", r"; \S+/root/1/a.jpg is: large and small letters differ"),
        ("root/1/a.jpg", r"; below \S+ it is: give that folder"),
        ("a.jpg", "; below .*/root/1 it is: give that folder"),
        ("data/train/1/a.jpg", "; without data/train/ it is: paths are relative to .*/root"),
        ("1/cafe\u0301.jpg", r"; '1/caf\\xe9\.jpg' is, .* NFC, while the list has '1/cafe\\u0301\.jpg': write it .*"),
        ("2/b.jpg", ""),
    ],
)
def test_where_a_list_s_images_are_instead(tmp_path, listed, words):
    make(tmp_path / "root", "1/a.jpg", "1/caf\xe9.jpg")
    (tmp_path / "list.txt").write_text(f"{listed} 0\n" * 3)
    with pytest.raises(
        InputError, match=rf"list\.txt:1: \S+ does not exist \(3 of 3 listed images are missing\){words}$"
    ):
        read_image_list(tmp_path / "list.txt", tmp_path / "root", check_exists=True)
    with pytest.raises(InputError, match=rf"list\.txt: \S+ does not exist, nor does any of .* looked at{words}$"):
        check_some_there("list.txt", tmp_path / "root", [listed] * 99)
    check_some_there("list.txt", tmp_path / "root", [listed, "1/a.jpg"])
    check_some_there("list.txt", tmp_path / "root", [])


def test_image_list_faults(tmp_path):
    file = tmp_path / "list.txt"
    with pytest.raises(InputError, match=r"list\.txt: cannot be read \(No such file"):
        read_image_list(file, tmp_path)
    file.write_text("# nothing\n\n")
    with pytest.raises(InputError, match=r"list\.txt: lists no image; lines `path label` are accepted"):
        read_image_list(file, tmp_path, need_labels=True)
    file.write_text("a.jpg 0\nb.jpg 1\nc.jpg 1\n")
    make(tmp_path, "a.jpg", "c.jpg")
    with pytest.raises(InputError, match=r"list\.txt:2: .*/b\.jpg does not exist \(1 of 3 listed"):
        read_image_list(file, tmp_path, check_exists=True)
    (tmp_path / "b.jpg").mkdir()
    with pytest.raises(InputError, match=r"list\.txt:2: .*/b\.jpg is a folder \(1 of 3 listed"):
        read_image_list(file, tmp_path, check_exists=True)
    (tmp_path / "b.jpg").rmdir()
    (tmp_path / "b.jpg").symlink_to("b.jpg")
    with pytest.raises(InputError, match=r"list\.txt:2: .*/b\.jpg cannot be reached \(Too many levels"):
        read_image_list(file, tmp_path, check_exists=True)
    with pytest.raises(InputError, match=r"list\.txt:2: label 1 is outside; accepted: 0\.\.0"):
        read_image_list(file, tmp_path, n_classes=1)
    with pytest.raises(InputError, match="nowhere: is not a folder"):
        read_image_list(file, tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        read_image_list(tmp_path, tmp_path)


def test_images_under_a_folder(tmp_path, capsys):
    make(tmp_path / "r", "b.JPG", "a/z.png", "a/y.jpeg", "a/readme.txt", ".hidden/x.jpg", "a/.thumb.jpg")
    make(tmp_path / "elsewhere", "linked.webp", "x.gif")
    (tmp_path / "r" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "r" / "a" / "loop").symlink_to(tmp_path / "r")
    (tmp_path / "r" / "gone.jpg").symlink_to("nothing")  # listed, so that reading it says what is wrong
    images = images_under(tmp_path / "r")
    assert list(images.paths) == ["a/y.jpeg", "a/z.png", "b.JPG", "gone.jpg", "link/linked.webp", "link/x.gif"]
    assert (images.labels == -1).all() and images.path(2) == str(tmp_path / "r" / "b.JPG")
    assert "1 file is not an image: a/readme.txt" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: has no image below it; accepted: JPEG, PNG"):
        images_under(tmp_path / "empty")
    with pytest.raises(InputError, match="nowhere: is not a folder"):
        images_under(tmp_path / "nowhere")


def test_a_file_name_that_is_not_utf8(tmp_path, capsys):
    """It stands in the list, names no file, and so is an unreadable image; never another one's place."""
    make(tmp_path, "b.jpg", "a\n.jpg")
    try:
        with open(os.fsencode(tmp_path) + b"/\xff.jpg", "wb"):  # noqa: PTH123
            pass
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert list(images_under(tmp_path).paths) == ["\\xff.jpg", "a\n.jpg", "b.jpg"]
    err = capsys.readouterr().err
    assert "1 file whose name is not UTF-8 is unreadable until it is renamed: \\xff.jpg" in err
    make(tmp_path, "\\xff.jpg")
    with pytest.raises(InputError, match=r"another file's name: \\xff\.jpg; rename one"):
        images_under(tmp_path)


def test_class_names(tmp_path):
    file = tmp_path / "names.txt"
    file.write_bytes(b"\xef\xbb\xbfn01440764 tench, Tinca tinca\r\nn01443537 goldfish\r\n\r\n")
    assert read_class_names(file, 2) == ["tench, Tinca tinca", "goldfish"]
    file.write_text("n01440764\nn01443537\n")
    assert read_class_names(file, 2) == ["n01440764", "n01443537"]
    file.write_text("red fox\nn01443537 goldfish\n")
    assert read_class_names(file, 2) == ["red fox", "n01443537 goldfish"]
    with pytest.raises(InputError, match=r"names\.txt: has 2 class names, but n_classes is 3"):
        read_class_names(file, 3)
    file.write_text("a\n\nb\n")
    with pytest.raises(InputError, match=r"names\.txt:2: found an empty line"):
        read_class_names(file, 3)
    file.write_bytes(b"a\n\xff\n")
    with pytest.raises(InputError, match=r"names\.txt:2: is not UTF-8"):
        read_class_names(file, 2)
    with pytest.raises(InputError, match="cannot be read"):
        read_class_names(tmp_path / "none", 2)


# ------------------------------------------------------------------ plain lists, ImageNet, folder trees


def rows_of(table: Any) -> list[tuple]:
    rows = np.arange(table.n_rows)
    texts = (table.strings(name, rows) for name in ("path", "source", "text"))
    numbers = (table.column(name).tolist() for name in ("label", "query", "rank"))
    path, source, text = texts
    return list(zip(path, *numbers, source, text, strict=True))


def test_a_plain_list(tmp_path, capsys):
    (tmp_path / "train.txt").write_text("a b.jpg 2\nc.jpg 0\nc.jpg 0\n")
    data = Data(root=str(tmp_path), n_classes=4, format="list", train_list=str(tmp_path / "train.txt"))
    table = build_table(data, tmp_path / "table")
    assert rows_of(table) == [
        ("a b.jpg", 2, -1, -1, "local", ""),
        ("c.jpg", 0, -1, -1, "local", ""),
        ("c.jpg", 0, -1, -1, "local", ""),
    ]
    assert table.paths([0]) == [str(tmp_path / "a b.jpg")] and table.class_names == [""] * 4
    assert "2 of 4 classes have no training image: 1, 3" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"data\.val_list: found none; format list needs"):
        read_validation(data)


def test_imagenet_lists(tmp_path):
    (tmp_path / "train_list.txt").write_text("train/n02483708/n02483708_2436.jpeg 1\ntrain/a/b.JPEG 0\n")
    (tmp_path / "val_list.txt").write_text("val/ILSVRC2012_val_00000001.JPEG 1\n")
    (tmp_path / "synsets.txt").write_text("n01440764\nn02483708\n")
    data = Data(str(tmp_path), 2, "imagenet", train_list=str(tmp_path / "train_list.txt"))
    table = build_table(data, tmp_path / "table")
    assert rows_of(table)[0] == ("train/n02483708/n02483708_2436.jpeg", 1, -1, -1, "local", "")
    assert table.class_names == ["n01440764", "n02483708"]
    val = read_validation(data)
    assert val.path(0) == str(tmp_path / "val/ILSVRC2012_val_00000001.JPEG") and val.labels.tolist() == [1]
    data = dataclasses.replace(data, val_root=str(tmp_path / "val"))
    with pytest.raises(InputError, match="val: is not a folder"):
        read_validation(data)


def test_a_folder_tree(tmp_path, capsys):
    make(tmp_path / "t", "zebra/1.jpg", "ant/2.jpg", "ant/deep er/1.jpg", "bee/note.txt", "readme.txt")
    make(tmp_path / "v", "zebra/9.png", "ant/8.png")
    data = Data(str(tmp_path / "t"), 3, "folder", val_root=str(tmp_path / "v"))
    table = build_table(data, tmp_path / "table")
    assert [(path, label) for path, label, *_ in rows_of(table)] == [
        ("ant/2.jpg", 0),
        ("ant/deep er/1.jpg", 0),
        ("zebra/1.jpg", 2),
    ]
    assert table.class_names == ["ant", "bee", "zebra"]
    assert "1 of 3 classes has no training image: 1 'bee'" in capsys.readouterr().err
    val = read_validation(data)
    assert list(val.paths) == ["ant/8.png", "zebra/9.png"] and val.labels.tolist() == [0, 2]
    with pytest.raises(InputError, match=r"has 3 sub-folders \(ant, bee, zebra\), but data.n_classes is 4"):
        build_table(dataclasses.replace(data, n_classes=4), tmp_path / "other")
    make(tmp_path / "v", "yak/7.png")
    with pytest.raises(InputError, match="v: sub-folder 'yak' is not a class of"):
        read_validation(data)
    with pytest.raises(InputError, match=r"data\.val_root: found none"):
        read_validation(dataclasses.replace(data, val_root=None))


def short_hash(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_open_or_build_notices_what_changed(tmp_path):
    (tmp_path / "train.txt").write_text("a.jpg 1\nb.jpg 0\n")
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    lists = {"train_list": str(tmp_path / "train.txt"), "class_names": str(tmp_path / "names.txt")}
    data = Data(str(tmp_path), 2, "list", **lists)
    built = open_or_build(data, tmp_path / "table")
    before = (tmp_path / "table" / "base.arrow").stat()
    assert open_or_build(data, tmp_path / "table").base_hash == built.base_hash
    assert (tmp_path / "table" / "base.arrow").stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(InputError, match=r"built differently: data\.n_classes was 2, now it is 3; 'cat' is gone; 'd"):
        open_or_build(dataclasses.replace(data, n_classes=3, class_names=None), tmp_path / "table")
    (tmp_path / "names.txt").write_text("cat\nwolf\n")
    with pytest.raises(InputError, match="class 1 was named 'dog', now it is 'wolf'; --replace builds"):
        open_or_build(data, tmp_path / "table")
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    counts = "2 training images then, {} now; "
    for changed, said in (
        ("a.jpg 0\nb.jpg 1\n", counts.format(2) + "2 labels changed: a.jpg was class 1, is 0 …"),
        ("a.jpg 1\nb.jpg 0\nc.jpg 1\n", counts.format(3) + "1 added: c.jpg; --replace"),
        (
            "c.jpg 1\nb.jpg 1\n",
            counts.format(2) + "1 added: c.jpg; 1 removed: a.jpg; 1 labels changed: b.jpg was class 0",
        ),
        ("b.jpg 0\na.jpg 1\n", counts.format(2) + "the same images in another order"),
        ("a.jpg 1\na.jpg 0\nb.jpg 0\n", "2 training images then, 3 now; --replace"),
    ):
        (tmp_path / "train.txt").write_text(changed)
        with pytest.raises(InputError, match=re.escape(said)):
            open_or_build(data, tmp_path / "table")
    (tmp_path / "moved.txt").write_text("a.jpg 1\n\nb.jpg 0\n")
    moved = dataclasses.replace(data, train_list=str(tmp_path / "moved.txt"))
    assert open_or_build(moved, tmp_path / "table").base_hash == built.base_hash
    shared = dataclasses.replace(data, table=str(tmp_path / "table"))
    with pytest.raises(InputError, match=r"2 training images then, 3 now; -o data\.table=ANOTHER builds another one"):
        open_or_build(shared, tmp_path / "table")
    with pytest.raises(InputError, match=r"base\.arrow: exists already"):
        build_table(data, tmp_path / "table")
    assert build_table(data, tmp_path / "table", replace=True).n_rows == 3


def test_open_or_build_notices_a_tree_that_changed(tmp_path):
    tree = make(tmp_path / "tree", "ant/1.jpg", "ant/2.jpg", "bee/1.jpg")
    data = Data(str(tree), 2, "folder")
    hashed = open_or_build(data, tmp_path / "table").metadata["lists"]
    names = "ant/1.jpg\0ant/2.jpg\0bee/1.jpg\0"
    assert hashed.endswith(f"/tree ({short_hash(names)})")
    open_or_build(data, tmp_path / "table")
    (tree / "ant/2.jpg").rename(tree / "bee/2.jpg")  # as many files as before
    with pytest.raises(InputError, match=r"3 now; 1 added: bee/2\.jpg; 1 removed: ant/2\.jpg; --replace builds"):
        open_or_build(data, tmp_path / "table")
    make(tree, "wasp/1.jpg")
    with pytest.raises(InputError, match=r"data\.n_classes was 2, now it is 3; 'wasp' is new; --replace builds"):
        open_or_build(dataclasses.replace(data, n_classes=3), tmp_path / "table")
    elsewhere = make(tmp_path / "moved", "ant/1.jpg", "ant/2.jpg", "bee/1.jpg")
    with pytest.raises(InputError, match=r"table was built differently: data\.root was .*tree, now it is .*moved;"):
        open_or_build(dataclasses.replace(data, root=str(elsewhere)), tmp_path / "table")


def test_a_table_without_texts_is_of_the_same_rows(tmp_path):
    write_lists(tmp_path, 2)
    data = Data(str(tmp_path), 3, "webvision2")
    whole, small = build_table(data, tmp_path / "whole"), build_table(data, tmp_path / "small", texts=False)
    assert (small.base_hash, small.class_names, small.metadata) == (whole.base_hash, whole.class_names, whole.metadata)
    for name in ("label", "query", "rank", "source"):
        np.testing.assert_array_equal(small.column(name), whole.column(name))
    assert set(small.strings("path", range(small.n_rows))) == {""}


@pytest.mark.parametrize("kind", ["folder", "list", "webvision2", "webvision1"])
def test_a_limit_takes_the_first_rows_of_each_class_and_is_an_input(tmp_path, kind):
    root = tmp_path / "data"
    if kind.startswith("webvision"):
        write_lists(root, int(kind[-1]))
        data = Data(str(root), 3, kind)
    else:
        for part in ("train", "val"):
            for name in ("a/1.jpg", "a/2.jpg", "a/3.jpg", "b/4.jpg", "b/5.jpg", "b/6.jpg"):
                (root / part / name).parent.mkdir(parents=True, exist_ok=True)
                (root / part / name).write_bytes(b"")
        (root / "list.txt").write_text("a/1.jpg 0\nb/4.jpg 1\na/2.jpg 0\nb/5.jpg 1\nb/6.jpg 1\na/3.jpg 0\n")
        lists = {"train_list": str(root / "list.txt"), "val_list": str(root / "list.txt")} if kind == "list" else {}
        data = Data(str(root / "train"), 2, kind, val_root=str(root / "val"), **lists)
    whole, few = build_table(data, tmp_path / "whole"), dataclasses.replace(data, limit=2)
    table, labels = build_table(few, tmp_path / "few"), whole.column("label")
    rows = np.sort(np.concatenate([np.flatnonzero(labels == c)[:2] for c in range(data.n_classes)]))
    assert len(rows) < len(labels)
    for name in ("path", "text"):
        assert table.strings(name, np.arange(table.n_rows)) == whole.strings(name, rows)
    for name in ("label", "source", "query", "rank"):
        np.testing.assert_array_equal(table.column(name), whole.column(name)[rows])
    assert open_or_build(few, tmp_path / "few").n_rows == len(rows)
    with pytest.raises(InputError, match=r"data\.limit was null, now it is 2"):
        open_or_build(few, tmp_path / "whole")
    with pytest.raises(InputError, match=r"data\.limit was 2, now it is null"):
        open_or_build(data, tmp_path / "few")
    validation = read_validation(few)
    assert np.bincount(validation.labels).max() <= 2
    assert "limit" not in whole.metadata


def test_settings_that_do_not_fit(tmp_path):
    with pytest.raises(InputError, match=r"data\.root: .*nowhere is not a folder"):
        build_table(Data(str(tmp_path / "nowhere"), 2), tmp_path / "table")
    with pytest.raises(InputError, match=r"data\.train_list: found 'x'; format webvision2 has its own"):
        build_table(Data(str(tmp_path), 2, train_list="x"), tmp_path / "table")
    (tmp_path / "list").write_text("#\n")
    empty = short_hash("#\n")
    with pytest.raises(InputError, match=rf"list \({empty}\): lists no training image"):
        build_table(Data(str(tmp_path), 2, "list", train_list=str(tmp_path / "list")), tmp_path / "table")
    assert not (tmp_path / "table" / "base.arrow").exists()


# ------------------------------------------------------------------ WebVision


@pytest.mark.parametrize("version", [1, 2])
def test_webvision(tmp_path, version):
    rows = write_lists(tmp_path, version)
    data = Data(str(tmp_path), 3, "webvision2" if version == 2 else "webvision1")
    table = build_table(data, tmp_path / "table")
    assert rows_of(table) == rows and len({row[4] for row in rows}) == 2
    assert table.class_names == ["one, first", "two", "three"]
    val = read_validation(data)
    folder = "val_images_resized" if version == 2 else "val_images_256"
    assert val.path(1) == str(tmp_path / folder / "val000002.jpg") and val.labels.tolist() == [2, 0]


@pytest.mark.parametrize("block_bytes", [41, 50, 64])
def test_webvision_in_small_blocks(tmp_path, block_bytes):
    """The two lists are cut at different lines and inside queries; the rows are the same."""
    rows = write_lists(tmp_path, queries={query: query % 3 for query in range(1, 40)})
    assert rows_of(build_table(Data(str(tmp_path), 3), tmp_path / "table", block_bytes=block_bytes)) == rows


def test_webvision_as_the_download_script_leaves_it(tmp_path):
    """Images below train/, metadata there too, the validation part renamed."""
    rows = write_lists(tmp_path)
    (tmp_path / "train").mkdir()
    for name in ("google", "flickr"):
        (tmp_path / name).rename(tmp_path / "train" / name)
    make(tmp_path / "train", rows[0][0])
    (tmp_path / "val_images_resized").rename(tmp_path / "val")
    (tmp_path / "info" / "val_filelist.txt").rename(tmp_path / "val_list.txt")
    data = Data(str(tmp_path), 3)
    table = open_or_build(data, tmp_path / "table")
    assert rows_of(table) == rows and table.paths([0]) == [str(tmp_path / "train" / rows[0][0])]
    assert read_validation(data).path(0) == str(tmp_path / "val" / "val000001.jpg")
    assert open_or_build(data, tmp_path / "table").n_rows == len(rows)


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


class Web:
    """A WebVision folder, its two google lists, and what their first line says."""

    def __init__(self, root: Path) -> None:
        write_lists(root)
        self.root, self.info, self.data = root, root / "info", Data(str(root), 3)
        self.listed, self.meta = self.info / "train_filelist_google.txt", self.info / "train_meta_list_google.txt"
        self.map, self.query = self.info / "queries_synsets_map.txt", root / "google" / "q00001.json"
        self.row = int(self.meta.read_text().split()[1])
        self.n_entries, self.n_lines = len(json.loads(self.query.read_text())), len(self.meta.read_text().splitlines())

    def relabel(self) -> None:
        """Query 3, of class 1, gets label 2 everywhere."""
        lines = self.listed.read_text().splitlines()
        self.wrong = [i for i, line in enumerate(lines) if "/q00003/" in line]
        self.listed.write_text("\n".join(line[:-1] + "2" if "/q00003/" in line else line for line in lines))


@pytest.fixture
def web(tmp_path):
    return Web(tmp_path / "w")


def refusal(data: Data, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        build_table(data, folder)
    assert not (folder / "base.arrow").exists() and "\n" not in str(caught.value)
    return str(caught.value)


FAULTS = {
    "an image that is not its entry": (
        lambda w: change(w.listed, "/g1x", "/other1x"),
        "{w.listed}:1: image 'other1x{i}', but row {w.row} (from 1) of google/q00001.json has id 'g1x{i}'",
    ),
    "a row that is not there": (
        lambda w: change(w.meta, f"json {w.row}", "json 77"),
        "{w.meta}:1: row 77 of google/q00001.json, which has {w.n_entries} entries",
    ),
    "row 0": (
        lambda w: change(w.meta, f"json {w.row}", "json 0"),
        "{w.meta}:1: row 0 is outside; accepted: an integer from 1",
    ),
    "one list is longer": (
        lambda w: w.listed.write_text(w.listed.read_text() + "google_images_resized/q00004/more.jpg 2\n"),
        "{w.listed} has {n} lines but {w.meta} has {w.n_lines}; their lines must correspond",
    ),
    "labels that are not their query's": (
        Web.relabel,
        "{w.listed}:{first}: label 2 but query 3 is synset 1 (counted from 0) in queries_synsets_map.txt; "
        "{wrong} rows disagree with their query (in format webvision2 that file's synsets count from 0)",
    ),
    "a query twice": (
        lambda w: w.map.write_text(w.map.read_text() + "2 1\n"),
        "{w.map}:5: query '2' is accepted once, as a number",
    ),
    "a query that the map lacks": (
        lambda w: change(w.map, "1 0\n", ""),
        "{w.listed}:1: query 1 is not in queries_synsets_map.txt",
    ),
    "a file of no query": (
        lambda w: change(w.meta, "q00001.json", "first.json"),
        "{w.meta}:1: found 'google/first.json'; a query's file such as google/q00001.json is accepted",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_lists_and_metadata_that_disagree(web, tmp_path, fault):
    spoil, message = FAULTS[fault]
    spoil(web)
    wrong = getattr(web, "wrong", [0])
    words = {"w": web, "i": web.row - 1, "n": web.n_lines + 1, "first": wrong[0] + 1, "wrong": len(wrong)}
    assert refusal(web.data, tmp_path / "table") == message.format(**words)


def test_the_other_versions_numbering_is_noticed(web, tmp_path):
    message = refusal(dataclasses.replace(web.data, format="webvision1"), tmp_path / "table")
    assert message.endswith("queries_synsets_map.txt:1: synset 0 is outside; accepted: 1..3")


def test_without_the_map_there_is_nothing_to_agree_with(web, tmp_path):
    web.relabel()
    web.map.unlink()
    assert build_table(web.data, tmp_path / "t").n_rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{", "is not valid JSON (Expecting property name"),
        ("{}", "found dict; a list of entries is accepted"),
        ('[{"title": "x"}]', 'entry 1: found {"title": "x"}; accepted: an object with id, and text in title'),
        ('[{"id": "a", "title": 3}]', 'entry 1: found {"id": "a", "title": 3}; accepted'),
        ('["a"]', 'entry 1: found "a"; accepted'),
        (b'[{"id": "\xff"}]', "is not valid JSON ('utf-8' codec can't decode byte 0xff"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_broken_metadata(web, tmp_path, text, message):
    if text is None:
        web.query.unlink()
    else:
        web.query.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert refusal(web.data, tmp_path / "table").startswith(f"{web.query}: {message}")


def test_half_a_surrogate_pair_in_a_title(web, tmp_path):
    entries = json.loads(web.query.read_text())
    entries[web.row - 1].update(title="a\ud83d b", description="\U0001f6f6")
    web.query.write_text(json.dumps(entries))
    table = build_table(web.data, tmp_path / "table")
    assert table.strings("text", [0]) == ["a\ufffd b\n\U0001f6f6"]


def test_without_metadata(web, tmp_path, capsys):
    for file in (web.root / "google").iterdir():
        file.unlink()
    (web.info / "train_meta_list_flickr.txt").unlink()
    rows = rows_of(build_table(web.data, tmp_path / "table"))
    assert {row[2:4] + row[5:] for row in rows} == {(-1, -1, "")}
    assert {row[4] for row in rows} == {"google", "flickr"}
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 2 and "no metadata of google" in notes[0] and "no metadata of flickr" in notes[1]


def test_one_engine_alone(web, tmp_path, capsys):
    (web.info / "train_filelist_flickr.txt").unlink()
    assert {row[4] for row in rows_of(build_table(web.data, tmp_path / "table"))} == {"google"}
    assert "no train_filelist_flickr.txt; reading without flickr" in capsys.readouterr().err
    web.listed.unlink()
    message = "info: has neither train_filelist_google.txt nor train_filelist_flickr.txt"
    assert refusal(web.data, tmp_path / "table2").endswith(message)


def test_the_number_of_classes_must_fit(web, tmp_path):
    message = refusal(dataclasses.replace(web.data, n_classes=2), tmp_path / "table")
    assert message.endswith("synsets.txt: has 3 class names, but n_classes is 2")
    (web.root / "val_images_resized").rmdir()
    with pytest.raises(InputError, match=r"has no folder val_images_resized or val; or name one with data\.val_root"):
        read_validation(web.data)
