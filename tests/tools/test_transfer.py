"""Transfer to PASCAL VOC: its layout read, features, linear classifiers, and the figures that come out."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.svm import LinearSVC

from tests.helpers.predict import NETWORK, TRANSFORM, make_network, prepare, save_checkpoint
from tests.helpers.voc import CLASSES, annotation, labels_of, write_voc
from tools import transfer, transfer_classifier, transfer_mosaics
from tools.transfer_classifier import classify, parts, scaled
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.data.images.decode import decode
from urnet.data.lists.image_list import read_image_list
from urnet.data.lists.voc import read_objects, read_voc

SPLITS = ["trainval", "test"]

# --- the layout


@pytest.mark.parametrize("lists", [True, False])
def test_labels_are_those_of_the_objects_with_class_lists_or_without(tmp_path, capsys, lists):
    made = write_voc(tmp_path, lists=lists)
    classes, splits = read_voc(tmp_path, SPLITS)
    assert classes == CLASSES
    for split in splits:
        ids, objects = made[split.name]
        assert list(split.images.paths) == [f"{name}.jpg" for name in ids]
        assert Path(split.images.path(0)).is_file()
        np.testing.assert_array_equal(split.labels, labels_of(objects))
        assert set(np.unique(split.labels)) == {-1, 0, 1}
    assert capsys.readouterr().err == ""


def test_lists_count_where_annotations_disagree_and_that_is_said(tmp_path, capsys):
    made = write_voc(tmp_path)
    ids, objects = made["test"]
    row = next(i for i, each in enumerate(objects) if ("cat", False) in each)
    (tmp_path / f"Annotations/{ids[row]}.xml").write_text(annotation([("horse", False)]))
    gone = len({name for name, _ in objects[row]})
    _, splits = read_voc(tmp_path, SPLITS)
    np.testing.assert_array_equal(splits[1].labels, labels_of(objects))
    told = capsys.readouterr().err
    assert f"note: {tmp_path}/ImageSets/Main: {gone} of 120 labels of test are not what Annotations" in told
    for file in (tmp_path / "Annotations").iterdir():
        file.unlink()
    (tmp_path / "Annotations").rmdir()
    np.testing.assert_array_equal(read_voc(tmp_path, SPLITS)[1][1].labels, labels_of(objects))
    assert capsys.readouterr().err == ""


def test_a_list_in_another_order_is_the_same(tmp_path):
    write_voc(tmp_path)
    before = read_voc(tmp_path, SPLITS)[1][1].labels
    file = tmp_path / "ImageSets/Main/cat_test.txt"
    file.write_text("".join(sorted(file.read_text().splitlines(keepends=True), reverse=True)))
    np.testing.assert_array_equal(read_voc(tmp_path, SPLITS)[1][1].labels, before)


LAUGHS = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]><annotation>&c;</annotation>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><annotation>&f;</annotation>'
OBJECT = "<annotation><object>{}</object></annotation>"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (LAUGHS, "has a document type"),
        (OUTSIDE, "has a document type"),
        (LAUGHS.encode("utf-16"), "has a document type"),
        ('<!DOCTYPE annotation SYSTEM "http://127.0.0.1/x.dtd"><annotation/>', "has a document type"),
        ("<annotation><object>", "is no XML that can be read"),
        ("", "is no XML that can be read"),
        ("<annotation>&nope;</annotation>", "is no XML that can be read"),
        (b"<annotation>\xff</annotation>", "is no XML that can be read"),
        (b'<?xml version="1.0" encoding="x-none"?><annotation/>', "is no XML that can be read"),
        (b"\x00" * 9, "is no XML that can be read"),
        ("<html><body/></html>", "is a 'html'; VOC's `annotation` is accepted"),
        (OBJECT.format("<difficult>1</difficult>"), "object 1: found name '', difficult '1'"),
        (OBJECT.format("<name>a</name><difficult>maybe</difficult>"), "difficult 'maybe'; a name, and 0 or 1"),
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
    file.write_text("<annotation>" + "<object>" * 50_000 + "</object>" * 50_000 + "</annotation>")
    with pytest.raises(InputError, match="object 1: found name ''"):
        read_objects(file)


# --- the classifiers


def test_scaling_is_by_the_training_rows_alone():
    rng = np.random.default_rng(0)
    train, test = (rng.normal(3, 2, (n, 5)).astype(np.float32) for n in (40, 7))
    test[3] = train.mean(axis=0)
    a, b = scaled(train, test)
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(b[0], (test[0] - train.mean(0)) / np.linalg.norm(test[0] - train.mean(0)), atol=1e-6)
    assert np.isfinite(b).all()
    np.testing.assert_array_equal(scaled(train, test[:2])[1], b[:2])
    np.testing.assert_array_equal(scaled(train[:3] * 0, test[:1] * 0)[1], np.zeros((1, 5)))


def test_parts_share_every_labelled_row_out():
    labels = np.random.default_rng(0).choice([-1, 0, 1], 200, p=[0.8, 0.1, 0.1])
    fit, judge = parts(labels)
    assert sorted([*fit, *judge]) == np.flatnonzero(labels != 0).tolist()
    for label in (1, -1):
        n = (labels == label).sum()
        assert (labels[judge] == label).sum() == round(n / 3)
    assert [part.tolist() for part in parts(np.array([1, -1, 1, -1, 0]))] in (
        [[f, g], [j, k]] for f, j in ((0, 2), (2, 0)) for g, k in ((1, 3), (3, 1))
    )


def features(n, rng, noise=1.0):
    labels = rng.choice([-1, 1], (n, 2), p=[0.7, 0.3])
    x = rng.normal(0, noise, (n, 30))
    x[:, :2] += labels
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), labels


def test_c_is_the_best_of_a_part_and_the_classifier_is_of_all_rows(monkeypatch):
    rng = np.random.default_rng(0)
    (train, labels), (test, _) = features(150, rng), features(50, rng)
    cs = [0.001, 1.0, 10.0]
    found = classify(train, labels, test, ["a", "b"], cs)
    for c in range(2):
        fit, judge = parts(labels[:, c])
        ap = {}
        for value in cs:
            svm = LinearSVC(C=value, dual=False)
            svm.fit(train[fit].astype(float), labels[fit, c])
            ap[value] = average_precision_score(
                labels[judge, c] == 1, svm.decision_function(train[judge].astype(float))
            )
        assert found.c[c] == max(cs, key=ap.get)
        assert found.judged[c] == pytest.approx(max(ap.values()))
        svm = LinearSVC(C=found.c[c], dual=False)
        svm.fit(train.astype(float), labels[:, c])
        np.testing.assert_allclose(found.test[:, c], svm.decision_function(test.astype(float)), atol=1e-9)
    threads = classify(train, labels, test, ["a", "b"], cs, jobs=2)
    np.testing.assert_array_equal(threads.test, found.test)
    assert found.unfinished == 0
    monkeypatch.setattr(transfer_classifier, "MOST_ITERATIONS", 1)
    assert classify(train, labels, test, ["a", "b"], [1.0]).unfinished == 2


def test_difficult_rows_teach_nothing():
    rng = np.random.default_rng(1)
    (train, labels), (test, _) = features(120, rng), features(30, rng)
    labels[::7, 0] = 0
    first = classify(train, labels, test, ["a", "b"], [0.1, 1.0])
    train[::7] = rng.normal(0, 1e3, train[::7].shape)
    second = classify(train, labels, test, ["a", "b"], [0.1, 1.0])
    np.testing.assert_array_equal(first.test[:, 0], second.test[:, 0])
    assert (first.test[:, 1] != second.test[:, 1]).any()


# --- the tool


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """VOC's layout and a checkpoint of a network with random weights."""
    root = tmp_path_factory.mktemp("toy")
    made = write_voc(root / "voc")
    names = [f"{name}.jpg" for name in made["trainval"][0]]
    network = make_network(root / "voc/JPEGImages", names, TRANSFORM)
    return root, made, network, save_checkpoint(root / "checkpoint", network)


