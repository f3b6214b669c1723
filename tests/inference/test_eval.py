"""eval.py: the metric's last line against scikit-learn and a plain count, its table, and every bad input."""

import csv
import re
import shutil
import sys

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

import eval as evaluation
from tests.helpers.predict import N_CLASSES, NAMES, Toys, weights_of
from urnet.checkpoints import safetensors_io
from urnet.core import cli


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """Labels: the network's own answers, but two of them wrong: its second choice, and its last."""
    toys = Toys(tmp_path_factory.mktemp("toys"))
    toys.labels[3], toys.labels[8] = toys.ranking[3, 1], toys.ranking[8, -1]
    toys.list = toys.write_list("wrong.txt", toys.labels)
    return toys


def run(capsys, argv):
    code = cli.run(evaluation.main, argv)
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def line(top1, top5):
    return f"top1:{top1:.4f} top5:{top5:.4f}"


def class_averages(toys):
    """top-1 and top-5 of every class that has images, by a plain loop."""
    rows = [np.flatnonzero(toys.labels == c) for c in sorted(set(toys.labels.tolist()))]
    return np.array([[np.mean([toys.labels[i] in toys.ranking[i, :k] for i in some]) for k in (1, 5)] for some in rows])


@pytest.mark.parametrize("engine", ["dygraph", "inference"])
def test_the_last_line_is_the_class_average(toys, capsys, engine):
    code, lines, err = run(capsys, toys.argv(engine=engine))
    assert code == 0
    averages = class_averages(toys).mean(axis=0)
    assert lines[-1] == line(*averages)
    assert averages[0] == pytest.approx(balanced_accuracy_score(toys.labels, toys.ranking[:, 0]))
    every = np.arange(N_CLASSES)
    by_image = [top_k_accuracy_score(toys.labels, toys.expected, k=k, labels=every) for k in (1, 5)]
    assert by_image == [9 / 11, 10 / 11]
    assert f"image-averaged {line(*by_image)}" in lines
    assert "images: 11 measured, 0 unreadable" in lines
    assert lines[0].endswith("Configuration Arguments -------------")
    assert "11 images in" in err


def test_the_release_s_variant_counts_empty_classes(toys, capsys):
    averages, filled = class_averages(toys), len(set(toys.labels.tolist()))
    assert filled < N_CLASSES  # the toys leave a class empty
    skip, zero = line(*averages.mean(axis=0)), line(*averages.sum(axis=0) / N_CLASSES)
    head = f"{N_CLASSES - filled} of {N_CLASSES} classes have no image and are"
    code, lines, _ = run(capsys, toys.argv())
    assert (code, lines[-1]) == (0, skip)
    assert lines[-2] == f"{head} left out; were they counted 0: {zero}"
    code, lines, _ = run(capsys, toys.argv(empty_classes="zero"))
    assert (code, lines[-1]) == (0, zero)
    assert lines[-2] == f"{head} counted 0; were they left out: {skip}"
    assert sum(text.startswith("top1:") for text in lines) == 1


def test_nothing_is_said_of_empty_classes_where_there_are_none(capsys):
    result = {"images": 4, "classes": 2, "image_top1": 0.5, "image_top5": 1.0, "top1": 0.25, "top5": 1.0}
    result.update(top1_all_classes=0.25, top5_all_classes=1.0, unreadable=0)
    evaluation.report(result, 2, "skip", sys.stdout)
    assert capsys.readouterr().out.splitlines() == [
        "images: 4 measured, 0 unreadable",
        "image-averaged top1:0.5000 top5:1.0000",
        "top1:0.2500 top5:1.0000",
    ]


