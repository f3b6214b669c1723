"""Sub-folders as classes: their order, their spelling, and images that have no class."""

import dataclasses
import unicodedata

import pytest

from urnet.config.recipe import Data
from urnet.core.checks import InputError
from urnet.data.lists.build_table import build_table, labelled_folders, open_or_build, read_validation, table_changes
from urnet.data.table.table import Table

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture
def numbers(tmp_path):
    """Data of three folders, 1, 10 and 2, and a file of names to be written."""
    tree = make(tmp_path / "t", "1/a.jpg", "10/b.jpg", "2/c.jpg")
    make(tmp_path / "v", "2/z.jpg", "10/y.jpg")
    return Data(str(tree), 3, "folder", val_root=str(tmp_path / "v"), class_names=str(tmp_path / "names.txt"))


def names_of(data, text):
    with open(data.class_names, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
    return data


def rows(table):
    return sorted(zip(table.strings("path", range(table.n_rows)), table.column("label").tolist(), strict=True))


@pytest.mark.parametrize("text", ["1\n2\n10\n", "2: 10\n0: 1\n1: 2\n", '{"10": 2, "1": 0, "2": 1}'])
def test_a_file_of_names_gives_the_order(numbers, tmp_path, text, capsys):
    names_of(numbers, text)
    table = open_or_build(numbers, tmp_path / "table")
    assert rows(table) == [("1/a.jpg", 0), ("10/b.jpg", 2), ("2/c.jpg", 1)] and table.class_names == ["1", "2", "10"]
    val = read_validation(numbers)
    assert dict(zip(val.paths, val.labels.tolist(), strict=True)) == {"2/z.jpg": 1, "10/y.jpg": 2}
    assert open_or_build(numbers, tmp_path / "table").base_hash == table.base_hash
    assert "note" not in capsys.readouterr().err
    with pytest.raises(InputError, match="the table was built differently: class 1 was named '2', now it is '10'"):
        open_or_build(names_of(numbers, "1\n10\n2\n"), tmp_path / "table")


def test_text_order_is_noted_where_people_count_otherwise(numbers, tmp_path, capsys):
    numbers = dataclasses.replace(numbers, class_names=None)
    assert build_table(numbers, tmp_path / "table").class_names == ["1", "10", "2"]
    note = "class 1 is folder '10': folders are numbered in text order; data.class_names gives another order"
    assert capsys.readouterr().err == f"note: {numbers.root}: {note}\n"
    tree = make(tmp_path / "even", "img2/a.jpg", "img12/b.jpg".replace("12", "3"))
    build_table(Data(str(tree), 2, "folder"), tmp_path / "table2")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n2\n", "sub-folder '10' of .* is not in .*names.txt; the sub-folders' names are accepted"),
        ("1\n2\n10\n11\n", "names.txt:4: class '11' is not a sub-folder of .*nearest: "),
        ("1\n2\n1O\n", "names.txt:3: class '1O' is not a sub-folder of .*, and sub-folder '10' of .* is not in"),
        ("1\n2\n10\n2\n", "names.txt:4: '2' is in .*names.txt:2 already"),
        ("one\ntwo\nten\n", "names.txt:1: class 'one' is not a sub-folder of"),
    ],
)
def test_names_that_are_not_the_folders_are_refused(numbers, tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        build_table(names_of(numbers, text), tmp_path / "table")


def test_folders_may_be_called_by_what_stands_before_a_name(tmp_path):
    tree = make(tmp_path / "t", "n01440764/a.jpg", "n01443537/b.jpg")
    data = Data(str(tree), 2, "folder", class_names=str(tmp_path / "names.txt"))
    table = build_table(names_of(data, "n01443537 goldfish\nn01440764 tench\n"), tmp_path / "table")
    assert table.class_names == ["goldfish", "tench"] and rows(table)[0] == ("n01440764/a.jpg", 1)
    names_of(data, "n01440764\tSchleie\nn01443537\tGoldfisch\n")
    assert build_table(data, tmp_path / "table", replace=True).class_names == ["Schleie", "Goldfisch"]


def test_one_name_in_two_unicode_forms(tmp_path):
    tree, val = make(tmp_path / "t", f"{NFC}/a.jpg", "the/b.jpg"), make(tmp_path / "v", f"{NFD}/a.jpg")
    data = Data(str(tree), 2, "folder", val_root=str(val))
    images = read_validation(data)
    assert list(images.paths) == [f"{NFD}/a.jpg"] and images.labels.tolist() == [0]
    data = dataclasses.replace(data, class_names=str(tmp_path / "names.txt"))
    table = build_table(names_of(data, f"the\n{NFD}\n"), tmp_path / "table")
    assert rows(table) == [(f"{NFC}/a.jpg", 1), ("the/b.jpg", 0)]
    make(tree, f"{NFD}/c.jpg")
    with pytest.raises(InputError, match=r"sub-folders 'cafe\\u0301' and 'caf\\xe9' are one name, 'café', in two"):
        build_table(data, tmp_path / "other")


@pytest.mark.parametrize(("folder", "hint"), [("Cat", "'cat'"), ("cat ", "'cat'"), ("d og", "'dog'"), ("dgo", "dog")])
def test_a_name_that_is_nearly_a_class(tmp_path, folder, hint):
    tree = make(tmp_path / "v", f"{folder}/a.jpg")
    with pytest.raises(InputError, match=f"sub-folder {folder!r} is not a class of mine; nearest: {hint} "):
        labelled_folders(tree, ["cat", "dog"], "class of mine")
    make(tree, "zebu/a.jpg", "cat/a.jpg")
    message = r"not a class of mine, nor is 1 more; nearest: .* \(of 2 classes\); rename it or move it out, or give up$"
    with pytest.raises(InputError, match=message):
        labelled_folders(tree, ["cat", "dog"], "class of mine", "give up")


def test_an_image_without_a_class_is_refused_in_training_too(numbers, tmp_path):
    numbers = dataclasses.replace(numbers, class_names=None)
    open_or_build(numbers, tmp_path / "table")
    make(tmp_path / "t", "stray.jpg", "notes.txt")
    message = "image 'stray.jpg' is in no sub-folder, so it has no class; move it into a sub-folder"
    for read in (lambda: open_or_build(numbers, tmp_path / "table"), lambda: build_table(numbers, tmp_path / "x")):
        with pytest.raises(InputError, match=message):
            read()
    make(tmp_path / "t", "also.png")
    with pytest.raises(InputError, match=r"image 'also.png' is in no sub-folder, .* \(2 such images\)"):
        build_table(numbers, tmp_path / "x")


def test_what_is_left_out_is_said_once(tmp_path, capsys):
    for i, name in enumerate(("ant", "bee")):
        for j in range(10):
            file = tmp_path / f"t/{name}/{j}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"\xff\xd8\xff" + bytes([i, j]))
    (tmp_path / "t/ant/x.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    data, table = Data(str(tmp_path / "t"), 2, "folder", val_split=0.3), tmp_path / "table"
    read_validation(data, open_or_build(data, table))
    assert capsys.readouterr().err.count("x.HEIC") == 1
    read_validation(data, open_or_build(data, table))  # as another call of the same line does
    assert capsys.readouterr().err.count("x.HEIC") == 1
    for i in range(9):  # some are held back, by their bytes
        (tmp_path / f"t/ant/new{i}.jpg").write_bytes(b"\xff\xd8\xff" + bytes([7, i]))
    with pytest.raises(InputError, match="the table was built differently"):
        open_or_build(data, table)
    assert capsys.readouterr().err.count("x.HEIC") == 1
    assert table_changes(data, Table.open(table), quiet=True) and "HEIC" not in capsys.readouterr().err


def test_a_folder_one_level_too_high_is_noted(tmp_path, capsys):
    tree = make(tmp_path / "t", "train/ant/a.jpg", "train/bee/b.jpg", "val/ant/c.jpg", "val/bee/d.jpg")
    assert build_table(Data(str(tree), 2, "folder"), tmp_path / "table").class_names == ["train", "val"]
    said = "its folders are the classes (train, val), and each of them holds folders with the same names (ant, bee)"
    assert f"note: {tree}: {said}; if those are the classes, give one" in capsys.readouterr().err
    make(tree, "test/e.jpg")  # a class without them
    build_table(Data(str(tree), 3, "folder"), tmp_path / "table2")
    assert "note" not in capsys.readouterr().err


def test_a_validation_tree_that_is_not_there(numbers):
    numbers = dataclasses.replace(numbers, class_names=None, val_root=f"{numbers.root}/no")
    with pytest.raises(InputError, match=r"^data\.val_root: .*/no: is not a folder; .* data\.val_split=0\.1"):
        read_validation(numbers)