def call(toy, *arguments, voc=None):
    root, _, _, checkpoint = toy
    fixed = ["--pretrained_model", checkpoint, "--voc", voc or root / "voc", "--use_gpu", "False"]
    return cli.run(transfer.main, [str(part) for part in (*fixed, *arguments)])


def expected(toy, c):
    """The three figures' last, from images to scikit-learn's average precision, step by step."""
    import paddle

    root, made, network, _ = toy
    x, y = [], []
    for split in SPLITS:
        ids, objects = made[split]
        views = [prepare(root / f"voc/JPEGImages/{name}.jpg", TRANSFORM) for name in ids]
        with paddle.no_grad():
            x.append(network.features(paddle.to_tensor(np.stack(views))).numpy().astype(np.float64))
        y.append(labels_of(objects))
    mean = x[0].mean(axis=0)
    x = [(rows - mean) / np.linalg.norm(rows - mean, axis=1, keepdims=True) for rows in x]
    found = []
    for k in range(len(CLASSES)):
        a, b = (labels[:, k] != 0 for labels in y)
        svm = LinearSVC(C=c, random_state=0, dual=True, max_iter=5000).fit(x[0][a], y[0][a, k])
        found.append(average_precision_score(y[1][b, k] == 1, svm.decision_function(x[1][b])))
    return found


