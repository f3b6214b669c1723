"""Lists as people write them: each way is read as what it says, or refused with the line that does not fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from urnet.config.recipe import Data
from urnet.core.checks import InputError
from urnet.data.lists.build_table import build_table, read_validation, training_rows
from urnet.data.lists.image_list import ImageList
from urnet.data.lists.labelled_list import listed_classes, read_list
from urnet.data.lists.repeated_paths import note_shared_paths

NAMES = ["ant", "red fox", "tench, Tinca tinca", "café"]


def rows_of(file: Path, **options: Any) -> list[tuple[str, int]]:
    blocks = read_list(file, **{"n_classes": 4, "class_names": NAMES, **options})
    return [row for block in blocks for row in zip(block.path.to_pylist(), block.number.tolist(), strict=True)]


TWO = [("a b.jpg", 1), ("c.jpg", 2)]
FORMS = {  # a list's text, and its rows
    "blank": ("a b.jpg 1\nc.jpg  2", TWO),
    "tab": ("a b.jpg\t1\nc.jpg\t2\t", TWO),
    "comma": ("a b.jpg,1\nc.jpg , 2 ,", TWO),
    "comma and blank": ("a b.jpg, 1\nc.jpg, 2", TWO),
    "semicolon": ("a b.jpg;1;\nc.jpg;2", TWO),
    "semicolon and blank": ("a b.jpg; 1\nc.jpg;  2\n", TWO),
    "all quoted": ('"a b.jpg","1"\n"c.jpg","2"\n', TWO),
    "quoted, blanks": ('"a b.jpg" 1\n"c.jpg" 2\n', TWO),
    "quotes": ('"a ""b"", c.jpg",1\nc.jpg,2', [('a "b", c.jpg', 1), ("c.jpg", 2)]),
    "header": ("path,label\na b.jpg,1\nc.jpg,2", TWO),
    "header of R": ('"path" "label"\n"a b.jpg" 1\n"c.jpg" 2', TWO),
    "header, blanks": ("filename label\na b.jpg 1\nc.jpg 2", TWO),
    "header, blanks, names": ("path label_name\na b.jpg red fox\nc.jpg tench, Tinca tinca", TWO),
    "header, blanks, names without a suffix": ("path label\na ant\nc café", [("a", 0), ("c", 3)]),
    "header, blanks, the other way": ("label  path weight\n1 a.jpg 0.5\n2  c.jpg 1", [("a.jpg", 1), ("c.jpg", 2)]),
    "header, tabs": ("File Name\tClass ID\na b.jpg\t1\nc.jpg\t2", TWO),
    "header of pandas": (",image_path,target,fold\n0,a b.jpg,1,x\n1,c.jpg,2,\n", TWO),
    "header the other way": ("Label;Image\n1;a b.jpg\n2;c.jpg", TWO),
    "header, last fields left out": ("file,class,x,y\na b.jpg,1,0\nc.jpg,2", TWO),
    "Excel's first line": ("sep=;\npath;label\na b.jpg;1\nc.jpg;2", TWO),
    "names, blanks": ("a b.jpg red fox\nc.jpg\tant\n", [("a b.jpg", 1), ("c.jpg", 0)]),
    "names, no suffix": ("a ant\nc café\n", [("a", 0), ("c", 3)]),
    "names, commas": ("a, b.jpg red fox\nc.jpg ant\n", [("a, b.jpg", 1), ("c.jpg", 0)]),
    "names, tabs": ("a b.JPG\tred fox\nc.jpg\ttench, Tinca tinca", [("a b.JPG", 1), ("c.jpg", 2)]),
    "names in quotes": ('path,label_name\na b.jpg,red fox\nc.jpg,"tench, Tinca tinca"', TWO),
    "names, two spellings": ("a.jpg,ant\nb.jpg,cafe\u0301\n", [("a.jpg", 0), ("b.jpg", 3)]),
    "numbers are the classes' where both are there": ("image,class_name,class_id\na b.jpg,x,1\nc.jpg,y,2", TWO),
    "the classic form with commas": ("a,1 b.jpg 1\nc;d,e.jpg 2", [("a,1 b.jpg", 1), ("c;d,e.jpg", 2)]),
    "the classic form with quotes": ('5" disk.jpg 1\n"c" d.jpg 2', [('5" disk.jpg', 1), ('"c" d.jpg', 2)]),
    "comments": ("# path,label\n#x.jpg,3\n\na b.jpg,1\n# c.jpg,1\nc.jpg,2", TWO),
    "Windows": ("a\\b.jpg 1\nc\\d\\e.jpg 2", [("a/b.jpg", 1), ("c/d/e.jpg", 2)]),
    "Windows, quoted": ('"a\\b.jpg","1"\n"c.jpg","2"', [("a/b.jpg", 1), ("c.jpg", 2)]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be with mark"])
def test_every_form_is_read_in_every_encoding_and_with_every_line_end(tmp_path, form, encoding):
    """Blocks of any size, too: the form is decided once."""
    text, rows = FORMS[form]
    if encoding.endswith("mark"):
        text, encoding = "\ufeff" + text, "utf-16-be"
    for end in ("\n", "\r\n", "\r"):
        (tmp_path / "list").write_bytes(text.replace("\n", end).encode(encoding))
        for block_bytes in (7, 1 << 20):
            assert rows_of(tmp_path / "list", block_bytes=block_bytes) == rows


ALONE = {
    "paths": ("a b.jpg\nc, d.jpg\ne\n", ["a b.jpg", "c, d.jpg", "e"]),
    "paths with commas": ("a,b.jpg\nc;d\n", ["a,b.jpg", "c;d"]),
    "commas": ("a b.jpg,1\nc.jpg,fox\n", ["a b.jpg", "c.jpg"]),
    "names": ("a b.jpg red fox\nc.jpg ant\n", ["a b.jpg", "c.jpg"]),
    "a header": ("filename\na b.jpg\nc.jpg\n", ["a b.jpg", "c.jpg"]),
    "a header of more": ("id,filename\n7,a b.jpg\n8,c.jpg\n", ["a b.jpg", "c.jpg"]),
    "no header": ("image\nimages\n", ["image", "images"]),
    "some with labels": ("a.jpg\nb.jpg 4\nc,1.jpg", ["a.jpg", "b.jpg", "c,1.jpg"]),
}


@pytest.mark.parametrize("form", ALONE)
def test_paths_alone(tmp_path, form):
    (tmp_path / "list").write_text(ALONE[form][0])
    assert [path for path, _ in rows_of(tmp_path / "list", needed=False, n_classes=None)] == ALONE[form][1]


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"image")


def test_what_is_there_decides_between_two_readings(tmp_path):
    (tmp_path / "list").write_text("a.jpg,room 12\nb.jpg,room 12\n")
    names = {"class_names": ["room 12"], "n_classes": 100}
    assert rows_of(tmp_path / "list", **names)[0] == ("a.jpg,room", 12)
    make(tmp_path, "a.jpg")
    assert rows_of(tmp_path / "list", root=tmp_path, **names) == [("a.jpg", 0), ("b.jpg", 0)]
    make(tmp_path, "a.jpg,room")
    assert rows_of(tmp_path / "list", root=tmp_path, **names)[0] == ("a.jpg,room", 12)
    (tmp_path / "list").write_text("a,3\nb,3\n")
    assert rows_of(tmp_path / "list", root=tmp_path, needed=False) == [("a,3", -1), ("b,3", -1)]
    make(tmp_path, "a")
    assert rows_of(tmp_path / "list", root=tmp_path, needed=False) == [("a", 3), ("b", 3)]
    (tmp_path / "list").write_text("c\\d.jpg 1\ne\\f.jpg 1\n")
    assert rows_of(tmp_path / "list", root=tmp_path)[1] == ("e/f.jpg", 1)
    make(tmp_path, "c\\d.jpg")  # a name, so all backslashes are parts of names
    assert rows_of(tmp_path / "list", root=tmp_path)[1] == ("e\\f.jpg", 1)


def test_no_line_is_left_out_in_silence(tmp_path, capsys):
    """A path may begin with `#`: a line is a comment unless it names an image that is there."""
    make(tmp_path, "#selfies/1.jpg", "#1 fan.jpg", "a.jpg")
    lines = "# comment\n#selfies/1.jpg 3\n\n#selfies/gone.jpg 3\na.jpg 1\n#a.jpg 2\n"
    (tmp_path / "list").write_text(lines)
    assert rows_of(tmp_path / "list", root=tmp_path) == [("#selfies/1.jpg", 3), ("a.jpg", 1)]
    told = f"note: {tmp_path}/list: 3 lines that begin with `#` are left out as comments: line 1, '# comment' …\n"
    assert capsys.readouterr().err == told
    assert rows_of(tmp_path / "list") == [("a.jpg", 1)]
    assert "list: 4 lines that begin with `#`" in capsys.readouterr().err
    (tmp_path / "list").write_text("#1 fan.jpg,2\n")
    assert rows_of(tmp_path / "list", root=tmp_path) == [("#1 fan.jpg", 2)] and not capsys.readouterr().err
    (tmp_path / "list").write_text("path,label,split\na.jpg,1,train\n")
    assert rows_of(tmp_path / "list") == [("a.jpg", 1)]
    assert capsys.readouterr().err == f"note: {tmp_path}/list: columns path and label are read, these are not: split\n"


def test_absolute_paths_inside_the_root(tmp_path):
    root = tmp_path / "a+root"
    make(root, "x/1.jpg")
    (tmp_path / "link").symlink_to(root)
    text = f"{root}/x/1.jpg 1\nx/2.jpg 2\n{tmp_path}/link//x/3.jpg 3\n"
    (tmp_path / "list").write_text(text)
    rows = [("x/1.jpg", 1), ("x/2.jpg", 2), ("x/3.jpg", 3)]
    assert rows_of(tmp_path / "list", root=tmp_path / "link") == rows
    (tmp_path / "list").write_text(text.replace("link", "links"))
    with pytest.raises(InputError, match=rf"list:3: path '{tmp_path}/links//x/3\.jpg' leaves its folder .*/link; acc"):
        rows_of(tmp_path / "list", root=tmp_path / "link")
    (tmp_path / "list").write_text("/anywhere/x/1.jpg 1\nC:\\x.jpg 2\n")
    assert rows_of(tmp_path / "list", anywhere=True) == [("/anywhere/x/1.jpg", 1), ("C:/x.jpg", 2)]
    for path in (f"{root}/../x.jpg", f"{root}", "C:\\data\\x.jpg", "\\\\server\\x.jpg", "x\\..\\..\\y.jpg"):
        (tmp_path / "list").write_text(f"x/1.jpg 1\n{path} 2\n")
        with pytest.raises(InputError, match=r"list:2: path .* leaves its folder"):
            rows_of(tmp_path / "list", root=root)


REFUSED = {  # a list's text, and what the message has
    "columns": (
        "a.jpg,1\nb.jpg,1,x\n",
        "LIST:2: found 'b.jpg,1,x' with 3 columns; 2 are accepted: put a field that holds a comma in quotes, or name "
        "all columns in a first line, `path,label,…`; read with commas between path and label, labels numbers, as line "
        "1 is 'a.jpg,1'",
    ),
    "no label": ("a.jpg,1\nb.jpg,\n", "LIST:2: found 'b.jpg,' without a label; read with commas"),
    "no path": ("a.jpg,1\n,2\n", "LIST:2: no path in ',2'; read"),
    "a name among numbers": (
        "a.jpg,1\nb.jpg,ant\n",
        "LIST:2: label 'ant' is not an integer; accepted: 0..3 (names: a first line `path,label_name`); read with",
    ),
    "a name among numbers, blanks": (
        "a.jpg 1\nb.jpg ant\n",
        "LIST:2: label 'ant' is not an integer; accepted: `path label`, "
        "0..3; read with numbers after the last blank, as line 1 is 'a.jpg 1'",
    ),
    "a fraction": ("a.jpg;1.0\nb.jpg;2.0\n", "LIST:1: label '1.0' is not an integer; accepted: 0..3"),
    "too large": ("a.jpg\t1\nb.jpg\t4\n", "LIST:2: label 4 is outside; accepted: 0..3"),
    "an unknown name": (
        "a.jpg,ant\nb.jpg,red  Fox\n",
        "LIST:2: label 'red  Fox' is not a class; nearest: 'red fox'; read with"
        " commas between path and label, labels names, as line 1 is 'a.jpg,ant'",
    ),
    "an open quote": ('a.jpg,1\n"b.jpg,2\n', "LIST:2: found '\"b.jpg,2' with a quote that is not closed"),
    "a quote inside": ('a.jpg,1\nb"c".jpg,2\n', "LIST:2: found 'b\"c\".jpg,2' with a quote inside a field"),
    "the label first": (
        "ant,a.jpg\nant,b.jpg\n",
        "LIST:1: label 'a.jpg' looks like a path; accepted: the path first, or",
    ),
    "the label first, blanks": ("1 a.jpg\n2 b.jpg\n", "LIST:1: label 'a.jpg' looks like a path"),
    "unknown columns": (
        "Bild,Klasse\na.jpg,1\n",
        "LIST:1: found 'Bild,Klasse', unlike the lines after it; of a header",
    ),
    "no column of paths": (
        "foo,label\na.jpg,1\n",
        "LIST:1: the header 'foo,label' names no column of paths; accepted: ",
    ),
    "no column of labels": (
        "path,x\na.jpg,1\n",
        "LIST:1: the header 'path,x' names no column of labels; accepted: `path`",
    ),
    "a column twice": (
        "path,label,Label\na.jpg,1,1\n",
        "LIST:1: the header 'path,label,Label' names column 'label' twice",
    ),
    "a line without a suffix": ("a.jpg red fox\nb red fox\n", "LIST:2: found 'b red fox' without an image's suffix"),
    "mixed line ends": ("a.jpg 1\nb.jpg 1\rc.jpg 2\n", "LIST:2: found a carriage return inside 'b.jpg 1\\rc.jpg 2'"),
    "an HTML page": ("<!DOCTYPE html>\n<p>a 1\n", "LIST: is an HTML or XML page; a list is text"),
    "UTF-16 without a mark": ("a\0.\0j\0 \0" + "1\0\n\0", "LIST:1: found a zero byte; text is accepted: save"),
    "several numbers": (
        "a.jpg 1 0.5\n",
        "LIST:1: label '0.5' is not an integer; accepted: `path label`, 0..3; read with",
    ),
    "JSON": ('{"a.jpg": 1}', "LIST: is JSON; a list is text, one image per line"),
    "a workbook": ("PK\3\4", "LIST: is a ZIP archive or an Excel workbook; save it as CSV"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_the_first_line_that_does_not_fit_is_quoted(tmp_path, fault):
    text, message = REFUSED[fault]
    (tmp_path / "list").write_bytes(text.encode())
    with pytest.raises(InputError) as caught:
        rows_of(tmp_path / "list")
    assert str(caught.value).startswith(message.replace("LIST", str(tmp_path / "list")))
    assert "\n" not in str(caught.value)


def test_names_that_are_numbers_are_never_guessed(tmp_path, capsys):
    """Numbers are the classes' numbers, and a note says where their names say otherwise."""
    folders = {"class_names": ["1", "10", "2"], "n_classes": 3}
    (tmp_path / "list").write_text("a.jpg 1\nb.jpg 2\n")
    assert rows_of(tmp_path / "list", **folders) == [("a.jpg", 1), ("b.jpg", 2)]
    note = "labels are the classes' numbers: 1 is class '10', not '1' (for names, a first line `path,label_name`)"
    assert note in capsys.readouterr().err
    (tmp_path / "list").write_text("a.jpg 1\nb.jpg 10\n")
    with pytest.raises(InputError, match=r"label 10 is outside; accepted: 0\.\.2; 10 is a class's name \(for names"):
        rows_of(tmp_path / "list", **folders)
    (tmp_path / "list").write_text("path,label_name\na.jpg,1\nb.jpg,10\n")
    assert rows_of(tmp_path / "list", **folders) == [("a.jpg", 0), ("b.jpg", 1)]
    (tmp_path / "list").write_text("a.jpg 0\nb.jpg 1\n")
    capsys.readouterr()
    assert rows_of(tmp_path / "list", class_names=["0", "1", "2", "3"]) == [("a.jpg", 0), ("b.jpg", 1)]
    assert not capsys.readouterr().err
    (tmp_path / "list").write_text("a.jpg,ant\nb.jpg,x1\nc.jpg,n2\n")
    spelled = {"class_names": ["ant", "x", "x"], "spellings": [["n0", "n1", "n2"]], "n_classes": 3}
    with pytest.raises(InputError, match="list:2: label 'x1' is not a class; nearest: "):
        rows_of(tmp_path / "list", **spelled)
    (tmp_path / "list").write_text("a.jpg,ant\nc.jpg,n2\nb.jpg,x\n")
    with pytest.raises(InputError, match="list:3: label 'x' is the name of two classes"):
        rows_of(tmp_path / "list", **spelled)
    with pytest.raises(InputError, match="list:1: label 'ant' is a name, but the classes have no names here"):
        rows_of(tmp_path / "list", class_names=["", ""])


