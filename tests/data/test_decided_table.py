"""The table of a data set that a person decided about, in each format, with a part of the classes and a split."""

import dataclasses
import hashlib
import shutil

import numpy as np
import pyarrow as pa
import pytest

from tests.helpers.webvision import write_web
from urnet.config.recipe import Data
from urnet.core.checks import InputError
from urnet.data.decisions import HEADER, Decision, DecisionsFile
from urnet.data.lists.build_table import build_table, list_changes, open_or_build, read_validation, table_changes
from urnet.data.lists.classes import settle
from urnet.data.table.table import Table
from urnet.data.table.writer import BASE_SCHEMA, DECIDED_SCHEMA
from urnet.suspects.photos import read_photos

CLASSES = ("cat", "dog", "fox")


def tree(root, n=8):
    """A sub-folder a class of files that differ, and their paths."""
    paths = []
    for name in CLASSES:
        for i in range(n):
            place = root / name / f"{i}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(f"{name} {i}".encode())
            paths.append(f"{name}/{i}.jpg")
    return paths


def decide(file, root, **decisions):
    """Write decisions: path (`/` as `__`) -> a class, "none" or "skip"."""
    with DecisionsFile(file) as held:
        for key, said in decisions.items():
            path = key.replace("__", "/") + ".jpg"
            given = path.split("/")[0]
            kind = said if said in ("none", "skip") else "keep" if said == given else "relabel"
            hashed = hashlib.sha256((root / path).read_bytes()).hexdigest()
            held.write(Decision(path, hashed, given, kind, "" if kind in ("none", "skip") else said))
    return str(file)


@pytest.fixture
def folder(tmp_path):
    tree(tmp_path / "photos")
    return Data(root=str(tmp_path / "photos"), n_classes=3, format="folder")


def with_decisions(data, tmp_path, name="decisions.csv", **decisions):
    return dataclasses.replace(data, decisions=decide(tmp_path / name, tmp_path / "photos", **decisions))


def columns(table):
    paths = table.strings("path", np.arange(table.n_rows))
    values = zip(*(table.column(name).tolist() for name in ("label", "decided", "given")), strict=True)
    return dict(zip(paths, values, strict=True))


SAID = {"cat__1": "fox", "cat__2": "none", "dog__0": "dog", "fox__3": "skip"}
FOUND = {"cat/1.jpg": (2, 1, 0), "cat/2.jpg": (0, 2, 0), "dog/0.jpg": (1, 1, 1)}


def check(table, root):
    rows = columns(table)
    for path, found in rows.items():
        c = CLASSES.index(path.split("/")[0])
        assert found == FOUND.get(path, (c, 0, c)), path
    assert len(rows) == 24 and table.root == root


def test_without_decisions_nothing_is_new(folder, tmp_path):
    table = build_table(folder, tmp_path / "t")
    assert table.decided is None and "decided" not in table.columns and "decisions" not in table.metadata
    with pa.memory_map(str(tmp_path / "t/base.arrow")) as file:
        assert pa.ipc.open_file(file).schema.remove_metadata() == BASE_SCHEMA


def test_folders(folder, tmp_path, capsys):
    data = with_decisions(folder, tmp_path, **SAID)
    table = build_table(data, tmp_path / "t")
    check(table, tmp_path / "photos")
    said = "decisions.csv: 4 decisions: 1 kept, 1 relabelled, 1 none of the classes, 1 skipped\n"
    assert said in capsys.readouterr().err
    with pa.memory_map(str(tmp_path / "t/base.arrow")) as file:
        assert pa.ipc.open_file(file).schema.remove_metadata() == DECIDED_SCHEMA
    file = tmp_path / "decisions.csv"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert table.metadata["decisions_file"] == f"{file} ({digest})"
    assert (tmp_path / "photos/cat/1.jpg").read_bytes() == b"cat 1"  # originals stay as they are
    photos = read_photos(tmp_path / "photos")
    assert list(dict.fromkeys(photos.paths.to_pylist())) == list(columns(table))


def test_lists_by_name_and_by_number(folder, tmp_path):
    paths = tree(tmp_path / "photos")
    lines = [f"{path} {CLASSES.index(path.split('/')[0])}\n" for path in paths]
    for name, text in (
        ("numbers", "".join(lines)),
        ("names", "path,label\n" + "".join(f"{p},{p[:3]}\n" for p in paths)),
    ):
        (tmp_path / name).write_text(text)
        data = Data(root=folder.root, n_classes=3, format="list", train_list=str(tmp_path / name))
        if name == "numbers":  # classes without a name are called by their number
            file = decide(tmp_path / "numbers.csv", tmp_path / "photos", **SAID)
            text = (tmp_path / "numbers.csv").read_text()
            for c, word in enumerate(CLASSES):
                text = text.replace(f",{word},", f",{c},")
            (tmp_path / "numbers.csv").write_text(text)
            data = dataclasses.replace(data, decisions=file)
        else:
            data = with_decisions(data, tmp_path, **SAID)
        check(build_table(data, tmp_path / f"t-{name}"), tmp_path / "photos")


