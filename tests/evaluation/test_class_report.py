"""Precision, recall, F1 and the confusion matrix against scikit-learn; empty classes; the lines and the files."""

import csv
import io

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from urnet.core.checks import InputError
from urnet.evaluation import class_report
from urnet.evaluation.class_report import Confusion, class_figures, report_lines, write_confusion

C = 9


def case(n=500, seed=0):
    """Labels 0..6 and predictions 0..7: class 7 has no image, class 8 neither."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, n)
    return labels, np.where(rng.random(n) < 0.6, labels, rng.integers(1, 8, n) * (labels != 3))


def counted(labels, predicted, blocks=7):
    found = Confusion(C)
    for part in np.array_split(np.arange(len(labels)), blocks):
        found.update(labels[part], predicted[part])
    return found


def test_the_figures_are_scikit_learns():
    labels, predicted = case()
    found = counted(labels, predicted)
    matrix = confusion_matrix(labels, predicted, labels=np.arange(C))
    label, best, images = found.cells()
    np.testing.assert_array_equal(images, matrix[np.nonzero(matrix)])
    np.testing.assert_array_equal(np.stack([label, best]), np.nonzero(matrix))
    expected = precision_recall_fscore_support(labels, predicted, labels=np.arange(C), zero_division=np.nan)
    figures = class_figures(found)
    for values, wanted in zip((figures.precision, figures.recall), expected, strict=False):
        np.testing.assert_allclose(values, wanted)
    used = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    assert used.tolist() == [True] * 8 + [False]
    np.testing.assert_allclose(figures.f1[used], expected[2][used])
    assert np.isnan(figures.f1[8])
    np.testing.assert_array_equal(figures.images, expected[3])
    np.testing.assert_array_equal(figures.predicted, matrix.sum(axis=0))


def test_laws():
    labels, predicted = case()
    whole = counted(labels, predicted, 1)
    parts = [counted(labels[rows], predicted[rows]) for rows in np.array_split(np.arange(500), 3)]
    joined = Confusion(C)
    for part in parts:  # as the processes of an evaluation are joined
        joined.add(*part.state)
    for one, other in zip(whole.cells(), joined.cells(), strict=True):
        np.testing.assert_array_equal(one, other)
    turned = class_figures(counted(predicted, labels))
    np.testing.assert_array_equal(turned.recall, class_figures(whole).precision)
    np.testing.assert_array_equal(turned.f1, class_figures(whole).f1)
    assert [len(values) for values in Confusion(5000).cells()] == [0, 0, 0]
    with pytest.raises(InputError, match=r"label 9 in row 1 is outside 0\.\.8"):
        whole.update(np.array([0, 9]), np.array([0, 0]))


def test_the_lines_by_hand():
    """Ten images of class 0, one taken for 2; two of class 1, both taken for 0; class 3 has none."""
    found = Confusion(4)
    found.update(np.array([0] * 10 + [1] * 2), np.array([0] * 9 + [2] + [0] * 2))
    assert list(report_lines(found, ["tench", "gold\nfish", "", "shark"])) == [
        f"precision:{(9 / 11 + 0) / 2:.4f} recall:0.4500 f1:{18 / 21 / 3:.4f} (means over classes)",
        f"2 of 4 classes are never predicted and have no precision: left out; were they counted 0: "
        f"precision:{9 / 11 / 4:.4f}",
        "2 of 4 classes have no image and no recall: left out; were they counted 0: recall:0.2250",
        "confused: 3 of 12 images in 2 pairs of classes",
        "  gold fish (1) -> tench (0) 2",
        "  tench (0) -> 2 1",
    ]


def test_only_the_most_frequent_pairs_are_shown():
    labels, predicted = case()
    lines = list(report_lines(counted(labels, predicted)))
    at = next(i for i, line in enumerate(lines) if line.startswith("confused"))
    assert lines[at].endswith(f", the {class_report.SHOWN} most frequent")
    shown = [int(line.split()[-1]) for line in lines[at + 1 :]]
    matrix = confusion_matrix(labels, predicted)
    np.fill_diagonal(matrix, 0)
    assert shown == sorted(matrix.ravel().tolist(), reverse=True)[: class_report.SHOWN]


def test_the_file_holds_the_matrix():
    labels, predicted = case()
    stream = io.StringIO()
    write_confusion(stream, counted(labels, predicted), [f"class; {c}" for c in range(C)])
    stream.seek(0)
    matrix = np.zeros((C, C), int)
    for row in csv.DictReader(stream):
        matrix[int(row["label"]), int(row["predicted"])] = row["images"]
        assert (row["label_name"], row["predicted_name"]) == (f"class; {row['label']}", f"class; {row['predicted']}")
    np.testing.assert_array_equal(matrix, confusion_matrix(labels, predicted, labels=np.arange(C)))