def test_the_classes_of_a_list(tmp_path):
    (tmp_path / "list").write_text("a.jpg 1\nb.jpg 10\nb.jpg 10\n")
    assert listed_classes(tmp_path / "list") == (3, 11, [])
    (tmp_path / "list").write_text("a.jpg,cat\nb.jpg,10\nc.jpg,cafe\u0301\nd.jpg,caf\u00e9\n")
    assert listed_classes(tmp_path / "list") == (4, 3, ["10", "café", "cat"])


def test_the_names_of_a_training_list_are_the_classes(tmp_path, capsys):
    """In the order of their text; the validation list is read with them, and both may be written in another way."""
    (tmp_path / "train").write_text("path,label\na.jpg,red fox\nb.jpg,ant\n")
    (tmp_path / "val").write_text("c d.jpg\tred fox\n")
    data = Data(str(tmp_path), 2, "list", train_list=str(tmp_path / "train"), val_list=str(tmp_path / "val"))
    table = build_table(data, tmp_path / "table")
    told = f"note: {tmp_path}/train: the names of its labels are the classes, in text order: 0 'ant', 1 'red fox'\n"
    assert told in capsys.readouterr().err
    assert table.class_names == ["ant", "red fox"] and table.column("label").tolist() == [1, 0]
    assert read_validation(data).labels.tolist() == [1]
    (tmp_path / "val").write_text("c.jpg,red fox\nd.jpg,red dog\n")
    with pytest.raises(InputError, match=r"val:2: label 'red dog' is not a class; nearest: red fox; read with commas"):
        read_validation(data)
    (tmp_path / "train").write_text("a.jpg,red fox\nb.jpg,ant\nc.jpg,bee\n")
    with pytest.raises(InputError, match=r"3 names \(ant, bee, red fox\), but data\.n_classes is 2"):
        read_validation(data)
    (tmp_path / "synsets").write_text("n00000002 fox, red fox\nn00000001 ant\n")
    (tmp_path / "train").write_text("a.jpg n00000001\nb.jpg n00000002\n")
    known = dataclasses.replace(data, class_names=str(tmp_path / "synsets"))
    assert [labels.tolist() for _, labels in training_rows(known)] == [[1, 0]]