def test_the_table_of_classes(toys, capsys, tmp_path):
    code, _, _ = run(capsys, toys.argv(per_class=tmp_path / "new" / "classes.csv"))
    assert code == 0
    with (tmp_path / "new" / "classes.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == NAMES
    for c, row in enumerate(rows):
        some = np.flatnonzero(toys.labels == c)
        assert (int(row["class"]), int(row["images"])) == (c, len(some))
        if len(some):
            assert float(row["top1"]) == pytest.approx(np.mean(toys.ranking[some, 0] == c), abs=1e-6)
        else:
            assert row["top1"] == row["top5"] == ""


def test_unreadable_images_are_left_out_up_to_max_bad(toys, capsys, tmp_path):
    (tmp_path / "a.png").write_bytes((toys.images / "0.png").read_bytes())
    (tmp_path / "b.png").write_text("no picture")
    label = toys.ranking[0, 0]
    (tmp_path / "list.txt").write_text(f"b.png {label}\na.png {label}\n")
    flags = {"img_path": tmp_path, "img_list": tmp_path / "list.txt"}
    code, lines, _ = run(capsys, toys.argv(**flags, max_bad=1))
    assert (code, lines[-1]) == (0, line(1, 1))
    assert "images: 1 measured, 1 unreadable" in lines
    code, lines, err = run(capsys, toys.argv(**flags))
    assert code == 2
    assert re.fullmatch(r"error: \S+/b\.png: is no readable image: .*; at most 0 unreadable .*\n", err)
    assert not any(text.startswith("top1:") for text in lines)
    (tmp_path / "list.txt").write_text(f"b.png {label}\n")
    code, _, err = run(capsys, toys.argv(**flags, max_bad=1))
    assert (code, err.count("\n")) == (2, 1)
    assert "accuracy of no images" in err


def test_without_a_list_sub_folders_are_classes_by_name(toys, capsys, tmp_path):
    names, tree = [f"sort {c}" for c in range(7)], tmp_path / "tree"
    (tmp_path / "names.txt").write_text("\n".join(names))
    labels = np.where(np.arange(len(toys.names)) % 4 == 1, toys.ranking[:, 1], toys.labels)
    for name, label in zip(toys.names, labels, strict=True):
        (tree / names[label]).mkdir(parents=True, exist_ok=True)
        shutil.copy(toys.images / name, tree / names[label] / name.replace("/", " "))
    flags = {"class_names": tmp_path / "names.txt"}
    listed = run(capsys, toys.argv(img_list=toys.write_list("tree.txt", labels), **flags))
    found = run(capsys, toys.argv(img_path=tree, img_list=None, **flags))
    assert found[0] == listed[0] == 0 and found[1][-3:] == listed[1][-3:]
    (tree / "stray.JPG").write_bytes(b"")
    code, _, err = run(capsys, toys.argv(img_path=tree, img_list=None, **flags))
    assert (code, err.count("\n")) == (2, 1) and "image 'stray.JPG' is in no sub-folder" in err
    (tree / "stray.JPG").rename(tree / "notes.txt")
    (tmp_path / "names.txt").write_text("\n".join([*names[:6], names[labels[0]]]))
    code, _, err = run(capsys, toys.argv(img_path=tree, img_list=None, **flags))
    wrong = "is the name of two classes" if labels[0] != 6 else "is no class"
    assert (code, err.count("\n")) == (2, 1) and wrong in err


BAD = {
    "no list": ({"img_list": None}, None, r"images: sub-folder 'some dir' is no class \(the checkpoint's"),
    "no list, no names": (
        {
            "img_list": None,
            "pretrained_model": "{tmp}/bare.safetensors",
            "model": "ResNeXt_small32",
            "class_dim": 7,
            "image_shape": "3,32,32",
        },
        None,
        r"--img_list: found none; a file of `path label` lines is needed, or class names",
    ),
    "no image in sub-folders": ({"img_list": None, "img_path": "{tmp}/folder"}, None, r"has no image in its"),
    "no label": ({}, "0.png 1\nsome dir/1.png\n", r"list\.txt:2: found|list\.txt:2: label"),
    "label beyond": ({}, "0.png 1\n2.png 7\n", r"list\.txt:2: label 7 is outside; accepted: 0\.\.6"),
    "label negative": ({}, "0.png -1\n", r"list\.txt:1: label -1 is outside"),
    "image missing": ({}, "0.png 1\ngone.png 2\n", r"list\.txt:2: \S+/gone\.png is not there \(1 of 2"),
    "empty list": ({}, "", r"list\.txt: lists no image"),
    "empty classes": ({"empty_classes": "drop"}, None, r"--empty_classes: 'drop' is not known"),
    "table in a file": ({"per_class": "{tmp}/file/a.csv"}, None, r"file/a\.csv: cannot be written"),
    "table a folder": ({"per_class": "{tmp}/folder"}, None, r"--per_class \S+folder: is a folder"),
    "checkpoint": ({"pretrained_model": "{tmp}/no"}, None, r"no: does not exist"),
    "classes": ({"class_dim": 5000}, None, r"--class_dim is 5000, but \S+ was trained with 7"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(toys, capsys, tmp_path, case):
    flags, text, message = BAD[case]
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    safetensors_io.write_safetensors(tmp_path / "bare.safetensors", weights_of(toys.network))
    flags = {k: v.format(tmp=tmp_path) if isinstance(v, str) else v for k, v in flags.items()}
    if text is not None:
        (tmp_path / "list.txt").write_text(text)
        flags["img_list"] = tmp_path / "list.txt"
    before = sorted(tmp_path.rglob("*"))
    code, lines, err = run(capsys, toys.argv(**{"per_class": tmp_path / "out.csv", **flags}))
    assert code == 2, err
    assert err.count("\n") == 1, err
    assert re.search(message, err), err
    assert not any(text.startswith("top1:") for text in lines)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_release_s_defaults_and_prefixes():
    argv = ["--pre", "a", "--b", "8", "--class", "5", "--img_l", "l", "--img_p", "p", "--use", "True"]
    args = evaluation.parser().parse_args(argv)
    assert (args.pretrained_model, args.batch_size, args.class_dim) == ("a", 8, 5)
    assert evaluation.parser().parse_args([]).batch_size == 32
