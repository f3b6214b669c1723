"""PASCAL VOC's layout: labels from class lists and from annotations, and every fault named in one line."""

import os
import re

import numpy as np
import pytest

from tests.helpers.voc import CLASSES, annotation, labels_of, objects_of, write_layout
from urnet.core.checks import InputError
from urnet.data.lists.voc import read_objects, read_voc

SPLITS = ["trainval", "test"]
OBJECTS = {"trainval": objects_of(60, 0), "test": objects_of(40, 1)}


@pytest.mark.parametrize("lists", [True, False])
def test_labels_are_those_of_the_objects_with_class_lists_or_without(tmp_path, capsys, lists):
    ids = write_layout(tmp_path, OBJECTS, lists=lists)
    classes, splits = read_voc(tmp_path, SPLITS)
    assert classes == CLASSES
    for split in splits:
        assert list(split.images.paths) == [f"{name}.jpg" for name in ids[split.name]]
        assert split.images.path(0) == str(tmp_path / f"JPEGImages/{ids[split.name][0]}.jpg")
        np.testing.assert_array_equal(split.labels, labels_of(OBJECTS[split.name]))
        assert set(np.unique(split.labels)) == {-1, 0, 1}
    assert capsys.readouterr().err == ""


def test_lists_count_where_annotations_disagree_and_that_is_reported(tmp_path, capsys):
    ids = write_layout(tmp_path, OBJECTS)["test"]
    row = next(i for i, each in enumerate(OBJECTS["test"]) if ("cat", False) in each)
    (tmp_path / f"Annotations/{ids[row]}.xml").write_text(annotation([("horse", False)]))
    gone = len({name for name, _ in OBJECTS["test"][row]})
    _, splits = read_voc(tmp_path, SPLITS)
    np.testing.assert_array_equal(splits[1].labels, labels_of(OBJECTS["test"]))
    note = f"note: {tmp_path}/ImageSets/Main: {gone} of 120 labels of test are not what Annotations"
    assert note in capsys.readouterr().err


def test_lists_alone_are_enough_in_any_order(tmp_path, capsys):
    write_layout(tmp_path, OBJECTS)
    (tmp_path / "Annotations").rename(tmp_path / "elsewhere")
    file = tmp_path / "ImageSets/Main/cat_test.txt"
    file.write_text("".join(sorted(file.read_text().splitlines(keepends=True), reverse=True)))
    np.testing.assert_array_equal(read_voc(tmp_path, SPLITS)[1][1].labels, labels_of(OBJECTS["test"]))
    assert capsys.readouterr().err == ""


def test_an_object_of_an_unlisted_class(tmp_path):
    """The labels of test are the annotations', its classes those that trainval has lists of."""
    write_layout(tmp_path, OBJECTS)
    for file in (tmp_path / "ImageSets/Main").glob("*_test.txt"):
        file.unlink()
    np.testing.assert_array_equal(read_voc(tmp_path, SPLITS)[1][1].labels, labels_of(OBJECTS["test"]))
    (tmp_path / "Annotations/000070.xml").write_text(annotation([("horse", False)]))
    with pytest.raises(InputError, match=r"test\.txt: image 000070 has an object 'horse', which has no class list"):
        read_voc(tmp_path, SPLITS)


LAUGHS = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]><annotation>&c;</annotation>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><annotation>&f;</annotation>'
OBJECT = "<annotation><object>{}</object></annotation>"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (LAUGHS, "has a document type"),
        (OUTSIDE, "has a document type"),
        ('<!DOCTYPE annotation SYSTEM "http://127.0.0.1/x.dtd"><annotation/>', "has a document type"),
        ("<annotation><object>", "is not readable XML"),
        ("", "is not readable XML"),
        (b"<annotation>\xff</annotation>", "is not readable XML"),
        (b'<?xml version="1.0" encoding="x-none"?><annotation/>', "is not readable XML"),
        ("<html><body/></html>", "is a 'html'; VOC's `annotation` is accepted"),
        (OBJECT.format("<difficult>1</difficult>"), "object 1: found name '', difficult '1'"),
        (OBJECT.format("<name>a</name><difficult>maybe</difficult>"), "difficult 'maybe'; a name, and 0 or 1"),
        ("<annotation>" + "<object>" * 50_000 + "</object>" * 50_000 + "</annotation>", "object 1: found name ''"),
        (b" " * ((1 << 20) + 1), "has 1,048,577 bytes; up to 1,048,576 are accepted"),
    ],
)
def test_hostile_annotations(tmp_path, data, words):
    file = tmp_path / "x.xml"
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(InputError) as error:
        read_objects(file)
    assert str(error.value).startswith(f"{file}: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_only_the_objects_own_names_are_read(tmp_path):
    file = tmp_path / "x.xml"
    file.write_text(
        "<annotation><name>no</name><difficult>1</difficult><object><name> ca<!-- -->t\n</name><part><name>no"
        "</name><difficult>1</difficult></part></object><other><object><name>no</name></object></other>"
        "<object><difficult>1</difficult><name>&#100;og</name></object></annotation>"
    )
    assert read_objects(file) == [("cat", False), ("dog", True)]


def spoil(path, find, put):
    """Replace text in a file, or the file by a pipe or nothing."""
    if put is None:
        path.unlink()
    elif put == "pipe":
        path.unlink()
        os.mkfifo(path)
    else:
        text, count = re.subn(find, put, path.read_text(), count=1)
        assert count
        path.write_text(text)


@pytest.mark.parametrize(
    ("file", "find", "put", "words"),
    [
        ("ImageSets/Main/test.txt", "", None, "ImageSets/Main/test.txt: is not a file"),
        ("ImageSets/Main/test.txt", "000061", "../61", "test.txt:1: found '../61'; an image's name"),
        ("ImageSets/Main/test.txt", "000061", "000062", "test.txt:2: 000062 is listed already in line 1"),
        ("ImageSets/Main/test.txt", "000061", "000001", "_test.txt: has 40 lines but the split 40 images"),
        ("ImageSets/Main/test.txt", r"(?s).*", "\n", "test.txt: lists no image"),
        ("ImageSets/Main/cat_test.txt", "", None, "class cat has a list of test or of trainval, but"),
        ("ImageSets/Main/cat_test.txt", "", "pipe", "cat_test.txt: is not a file"),
        ("ImageSets/Main/cat_test.txt", "000070 .*\n", "", "has 39 lines but the split 40 images, 1 of them"),
        ("ImageSets/Main/cat_test.txt", "000070 .*\n", "000071 1\n", "1 of them not here, such as 000070;"),
        ("ImageSets/Main/cat_test.txt", "000070 .*\n", "000070 2\n", "label 2 is outside; accepted: -1..1"),
        ("Annotations/000070.xml", "", "pipe", "Annotations/000070.xml: is not a file"),
        ("Annotations/000070.xml", "^", LAUGHS, "000070.xml: has a document type"),
    ],
)
def test_hostile_folders_are_one_line(tmp_path, file, find, put, words):
    write_layout(tmp_path, OBJECTS)
    spoil(tmp_path / file, find, put)
    with pytest.raises(InputError) as error:
        read_voc(tmp_path, SPLITS)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