def test_imagenet(folder, tmp_path):
    paths = tree(tmp_path / "photos")
    (tmp_path / "photos/synsets.txt").write_text("n01440764 cat\nn01440765 dog\nn01440766 fox\n")
    (tmp_path / "list").write_text("".join(f"{p} {CLASSES.index(p[:3])}\n" for p in paths))
    data = Data(root=folder.root, n_classes=3, format="imagenet", train_list=str(tmp_path / "list"))
    check(build_table(with_decisions(data, tmp_path, **SAID), tmp_path / "t"), tmp_path / "photos")
    text = (tmp_path / "decisions.csv").read_text()
    (tmp_path / "decisions.csv").write_text(text.replace(",fox,", ",n01440766,"))  # its identifier
    check(
        build_table(dataclasses.replace(data, decisions=str(tmp_path / "decisions.csv")), tmp_path / "u"),
        tmp_path / "photos",
    )


@pytest.mark.parametrize("version", [1, 2])
def test_webvision_keeps_its_texts_and_ranks(tmp_path, version):
    write_web(tmp_path / "web", version)
    data = settle(Data(root=str(tmp_path / "web"), format=f"webvision{version}", n_classes=3))
    plain = build_table(data, tmp_path / "plain")
    paths, labels = plain.strings("path", np.arange(plain.n_rows)), plain.column("label")
    names = [name or str(c) for c, name in enumerate(plain.class_names)]
    other = names[(labels[2] + 1) % 3]
    with DecisionsFile(tmp_path / "d.csv") as held:
        held.write(Decision(paths[0], "", names[labels[0]], "none"))
        held.write(Decision(paths[2], "", names[labels[2]], "relabel", other))
    table = build_table(dataclasses.replace(data, decisions=str(tmp_path / "d.csv")), tmp_path / "t")
    expected = labels.copy()
    expected[2] = names.index(other)
    np.testing.assert_array_equal(table.column("label"), expected)
    np.testing.assert_array_equal(table.column("given"), labels)
    np.testing.assert_array_equal(np.flatnonzero(table.decided), [0, 2])
    for name in ("source", "query", "rank"):
        np.testing.assert_array_equal(table.column(name), plain.column(name))
    assert table.strings("text", np.arange(table.n_rows)) == plain.strings("text", np.arange(plain.n_rows))


def test_a_part_of_the_classes(folder, tmp_path):
    """Decided to show a class that trains: it does, whatever it was given as; one that does not: it is left out."""
    data = with_decisions(folder, tmp_path, dog__0="cat", cat__0="dog", fox__0="cat", fox__1="dog")
    part = settle(dataclasses.replace(data, n_classes=None, classes=("fox", "cat")))
    rows = columns(build_table(part, tmp_path / "t"))
    assert rows["dog/0.jpg"] == (1, 1, -1) and rows["fox/0.jpg"] == (1, 1, 0)
    assert not {"cat/0.jpg", "fox/1.jpg"} & set(rows) and len(rows) == 15
    assert table_changes(part, Table.open(tmp_path / "t")) == ""


def test_a_split_holds_back_what_was_decided_as_it_was_decided(folder, tmp_path, capsys):
    split = dataclasses.replace(folder, val_split=0.4)
    plain = read_validation(split)
    held = [path for path in plain.paths if path.startswith("cat/")]
    assert len(held) >= 2
    said = {held[0][:-4].replace("/", "__"): "dog", held[1][:-4].replace("/", "__"): "none"}
    data = with_decisions(split, tmp_path, **said)
    table = build_table(data, tmp_path / "t")
    for found in (read_validation(data), read_validation(data, table)):
        labels = dict(zip(found.paths, found.labels.tolist(), strict=True))
        assert labels[held[0]] == 1 and held[1] not in labels
        assert set(plain.paths) - set(labels) == {held[1]}
    assert not set(held) & set(columns(table))
    assert "of the validation images 2 are decided; 1 of them shows none of the classes and is left out" in (
        capsys.readouterr().err
    )