def test_figures_are_those_of_a_plain_computation(toy, tmp_path, capsys):
    assert call(toy, "--c", "1", "--batch_size", "7", "--out", tmp_path / "f.json") == 0
    out = capsys.readouterr().out.splitlines()
    tree = json.loads((tmp_path / "f.json").read_text())
    figures = [row["exact"] for row in tree["classes"]]
    np.testing.assert_allclose(figures, expected(toy, 1.0), atol=0.02)  # another solver; features are rounded otherwise
    assert min(figures) > 1.2 * min(row["positive"] / 40 for row in tree["classes"])
    labels = labels_of(toy[1]["test"][1])
    for c, (row, line) in enumerate(zip(tree["classes"], out, strict=True)):
        assert line == (
            f"{CLASSES[c]} eleven_point:{row['eleven_point']:.4f} area:{row['area']:.4f} "
            f"exact:{row['exact']:.4f} c:1 positive:{(labels[:, c] == 1).sum()} "
            f"difficult:{(labels[:, c] == 0).sum()}"
        )
    assert out[-2] == f"60 training and 40 test images, 0 unreadable, {toy[2].feature_width} features"
    assert out[-1] == "mAP " + " ".join(
        f"{kind}:{np.mean([row[kind] for row in tree['classes']]):.4f}" for kind in ("eleven_point", "area", "exact")
    )
    assert tree["model"] == NETWORK
    assert call(toy, "--c", "1", "--batch_size", "7", "--out", tmp_path / "again.json") == 0
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "f.json").read_bytes()


def test_unreadable_images_are_refused_or_left_out(toy, tmp_path, capsys):
    made = write_voc(tmp_path / "voc")
    bad = tmp_path / f"voc/JPEGImages/{made['test'][0][3]}.jpg"
    bad.write_bytes(b"no image")
    assert call(toy, voc=tmp_path / "voc") == 2
    assert f"error: {bad}: is no readable image" in capsys.readouterr().err
    assert call(toy, "--max_bad", "1", "--c", "1", voc=tmp_path / "voc") == 0
    assert "60 training and 39 test images, 1 unreadable" in capsys.readouterr().out


def spoil(path, find, put):
    """Replace text in a file, or the file by a pipe or nothing."""
    if put is None:
        path.unlink()
    elif put == "pipe":
        path.unlink()
        os.mkfifo(path)
    else:
        text = path.read_text()
        assert re.search(find, text)
        path.write_text(re.sub(find, put, text, count=1))


