"""PCI's cleaning: the laws, a slow plain version, planted faults, no class left without a row of its own."""

import math

import numpy as np
import pytest

from urnet.baselines.relabel import relabel
from urnet.core.checks import InputError

SETTINGS = [
    {},
    {"power": 0.0},
    {"drop": 0.29},
    {"drop": 0.95, "power": 2.0},
    {"adopt": 0.3, "drop": 0.5},
    {"adopt": 0.01, "drop": 0.3},
    {"floor": 1.0, "drop": 0.1},
]


def predicted(n=2000, n_classes=9, k=4, seed=0):
    """Labels of unequal classes, 3 without rows, 5 of one; a network's top-k, wrong in many rows."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 4, 6, 7, 8], n, p=[0.4, 0.2, 0.15, 0.1, 0.1, 0.04, 0.01]).astype(np.int32)
    labels[n // 2] = 5
    full = rng.dirichlet(np.full(n_classes, 0.3), n)
    full = 0.7 * full + 0.3 * (np.arange(n_classes) == labels[:, None]) * rng.random((n, 1)) * 2
    full /= full.sum(axis=1, keepdims=True)
    full[labels == 8] = np.roll(np.sort(full[labels == 8]), 5, axis=1)  # class 8 loses all: 4 is first, 8 not
    index = np.argsort(-full, axis=1)[:, :k].astype(np.int32)
    prob = np.take_along_axis(full, index, 1).astype(np.float16)
    given = full[np.arange(n), labels].astype(np.float32)
    return {"labels": labels, "index": index, "prob": prob, "given": given}


def slow(labels, index, prob, given, power=1.0, floor=0.02, drop=0.0, adopt=math.inf):
    """The docstring one class and one row at a time, in Python's own numbers."""
    labels, given = labels.tolist(), given.tolist()
    clean, weight, believed = list(labels), [0.0] * len(labels), list(given)
    for i in range(len(labels)):
        if float(prob[i, 0]) >= adopt and index[i, 0] != labels[i]:
            clean[i], believed[i] = int(index[i, 0]), float(prob[i, 0])
    for c in set(labels):
        mine = [i for i in range(len(labels)) if labels[i] == c]
        best = max(mine, key=lambda i: given[i])  # the first of equals
        if all(clean[i] != c for i in mine):
            clean[best], believed[best] = c, given[best]
        stay = sorted((i for i in mine if clean[i] == c), key=lambda i: given[i])  # stable
        highest = given[stay[-1]]
        out = {i for i in stay[: math.floor(round(drop * len(mine), 6))] if given[i] < highest}
        raw = {i: max(believed[i], floor) ** power for i in mine if i not in out}
        for i, value in raw.items():
            weight[i] = value * len(mine) / sum(raw.values())
    return np.array(weight), np.array(clean)


@pytest.mark.parametrize("settings", SETTINGS)
def test_agrees_with_the_slow_version(settings):
    data = predicted()
    got = relabel(n_classes=9, **data, **settings)
    weight, clean = slow(**data, **settings)
    np.testing.assert_array_equal(got["clean_label"], clean)
    np.testing.assert_allclose(got["image_weight"], weight, rtol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS)
def test_laws(settings):
    data = predicted(seed=1)
    labels, got = data["labels"], relabel(n_classes=9, **data, **settings)
    weight, clean = got["image_weight"], got["clean_label"]
    assert weight.dtype == np.float32 and clean.dtype == np.int32
    assert weight.shape == clean.shape == labels.shape
    assert np.isfinite(weight).all() and (weight >= 0).all()
    assert ((clean >= 0) & (clean < 9)).all()
    for c in np.unique(labels):
        own = labels == c
        assert weight[own].mean(dtype=np.float64) == pytest.approx(1, abs=1e-6)
        assert weight[own & (clean == c)].sum() > 0  # a row of its own, whatever comes from other classes
        if not settings.get("drop"):
            assert weight[own].min() > 0
    order = np.random.default_rng(2).permutation(len(labels))
    permuted = relabel(n_classes=9, **{name: array[order] for name, array in data.items()}, **settings)
    again = relabel(n_classes=9, **data, **settings)
    for name in got:
        assert permuted[name].tobytes() == got[name][order].tobytes()
        assert again[name].tobytes() == got[name].tobytes()


@pytest.mark.parametrize("settings", SETTINGS)
def test_rows_all_believed_alike_get_ones(settings):
    labels = np.random.default_rng(0).integers(0, 9, 500)
    for believed in (1.0, 0.6):
        index, prob = labels[:, None], np.full((500, 1), believed, np.float16)
        given = np.full(500, believed, np.float32)
        got = relabel(labels, 9, given=given, index=index, prob=prob, **settings)
        assert (got["image_weight"] == 1).all()
        assert (got["clean_label"] == labels).all()


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


class Sliced:
    """An array that gives slices only, and counts the rows given out at once."""

    def __init__(self, array):
        self.array, self.shape, self.largest = array, array.shape, 0

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        self.largest = max(self.largest, len(self.array[rows]))
        return self.array[rows]


def test_predictions_are_read_block_by_block():
    data = predicted(n=20_000)
    expected = relabel(n_classes=9, **data, adopt=0.5)
    sliced = {name: Sliced(data[name]) for name in ("index", "prob")}
    got = relabel(n_classes=9, **{**data, **sliced}, adopt=0.5)
    assert all(got[name].tobytes() == expected[name].tobytes() for name in got)
    assert all(array.largest < 10_000 for array in sliced.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0, 2])}, "label 2 in row 1 is outside 0..1"),
        ({"given": np.array([0.5])}, "labels has 2 rows but given has 1"),
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
    good = {
        "labels": np.array([0, 1]),
        "index": np.array([[0, 1], [1, 0]]),
        "prob": np.array([[0.5, 0.5]] * 2),
        "given": np.array([0.5, 0.5]),
    }
    relabel(n_classes=2, **good)
    with pytest.raises(InputError, match=message):
        relabel(n_classes=2, **{**good, **change})