def test_a_class_that_nothing_shows_is_refused(folder, tmp_path):
    data = with_decisions(folder, tmp_path, **{f"dog__{i}": "none" for i in range(8)})
    with pytest.raises(InputError) as caught:
        build_table(data, tmp_path / "t")
    assert str(caught.value) == (
        f"{tmp_path}/decisions.csv: 8 training images of class 1 'dog' are decided to show none of the classes, so no "
        "image is left; change decisions, or leave the class out (data.classes)"
    )
    assert not (tmp_path / "t").exists()


def test_a_picture_that_changed_is_refused_and_leaves_nothing(folder, tmp_path):
    data = with_decisions(folder, tmp_path, **SAID)
    (tmp_path / "photos/cat/2.jpg").write_bytes(b"another")
    with pytest.raises(InputError, match=r"decisions\.csv:3: .*cat/2\.jpg is not the picture that was decided"):
        build_table(data, tmp_path / "t")
    assert not (tmp_path / "t").exists()
    with pytest.raises(InputError, match=r"data\.decisions: nothere\.csv is not a file; the decisions"):
        build_table(dataclasses.replace(data, decisions="nothere.csv"), tmp_path / "t")


@pytest.mark.parametrize("classes", [None, ("fox", "cat")])
def test_a_picture_that_changed_after_the_table_was_built_is_refused(folder, tmp_path, classes, capsys):
    """A run that goes on with its table refuses what one that builds it refuses."""
    data = with_decisions(folder, tmp_path, **SAID)
    data = settle(dataclasses.replace(data, n_classes=None, classes=classes))
    base = open_or_build(data, tmp_path / "t").base_hash
    capsys.readouterr()
    (tmp_path / "photos/fox/3.jpg").write_bytes(b"skipped, so it may change")
    (tmp_path / "photos/fox/4.jpg").write_bytes(b"never decided")
    assert open_or_build(data, tmp_path / "t").base_hash == base and "decisions.csv" not in capsys.readouterr().err
    (tmp_path / "photos/cat/2.jpg").write_bytes(b"another")
    with pytest.raises(InputError, match=r"decisions\.csv:3: .*cat/2\.jpg is not the picture that was decided"):
        open_or_build(data, tmp_path / "t")


def test_what_changes_a_table(folder, tmp_path):
    data = with_decisions(folder, tmp_path, **SAID)
    table = build_table(data, tmp_path / "t")
    assert table_changes(data, table) == ""
    shutil.copy(tmp_path / "decisions.csv", tmp_path / "moved.csv")
    moved = dataclasses.replace(data, decisions=str(tmp_path / "moved.csv"))
    assert table_changes(moved, table) == ""
    with DecisionsFile(tmp_path / "moved.csv") as held:  # what is skipped does not train otherwise
        held.write(Decision("fox/4.jpg", "", "fox", "skip"))
    assert open_or_build(moved, tmp_path / "t").base_hash == table.base_hash
    with DecisionsFile(tmp_path / "moved.csv") as held:
        held.write(Decision("fox/4.jpg", "", "fox", "none"))
    assert table_changes(moved, table) == "the decisions in moved.csv changed: 3 then, 4 now"
    assert list_changes(moved, table) == ""
    assert table_changes(folder, table) == "the decisions in decisions.csv changed: 3 then, none now"
    with pytest.raises(InputError, match=r"built differently: the decisions in moved\.csv changed: 3 then, 4 now; --"):
        open_or_build(moved, tmp_path / "t")
    plain = build_table(folder, tmp_path / "plain")
    assert table_changes(data, plain) == "the decisions in decisions.csv changed: none then, 3 now"
    (tmp_path / "photos/fox/9.jpg").write_bytes(b"new")
    assert "24 training images then, 25 now; 1 added: fox/9.jpg" in table_changes(moved, table)


def test_decisions_of_two_systems_are_one_file(folder, tmp_path):
    """Excel's semicolons, a byte order mark and other line ends are the same decisions."""
    data = with_decisions(folder, tmp_path, **SAID)
    table = build_table(data, tmp_path / "t")
    text = (tmp_path / "decisions.csv").read_text().replace(",", ";").replace("\n", "\r\n")
    (tmp_path / "decisions.csv").write_bytes(("\ufeff" + text).encode())
    assert table_changes(data, table) == ""
    (tmp_path / "decisions.csv").write_text(";".join(HEADER) + "\n")  # nothing decided
    assert "3 then, none now" in table_changes(data, table)
    empty = build_table(data, tmp_path / "u")
    assert empty.decided is not None and not empty.decided.any()
