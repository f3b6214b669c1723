"""How many classes there are, and training on a part of them."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.webvision import write_lists
from urnet.config.recipe import Data
from urnet.core.checks import InputError
from urnet.data.lists.build_table import build_table, open_or_build, read_validation
from urnet.data.lists.classes import settle
from urnet.data.lists.query_texts import read_query_texts


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def rows(table):
    names = [table.strings(name, range(table.n_rows)) for name in ("path", "source", "text")]
    numbers = [table.column(name).tolist() for name in ("label", "query", "rank")]
    return list(zip(names[0], *numbers, *names[1:], strict=True))


def pairs(table):
    return [row[:2] for row in rows(table)]


@pytest.fixture
def tree(tmp_path):
    make(tmp_path / "t", "ant/1.jpg", "ant/2.jpg", "bee/3.jpg", "cat/4.jpg")
    make(tmp_path / "v", "ant/5.jpg", "bee/6.jpg", "cat/7.jpg")
    return Data(str(tmp_path / "t"), None, "folder", val_root=str(tmp_path / "v"))


@pytest.fixture
def listed(tmp_path):
    (tmp_path / "train.txt").write_text("a.jpg 0\nb.jpg 3\nc.jpg 1\nd.jpg 2\n")
    (tmp_path / "val.txt").write_text("e.jpg 3\nf.jpg 0\ng.jpg 1\n")
    return Data(str(tmp_path), None, "list", str(tmp_path / "train.txt"), val_list=str(tmp_path / "val.txt"))


@pytest.fixture
def web(tmp_path):
    return write_lists(tmp_path / "web"), Data(str(tmp_path / "web"), None, "webvision2")


# ------------------------------------------------------------------ counting


def test_classes_are_counted(tree, listed, web, tmp_path):
    assert [settle(data).n_classes for data in (tree, listed, web[1])] == [3, 4, 3]
    (tmp_path / "names.txt").write_text("0 x\n1 y\n2 z\n3 w\n4 v\n")
    named = dataclasses.replace(listed, class_names=str(tmp_path / "names.txt"))
    assert settle(named).n_classes == 5
    given = dataclasses.replace(tree, n_classes=7)
    assert settle(given) is given  # a number that is given is not counted; the table is refused then
    (tmp_path / "synsets.txt").write_text("n00000001\nn00000002\n")
    assert settle(dataclasses.replace(listed, format="imagenet")).n_classes == 2


def test_what_cannot_be_counted(tree, web, tmp_path):
    make(tmp_path / "one", "ant/1.jpg")
    with pytest.raises(InputError, match=r"data\.root: .*one has 1 sub-folder \(ant\); two or more are needed"):
        settle(dataclasses.replace(tree, root=str(tmp_path / "one")))
    make(tmp_path / "both", "train/ant/1.jpg", "val/ant/1.jpg")
    with pytest.raises(InputError, match=r"sub-folders train, val, which look like parts of a data set.*both/train$"):
        settle(dataclasses.replace(tree, root=str(tmp_path / "both")))
    (tmp_path / "web/info/synsets.txt").unlink()
    with pytest.raises(InputError, match=r"null counts the names in .*synsets\.txt, which does not exist; give"):
        settle(web[1])
    (tmp_path / "big.txt").write_text("ant/1.jpg 0\nant/2.jpg 100000000\n")
    with pytest.raises(InputError, match=r"big\.txt: its largest label is 100,000,000, .* up to 1,000,000 classes are"):
        settle(Data(tree.root, None, "list", train_list=str(tmp_path / "big.txt"), val_list=str(tmp_path / "big.txt")))


# ------------------------------------------------------------------ a part of the classes


@pytest.mark.parametrize("classes", [("cat", "ant"), ("2", "0"), ("2", "ant"), "file", "numbers"])
def test_a_part_of_a_tree(tree, tmp_path, classes, capsys):
    if isinstance(classes, str):
        (tmp_path / "some.txt").write_text({"file": "cat\nant\n", "numbers": "2\n\n0\n"}[classes])
        classes = (str(tmp_path / "some.txt"),)
    data = settle(dataclasses.replace(tree, classes=classes))
    assert (data.n_classes, data.classes) == (2, ("cat", "ant")) and settle(data) == data
    table = open_or_build(data, tmp_path / "table")
    assert pairs(table) == [("ant/1.jpg", 1), ("ant/2.jpg", 1), ("cat/4.jpg", 0)]
    assert table.class_names == ["cat", "ant"]
    note = "note: data.classes: 2 of 3 classes train, 0 'cat', 1 'ant'; 1 image of the others does not\n"
    assert capsys.readouterr().err == note
    images = read_validation(data)
    assert list(images.paths) == ["ant/5.jpg", "cat/7.jpg"] and images.labels.tolist() == [1, 0]
    assert "1 validation images of other classes are left out" in capsys.readouterr().err
    assert open_or_build(data, tmp_path / "table").base_hash == table.base_hash
    other = settle(dataclasses.replace(tree, classes=("cat", "bee")))
    with pytest.raises(InputError, match=r'data\.classes was \["cat", "ant"\], now it is \["cat", "bee"\]'):
        open_or_build(other, tmp_path / "table")
    make(tmp_path / "t", "bee/8.jpg")  # not a class that trains: nothing has changed
    open_or_build(data, tmp_path / "table")


def test_a_part_of_a_list_without_names(listed, tmp_path):
    data = settle(dataclasses.replace(listed, classes=("3", "0-1")))
    assert (data.n_classes, data.classes) == (3, ("3", "0", "1"))
    table = build_table(data, tmp_path / "table")
    assert pairs(table) == [("a.jpg", 1), ("b.jpg", 0), ("c.jpg", 2)] and table.class_names == ["", "", ""]
    images = read_validation(data)
    assert list(zip(images.paths, images.labels.tolist(), images.lines.tolist(), strict=True)) == [
        ("e.jpg", 0, 1),
        ("f.jpg", 1, 2),
        ("g.jpg", 2, 3),
    ]
    images = read_validation(settle(dataclasses.replace(listed, classes=("2", "1"))))
    assert images.where(0).endswith("val.txt:3") and images.labels.tolist() == [1]


@pytest.mark.parametrize("classes", [("0-1",), ("n00000001", "two"), ("one, first", "1"), ("one", "two")])
def test_a_part_of_webvision_stays_beside_its_metadata(web, tmp_path, classes):
    written, data = web
    data = settle(dataclasses.replace(data, classes=classes))
    assert (data.n_classes, data.classes) == (2, ("one, first", "two"))
    table = build_table(data, tmp_path / "table", block_bytes=50)
    assert rows(table) == [row for row in written if row[1] < 2] and table.class_names == ["one, first", "two"]
    assert read_validation(data).labels.tolist() == [0]
    texts = read_query_texts(data, table.class_names)
    assert texts.query_class[1:] == [0, 0, 1, -1] and len(texts.classes) == 2 and "query 3" in texts.classes[1]


def test_in_another_order_labels_follow(web, tmp_path):
    written, data = web
    data = settle(dataclasses.replace(data, classes=("2", "0")))
    expected = [(row[0], {2: 0, 0: 1}[row[1]], *row[2:]) for row in written if row[1] != 1]
    assert rows(build_table(data, tmp_path / "table")) == expected
    assert read_validation(data).labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("ant", "bea"), "data.classes: 'bea' is not a class; nearest: bee"),
        (("ant", "3"), "data.classes: found 3; the classes are 0 to 2"),
        (("ant", "0"), "data.classes: found '0'; class 0 is already chosen, as 'ant'"),
        (("2-0",), "data.classes: found 2-0; the classes are 0 to 2"),
        (("ant",), "data.classes: found 'ant', which is not a file; accepted: a list"),
        (("1-1",), "data.classes: chooses 1 class; 2 or more"),
        (("ant", ""), "data.classes: '' is not a class"),
    ],
)
def test_classes_that_are_not_there(tree, classes, message):
    with pytest.raises(InputError, match=message):
        settle(dataclasses.replace(tree, classes=classes))


def test_the_number_must_be_that_of_the_part(tree, tmp_path):
    with pytest.raises(InputError, match=r"found 3, but data\.classes chooses 2; null is accepted, or 2"):
        settle(dataclasses.replace(tree, n_classes=3, classes=("ant", "bee")))
    (tmp_path / "some.txt").write_text("ant\nbea\n")
    with pytest.raises(InputError, match=r"some\.txt:2: 'bea' is not a class"):
        settle(dataclasses.replace(tree, classes=(str(tmp_path / "some.txt"),)))


def test_two_classes_of_one_name_are_chosen_by_number(listed, tmp_path):
    (tmp_path / "names.txt").write_text("crane\ncat\ncrane\ndog\n")
    data = dataclasses.replace(listed, class_names=str(tmp_path / "names.txt"))
    with pytest.raises(InputError, match="'crane' is the name of the classes 0 and 2; give a number"):
        settle(dataclasses.replace(data, classes=("crane", "dog")))
    assert settle(dataclasses.replace(data, classes=("2", "dog"))).classes == ("2", "dog")


def test_renumbering_is_a_bijection_of_what_is_kept(web):
    from urnet.data.lists.classes import read_classes

    classes = read_classes(settle(dataclasses.replace(web[1], classes=("2", "0"))))
    labels = np.array([0, 1, 2, 2, 0])
    kept, (places,) = classes.keep(labels, np.arange(5))
    np.testing.assert_array_equal(classes.chosen[kept], labels[places])
    assert places.tolist() == [0, 2, 3, 4]
