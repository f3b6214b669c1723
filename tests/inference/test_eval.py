"""eval.py: the metric's last line against scikit-learn and a plain count, its table."""

import csv
import re
import shutil

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

import eval as evaluation
from tests.helpers.predict import N_CLASSES, NAMES, Toys, run


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """Labels: the network's own predictions, but two of them wrong: its second choice, and its last."""
    toys = Toys(tmp_path_factory.mktemp("toys"))
    toys.labels[3], toys.labels[8] = toys.ranking[3, 1], toys.ranking[8, -1]
    toys.list = toys.write_list("wrong.txt", toys.labels)
    return toys


@pytest.fixture
def measure(toys, capsys):
    """``measure(FLAG=VALUE, …)``: eval.py's result lines and stderr."""

    def call(*more, **changed):
        code, _, lines, err = run(capsys, evaluation.main, toys.argv(*more, **changed))
        assert code == 0, err
        return lines, err

    return call


def line(top1, top5):
    return f"top1:{top1:.4f} top5:{top5:.4f}"


def class_averages(toys):
    """top-1 and top-5 of every class that has images, by a plain loop."""
    rows = [np.flatnonzero(toys.labels == c) for c in sorted(set(toys.labels.tolist()))]
    return np.array([[np.mean([toys.labels[i] in toys.ranking[i, :k] for i in some]) for k in (1, 5)] for some in rows])


@pytest.mark.parametrize("engine", ["dygraph", "inference"])
def test_the_last_line_is_the_class_average(toys, measure, engine):
    lines, err = measure(engine=engine)
    averages = class_averages(toys).mean(axis=0)
    assert lines[-1] == line(*averages)
    assert averages[0] == pytest.approx(balanced_accuracy_score(toys.labels, toys.ranking[:, 0]))
    every = np.arange(N_CLASSES)
    by_image = [top_k_accuracy_score(toys.labels, toys.expected, k=k, labels=every) for k in (1, 5)]
    assert by_image == [9 / 11, 10 / 11]
    assert lines[:2] == ["images: 11 measured, 0 unreadable", f"image-averaged {line(*by_image)}"]
    assert "11 images in" in err


def test_the_release_s_variant_counts_empty_classes(toys, measure):
    averages, filled = class_averages(toys), len(set(toys.labels.tolist()))
    assert filled < N_CLASSES  # a class is empty
    skip, zero = line(*averages.mean(axis=0)), line(*averages.sum(axis=0) / N_CLASSES)
    head = f"{N_CLASSES - filled} of {N_CLASSES} classes have no image and are"
    assert measure()[0][-2:] == [f"{head} left out; were they counted 0: {zero}", skip]
    assert measure(empty_classes="zero")[0][-2:] == [f"{head} counted 0; were they left out: {skip}", zero]


def test_the_table_of_classes(toys, measure, tmp_path):
    measure(per_class=tmp_path / "new" / "classes.csv")
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


def test_the_report_on_classes(toys, measure, capsys, tmp_path):
    """Precision, recall, F1 and what is taken for what, of the best classes that the network gives."""
    table, cells, best = tmp_path / "t.csv", tmp_path / "c.csv", toys.ranking[:, 0]
    plain, _ = measure(per_class=table)
    columns = table.read_text().splitlines()
    flags = {"per_class": table, "confusion": cells}
    lines, err = measure("--class_report", **flags)
    assert (lines[:2], lines[-2:]) == (plain[:2], plain[-2:])
    expected = precision_recall_fscore_support(toys.labels, best, labels=np.arange(N_CLASSES), zero_division=np.nan)
    assert np.isnan(expected[1]).any()  # a class is empty
    means = " ".join(f"{name}:{np.nanmean(v):.4f}" for name, v in zip(("precision", "recall"), expected, strict=False))
    assert lines[2].startswith(f"{means} f1:")
    assert "have no image and no recall: left out; were they counted 0: recall:" in "".join(lines)
    at = lines.index("confused: 2 of 11 images in 2 pairs of classes")
    wrong = sorted((int(toys.labels[i]), int(best[i])) for i in (3, 8))
    assert lines[at + 1 : at + 3] == [f"  {NAMES[y]} ({y}) -> {NAMES[c]} ({c}) 1" for y, c in wrong]
    rows = list(csv.DictReader(table.open(newline="")))
    assert [row.split(",")[:4] for row in columns[1:]] == [list(row.values())[:4] for row in rows]
    found = [float(row["precision"] or "nan") for row in rows]
    np.testing.assert_allclose(found, expected[0], atol=1e-6)
    matrix = np.zeros((N_CLASSES, N_CLASSES), int)
    for row in csv.DictReader(cells.open(newline="")):
        matrix[int(row["label"]), int(row["predicted"])] = row["images"]
    np.testing.assert_array_equal(matrix, confusion_matrix(toys.labels, best, labels=np.arange(N_CLASSES)))
    assert measure(**flags)[0][3:] == lines[3:]  # --confusion prints, too
    assert table.read_text().splitlines() == columns  # and leaves the table as it was
    measure("--class_report", "--excel", **flags)
    assert all(file.read_bytes().startswith(b"\xef\xbb\xbf") for file in (table, cells))
    code, _, lines, err = run(capsys, evaluation.main, toys.argv("--excel"))
    assert (code, lines, err.count("\n")) == (2, [], 1)
    assert "--excel only affects CSV files" in err


