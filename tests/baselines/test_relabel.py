"""PCI's cleaning: the formula, planted faults, no class left without a row of its own."""

import math

import numpy as np
import pytest

from tests.helpers.web_rows import N_CLASSES, Recorder, two_rows, web_rows
from urnet.baselines.relabel import relabel
from urnet.core.checks import InputError


def predicted(**settings):
    rows = web_rows(**settings)
    return {name: rows[name] for name in ("labels", "index", "prob", "given")}


def by_hand(labels, index, prob, given, power=1.0, floor=0.02, drop=0.0, adopt=math.inf):
    """The docstring class by class."""
    adopted = (prob[:, 0] >= adopt) & (index[:, 0] != labels)
    clean, believed = np.where(adopted, index[:, 0], labels), np.where(adopted, prob[:, 0], given).astype(float)
    weight = np.zeros(len(labels))
    for c in np.unique(labels):
        own = np.flatnonzero(labels == c)
        best = own[given[own].argmax()]  # the first of equals
        if (clean[own] != c).all():
            clean[best], believed[best] = c, given[best]
        stay = own[clean[own] == c]
        lowest = stay[np.argsort(given[stay], kind="stable")][: math.floor(round(drop * len(own), 6))]
        out = lowest[given[lowest] < given[stay].max()]
        weight[own] = np.maximum(believed[own], floor) ** power
        weight[out] = 0
        weight[own] /= weight[own].mean()
    return weight, clean


@pytest.mark.parametrize(
    "settings", [{}, {"drop": 0.29}, {"drop": 0.95, "power": 2.0}, {"adopt": 0.3, "drop": 0.5}, {"adopt": 0.01}]
)
def test_the_weights_are_the_formula_and_every_class_keeps_a_row_of_its_own(settings):
    data = predicted(n=2000)
    labels, got = data["labels"], relabel(n_classes=N_CLASSES, **data, **settings)
    weight, clean = by_hand(**data, **settings)
    np.testing.assert_array_equal(got["clean_label"], clean)
    np.testing.assert_allclose(got["image_weight"], weight, rtol=1e-5)
    for c in np.unique(labels):
        assert got["image_weight"][(labels == c) & (got["clean_label"] == c)].sum() > 0


def planted():
    """Class 0: 8 right rows and 2 of class 1, seen through; class 1: 5 rows, believed more and more."""
    labels = np.repeat([0, 1], [10, 5])
    index = np.tile(np.array([[0, 1]]), (15, 1))
    index[[3, 6]] = index[10:] = 1, 0
    prob = np.tile(np.array([[0.75, 0.25]]), (15, 1))
    prob[3], prob[6] = (0.875, 0.125), (0.9375, 0.0625)
    given = np.where(index[:, 0] == labels, prob[:, 0], prob[:, 1])
    given[10:] = 0.1, 0.2, 0.3, 0.4, 0.5
    return {"labels": labels, "index": index, "prob": prob, "given": given}


def test_planted_wrong_labels_by_hand():
    data = planted()
    got = relabel(n_classes=2, **data)
    assert (got["clean_label"] == data["labels"]).all()
    mean = (8 * 0.75 + 0.125 + 0.0625) / 10
    expected = np.array([0.75] * 3 + [0.125] + [0.75] * 2 + [0.0625] + [0.75] * 3) / mean
    np.testing.assert_allclose(got["image_weight"][:10], expected, rtol=1e-6)
    np.testing.assert_allclose(got["image_weight"][10:], np.arange(1, 6) / 3, rtol=1e-6)

    got = relabel(n_classes=2, **data, drop=0.2)  # the two wrong ones of class 0, the worst one of class 1
    assert (np.flatnonzero(got["image_weight"] == 0) == [3, 6, 10]).all()
    np.testing.assert_allclose(got["image_weight"][[0, 11, 14]], [1.25, 2 / 2.8, 5 / 2.8], rtol=1e-6)

    for adopt, relabelled in ((0.875, [3, 6]), (0.9, [6]), (0.95, [])):
        got = relabel(n_classes=2, **data, adopt=adopt)
        assert (np.flatnonzero(got["clean_label"] != data["labels"]) == relabelled).all()
        assert (got["clean_label"][relabelled] == 1).all()


def test_a_class_all_of_whose_rows_look_wrong_keeps_its_best():
    labels = np.array([0, 1, 1, 1, 2, 2])
    index = np.array([[1], [0], [0], [2], [1], [2]])
    given = np.array([0.01, 0.02, 0.08, 0.08, 0.1, 0.9])
    prob = np.full((6, 1), 0.9)
    got = relabel(labels, 3, given=given, index=index, prob=prob, adopt=0.9, drop=0.9)
    assert got["clean_label"].tolist() == [0, 0, 1, 2, 1, 2]  # rows 0 and 2 (the first of equals) keep theirs
    assert (got["image_weight"] > 0).all()


def test_of_equal_rows_the_first_are_cleaned_out():
    labels, given = np.zeros(6, int), np.array([0.9, 0.3, 0.3, 0.3, 0.9, 0.3])
    prob = np.full((6, 1), 0.5)
    got = relabel(labels, 1, given=given, index=labels[:, None], prob=prob, drop=0.5)
    assert (np.flatnonzero(got["image_weight"] == 0) == [1, 2, 3]).all()
    got = relabel(labels, 1, given=given, index=labels[:, None], prob=prob, drop=0.9)
    assert got["image_weight"].tolist() == [3, 0, 0, 0, 3, 0]  # none of the best


def test_only_above_one_no_label_is_ever_adopted():
    data = planted()
    data["prob"], data["given"][0] = np.array([[1.0005, 0]] * 15), 1.0005  # as softmax may round
    got = relabel(n_classes=2, **data, adopt=1.01)
    assert (got["clean_label"] == data["labels"]).all()
    got = relabel(n_classes=2, **data, adopt=1.0)
    assert (np.flatnonzero(got["clean_label"] != data["labels"]) == [3, 6]).all()


def test_predictions_are_read_block_by_block():
    data = predicted(n=20_000)
    expected = relabel(n_classes=N_CLASSES, **data, adopt=0.5)
    blocks = {name: Recorder(data[name]) for name in ("index", "prob")}
    got = relabel(n_classes=N_CLASSES, **{**data, **blocks}, adopt=0.5)
    assert all(got[name].tobytes() == expected[name].tobytes() for name in got)
    assert all(array.largest < 10_000 for array in blocks.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prob": np.ones((2, 3))}, r"index has shape \(2, 2\) and prob \(2, 3\)"),
        ({"index": np.array([[0, 1], [2, 0]])}, "index: row 1 has 2; 0..1 is accepted"),
        ({"given": np.array([0.5, np.nan])}, "given: row 1 has nan; 0..1 is accepted"),
        ({"drop": 1.0}, "drop: found 1.0; 0 <= drop < 1 is accepted"),
        ({"drop": -0.1}, "drop: found -0.1"),
        ({"adopt": 0.0}, "adopt: found 0.0; a number above 0"),
        ({"adopt": math.nan}, "adopt: found nan"),
        ({"power": -1.0}, "power -1.0, floor 0.02: power >= 0 and 0 < floor <= 1 are accepted"),
        ({"floor": 0.0}, "power 1.0, floor 0.0"),
    ],
)
def test_bad_input(change, message):
    good = two_rows()
    relabel(n_classes=2, **good)
    with pytest.raises(InputError, match=message):
        relabel(n_classes=2, **{**good, **change})