def images_of(paths: list[str], root: Path) -> ImageList:
    return ImageList(pa.array(paths), np.zeros(len(paths), np.int32), root)


def test_paths_with_several_labels_are_counted(tmp_path, capsys):
    """In blocks of any size, whatever stands between; the first line that contradicts another is shown."""
    make(tmp_path, "list")
    (tmp_path / "list").write_text("a 1\nb 2\nb 2\nc 3\nc 2\na 1\nb 1\nb 2\n")
    data = Data(str(tmp_path), 4, "list", train_list=str(tmp_path / "list"), val_list=str(tmp_path / "list"))
    for read in (lambda: build_table(data, tmp_path / "table", block_bytes=9), lambda: read_validation(data)):
        capsys.readouterr()
        read()
        assert f"note: {tmp_path}/list: 2 paths have several labels: 'c' has 3 and 2 …\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("root", "val_root", "paths", "told"),
    [
        (".", ".", ["x.jpg", "b/2.jpg", "b/1.jpg"], "2 of 3 validation images are also training images: 'b/2.jpg' …"),
        (".", "b", ["1.jpg", "3.jpg"], "1 of 2 validation images are also training images: '1.jpg'\n"),
        ("a", ".", ["a/b/1.jpg", "b/1.jpg", "aa/b/1.jpg"], "1 of 3 validation images are also training images: 'a/b/1"),
        ("a", "c", ["b/1.jpg"], ""),
        ("a", "link", ["b/1.jpg"], "1 of 1 validation images"),
    ],
)
def test_images_for_training_and_validation_are_counted(tmp_path, capsys, root, val_root, paths, told):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("a")
    training = [pa.array(["b/1.jpg", "b/1.jpg"]), pa.array(["b/2.jpg"])]
    note_shared_paths(training, str(tmp_path / root), images_of(paths, tmp_path / val_root))
    found = capsys.readouterr().err
    assert told in found and bool(told) == bool(found)