def test_labels_that_count_from_one(toys, measure, capsys):
    file = toys.write_list("one.txt", np.arange(len(toys.labels)) % N_CLASSES + 1)
    code, _, lines, err = run(capsys, evaluation.main, toys.argv(img_list=file))
    assert (code, lines, err.count("\n")) == (2, [], 1)
    assert "one.txt:7: label 7 is outside; accepted: 0..6; labels seem to count from 1 instead of 0" in err
    labels = np.minimum(toys.ranking[:, 0] + 1, N_CLASSES - 1)  # none is outside, and none is 0
    err = measure(img_list=toys.write_list("less.txt", labels))[1]
    assert re.search(
        r"note: \S+less\.txt: no image has label 0: the labels seem to count from 1 instead of 0; .* one less "
        r"1?0?\.\d{4}\n",
        err,
    )


def test_unreadable_images_are_left_out_up_to_max_bad(toys, measure, capsys, tmp_path):
    (tmp_path / "a.png").write_bytes((toys.images / "0.png").read_bytes())
    (tmp_path / "b.png").write_text("no picture")
    label = toys.ranking[0, 0]
    (tmp_path / "list.txt").write_text(f"b.png {label}\na.png {label}\n")
    flags = {"img_path": tmp_path, "img_list": tmp_path / "list.txt"}
    lines, _ = measure(**flags, max_bad=1)
    assert (lines[0], lines[-1]) == ("images: 1 measured, 1 unreadable", line(1, 1))
    code, _, lines, err = run(capsys, evaluation.main, toys.argv(**flags))
    assert (code, lines) == (2, [])
    assert re.fullmatch(r"error: \S+/b\.png: is not a readable image: .*; at most 0 unreadable .*\n", err)
    (tmp_path / "list.txt").write_text(f"b.png {label}\n")
    code, _, _, err = run(capsys, evaluation.main, toys.argv(**flags, max_bad=1))
    assert (code, err.count("\n")) == (2, 1)
    assert re.search(r"error: \S+/b\.png: .*; there is no other image$", err)


def test_without_a_list_sub_folders_are_classes_by_name(toys, measure, capsys, tmp_path):
    names, tree, file = [f"sort {c}" for c in range(7)], tmp_path / "tree", tmp_path / "names.txt"
    file.write_text("\n".join(names))
    labels = np.where(np.arange(len(toys.names)) % 4 == 1, toys.ranking[:, 1], toys.labels)
    for name, label in zip(toys.names, labels, strict=True):
        (tree / names[label]).mkdir(parents=True, exist_ok=True)
        shutil.copy(toys.images / name, tree / names[label] / name.replace("/", " "))
    listed, _ = measure(img_list=toys.write_list("tree.txt", labels), class_names=file)
    found, _ = measure(img_path=tree, img_list=None, class_names=file)
    assert found == listed

    def refusal():
        code, _, _, err = run(capsys, evaluation.main, toys.argv(img_path=tree, img_list=None, class_names=file))
        assert (code, err.count("\n")) == (2, 1)
        return err

    (tree / "stray.JPG").write_bytes(b"")
    assert "image 'stray.JPG' is in no sub-folder" in refusal()
    (tree / "stray.JPG").rename(tree / "notes.txt")
    file.write_text("\n".join([*names[:6], names[labels[0]]]))
    assert ("is the name of two classes" if labels[0] != 6 else "is not a class") in refusal()


def test_the_release_s_defaults_and_prefixes():
    argv = ["--pre", "a", "--b", "8", "--class", "5", "--img_l", "l", "--img_p", "p", "--use", "True"]
    args = evaluation.parser().parse_args(argv)
    assert (args.pretrained_model, args.batch_size, args.class_dim) == ("a", 8, 5)
    assert evaluation.parser().parse_args([]).batch_size == 32