@pytest.mark.parametrize(
    ("file", "find", "put", "words"),
    [
        ("ImageSets/Main/test.txt", "", None, "ImageSets/Main/test.txt: is no file"),
        ("ImageSets/Main/test.txt", "", "pipe", "ImageSets/Main/test.txt: is no file"),
        ("ImageSets/Main/test.txt", "000061", "../61", "test.txt:1: found '../61'; an image's name"),
        ("ImageSets/Main/test.txt", "000061", "..", "test.txt:1: found '..'"),
        ("ImageSets/Main/test.txt", "000061", "000062", "test.txt:2: 000062 is listed already in line 1"),
        ("ImageSets/Main/test.txt", "000061", "000001", "_test.txt: has 40 lines but the split 40 images"),
        ("ImageSets/Main/test.txt", r"(?s).*", "\n", "test.txt: lists no image"),
        ("ImageSets/Main/cat_test.txt", "", None, "class cat has a list of test or of trainval, but"),
        ("ImageSets/Main/cat_test.txt", "", "pipe", "cat_test.txt: is no file"),
        ("ImageSets/Main/cat_test.txt", "000070 .*\n", "", "has 39 lines but the split 40 images, 1 of them"),
        ("ImageSets/Main/cat_test.txt", "000070 .*\n", "000071 1\n", "1 of them not here, such as 000070;"),
        ("ImageSets/Main/cat_test.txt", "000070 .*\n", "000070 2\n", "label 2 is outside; accepted: -1..1"),
        ("ImageSets/Main/cat_test.txt", "000070 .*\n", "000070 x\n", "label 'x' is no integer"),
        ("ImageSets/Main/cat_test.txt", "(?s).*", "# none", "cat_test.txt: has 0 lines"),
        ("Annotations/000070.xml", "", None, "Annotations/000070.xml: is no file"),
        ("Annotations/000070.xml", "", "pipe", "Annotations/000070.xml: is no file"),
        ("Annotations/000070.xml", "^", LAUGHS, "000070.xml: has a document type"),
    ],
)
def test_hostile_folders_are_one_line(toy, tmp_path, capsys, file, find, put, words):
    write_voc(tmp_path / "voc")
    spoil(tmp_path / "voc" / file, find, put)
    assert call(toy, voc=tmp_path / "voc") == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert words in told.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--voc", "/nowhere"], "/nowhere/ImageSets/Main: is no folder"),
        (["--train", "../x"], "split: found '../x'"),
        (["--train", "test"], "--train test, --test test: 40 images are in both, such as 000061.jpg"),
        (["--c", "1,x"], "--c: found '1,x'"),
        (["--c", "0"], "--c: found '0'"),
        (["--c", "inf"], "--c: found 'inf'"),
        (["--c", "nan,1"], "--c: found 'nan,1'"),
        (["--batch_size", "0"], "--batch_size: found 0"),
        (["--image_shape", "3,4,4"], "--image_shape"),
        (["--out", "/"], "--out /: is a folder"),
        (["--pretrained_model", "/nowhere"], "/nowhere: does not exist"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_usage(toy, capsys, arguments, words):
    with pytest.raises(SystemExit) if "--nonsense" in arguments else _nothing() as left:
        assert call(toy, *arguments) == 2
    assert left is None or left.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert words in told.err


class _nothing:
    def __enter__(self):
        return None

    def __exit__(self, *_):
        return False


@pytest.mark.parametrize(
    ("split", "value", "words"),
    [
        ("trainval", " 1", "class cat: 1 positive training images; 2 or more are needed, to choose C"),
        ("test", "-1", "--test test: class cat: has no positive row"),
    ],
)
def test_a_class_without_examples(toy, tmp_path, capsys, split, value, words):
    write_voc(tmp_path / "voc")
    file = tmp_path / f"voc/ImageSets/Main/cat_{split}.txt"
    lines = [f"{line.split()[0]} -1\n" for line in file.read_text().splitlines()]
    file.write_text("".join([lines[0].replace("-1", value), *lines[1:]]))
    assert call(toy, voc=tmp_path / "voc") == 2
    assert words in capsys.readouterr().err


def test_an_object_of_an_unlisted_class(toy, tmp_path, capsys):
    """The labels of test are the annotations', its classes those that trainval has lists of."""
    made = write_voc(tmp_path / "voc")
    for file in (tmp_path / "voc/ImageSets/Main").glob("*_test.txt"):
        file.unlink()
    _, splits = read_voc(tmp_path / "voc", SPLITS)
    np.testing.assert_array_equal(splits[1].labels, labels_of(made["test"][1]))
    (tmp_path / "voc/Annotations/000070.xml").write_text(annotation([("horse", False)]))
    assert call(toy, voc=tmp_path / "voc") == 2
    assert "test.txt: image 000070 has an object 'horse', which has no class list" in capsys.readouterr().err


# --- mosaics


def test_mosaics_are_what_their_lists_say(toy, tmp_path, capsys):
    root, made, _, _ = toy
    ids = [name for split in SPLITS for name in made[split][0]]
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{name}.jpg {i % 3}\n" for i, name in enumerate(ids)))
    arguments = ["--img_list", str(listed), "--img_path", str(root / "voc/JPEGImages"), "--count", "30"]
    for name in ("a", "b"):
        assert cli.run(transfer_mosaics.main, [*arguments, "--out", str(tmp_path / name)]) == 0
    classes, splits = read_voc(tmp_path / "a", SPLITS)
    assert classes == ["c0000", "c0001", "c0002"]
    assert "note" not in capsys.readouterr().err  # lists and annotations agree
    assert {0, 1, -1} == set(np.unique(splits[0].labels))
    for file in (tmp_path / "a").rglob("*.*"):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()
    picture = decode((tmp_path / "a/JPEGImages/000001.jpg").read_bytes())
    assert picture.shape == (64, 64, 3)
    (root / "voc/JPEGImages/bad.jpg").write_text("no image")
    (tmp_path / "bad.txt").write_text("bad.jpg 0\nbad2.jpg 0\n")
    (root / "voc/JPEGImages/bad2.jpg").write_text("no image")
    bad_list = ["--img_list", str(tmp_path / "bad.txt")]
    for bad in (["--count", "0"], ["--tile", "100000000"], ["--out", str(tmp_path / "a")], bad_list):
        assert cli.run(transfer_mosaics.main, [*arguments, "--out", str(tmp_path / "c"), *bad]) == 2


def test_no_image_is_in_both_halves_and_every_tile_is_of_its_class(toy, tmp_path):
    labels = np.repeat([0, 1, 5], [7, 2, 9])
    rng = np.random.default_rng(0)
    pools = transfer_mosaics.halves(labels, rng)
    rows = [row for pool in pools.values() for part in pool.values() for row in part]
    assert sorted(rows) == list(range(18))
    drawn = transfer_mosaics.draw(pools["test"], 300, rng)
    tiles = [tile for picture in drawn for tile in picture]
    assert all(labels[row] == label and row in pools["test"][label] for row, label, _ in tiles)
    counts = np.bincount([len({label for _, label, _ in picture}) for picture in drawn])
    assert counts[1:].min() > 50  # of 300: 1, 2 and 3 classes, as there are no more
    with pytest.raises(InputError, match="class 1 has one image"):
        transfer_mosaics.halves(np.array([0, 0, 1]), rng)
    twice = tmp_path / "twice.txt"
    twice.write_text("a.png 0\nb.png 1\na.png 0\n")
    with pytest.raises(InputError, match=r"twice\.txt:3: a\.png is listed already, at .*twice\.txt:1"):
        transfer_mosaics.check_paths(read_image_list(twice, tmp_path, check_exists=False))
    missing = tmp_path / "list.txt"
    missing.write_text("x.jpg 1\n")
    with pytest.raises(InputError, match="missing"):
        read_image_list(missing, tmp_path, check_exists=True)
