"""Which rows a person is asked about: those whose answer changes most, each question once, nobody who knows already."""

import numpy as np
import pytest

from urnet.core.checks import InputError
from urnet.reweight import worth_asking as module
from urnet.reweight.label_quality import label_quality
from urnet.reweight.worth_asking import worth_asking


def around(*centres, each=30, spread=0.3, seed=0):
    """Features around centres, and which centre each row is of."""
    of = np.repeat(np.arange(len(centres)), each)
    noise = np.random.default_rng(seed).normal(0, spread, (len(of), len(centres[0])))
    return (np.array(centres)[of] + noise).astype(np.float32), of


def sure(labels):
    """What ``label_quality`` says of labels that are all right."""
    one = np.ones(len(labels), np.float32)
    return {"relevance": one, "suggested": labels.astype(np.int32), "suggested_prob": one, "in_classes": one.copy()}


def doubted(labels, rows, *, suggested, relevance=0.5):
    """The same, but of ``rows`` another class is as probable."""
    found = {name: values.copy() for name, values in sure(labels).items()}
    found["relevance"][rows], found["suggested"][rows], found["suggested_prob"][rows] = relevance, suggested, 0.5
    return found


CENTRES = ((4.0, 0, 0, 0), (0, 4.0, 0, 0), (0, 0, 4.0, 0))


def test_doubt_comes_first_then_wrong_labels_and_what_is_sure_last():
    features, labels = around(*CENTRES)
    found = doubted(labels, [10, 40], suggested=2)
    found["relevance"][50], found["suggested"][50], found["suggested_prob"][50] = 0, 2, 1  # surely wrong
    found["in_classes"][60] = 0  # surely off topic
    order = worth_asking(features, labels, 3, found, 90).tolist()
    assert set(order[:2]) == {10, 40} and order[2] == 50
    assert sorted(order) == list(range(90)) and order.index(60) > 2


def test_planted_errors_are_asked_sooner_than_at_random():
    rng = np.random.default_rng(0)
    true = np.arange(400) % 4
    features = (rng.gamma(0.5, size=(4, 40))[true] + rng.gamma(1.0, size=(400, 40))).astype(np.float32)
    labels = np.where(rng.random(400) < 0.2, (true + rng.integers(1, 4, 400)) % 4, true)
    order = worth_asking(features, labels, 4, label_quality(features, labels, 4), 40)
    assert np.mean((labels != true)[order]) > 2 * np.mean(labels != true)


def test_a_batch_asks_each_question_once():
    features, labels = around(*CENTRES, spread=0.02)
    rows = [0, 1, 2, 3, 30, 31]  # four like each other, two like each other
    found = doubted(labels, rows, suggested=2)
    order = worth_asking(features, labels, 3, found, 6).tolist()
    assert {row // 30 for row in order[:2]} == {0, 1} and set(order) <= {*range(60)}


def test_a_class_of_few_is_asked_before_a_class_of_many():
    features, of = around((4.0, 0, 0, 0), (0, 4.0, 0, 0), (0, 0, 4.0, 0), (0, 0, 0, 4.0))
    labels = np.where(of == 3, 2, of)  # class 2 has twice as many rows
    found = doubted(labels, [5, 65], suggested=labels[[5, 65]])
    found["relevance"][[5, 65]] = 0.7
    assert worth_asking(features, labels, 3, found, 2)[0] == 5


def test_rows_may_be_permuted_and_come_in_blocks():
    features, labels = around(*CENTRES, each=60)
    labels = np.roll(labels, 7)
    found = label_quality(features, labels, 3)
    one = worth_asking(features, labels, 3, found, 20)
    order = np.random.default_rng(1).permutation(180)
    moved = {name: values[order] for name, values in found.items()}
    assert order[worth_asking(features[order], labels[order], 3, moved, 20)].tolist() == one.tolist()

    class Slices:
        shape = features.shape

        def __getitem__(self, rows):
            assert isinstance(rows, slice) or (np.diff(rows) >= 0).all()
            return features[rows].astype(np.float16)

    assert np.isin(worth_asking(Slices(), labels, 3, found, 20), one).mean() > 0.9


def test_who_is_not_asked():
    features, labels = around(*CENTRES)
    doubt = [0, 1, 30, 31, 60, 61]
    found = doubted(labels, doubt, suggested=(labels[doubt] + 1) % 3)
    features[61] = np.nan
    readable, ask = np.arange(90) != 61, np.arange(90) != 60
    order = worth_asking(features, labels, 3, found, 90, readable=readable, ask=ask)
    assert len(order) == 88 and not np.isin([60, 61], order).any()
    groups = np.full(90, -1)
    groups[[0, 1]], groups[[30, 31, 32]] = 4, 9
    order = worth_asking(features, labels, 3, found, 90, groups=groups, readable=readable, ask=ask)
    assert np.isin([0, 1], order).sum() == np.isin([30, 31, 32], order).sum() == 1 and len(order) == 85
    decided = np.zeros(90, np.int8)
    decided[[0, 30]] = 1
    labels[1] = 2  # a copy under another label is a question of its own
    order = worth_asking(features, labels, 3, found, 90, groups=groups, readable=readable, decided=decided)
    assert 1 in order and not np.isin([0, 30, 31, 32], order).any()


def test_more_rows_than_are_kept_apart():
    features, labels = around(*CENTRES, each=400)
    found = doubted(labels, np.arange(0, 1200, 7), suggested=2)
    order = worth_asking(features, labels, 3, found, 1100)
    assert len(set(order.tolist())) == 1100 > module.APART
    assert order[:50].tolist() == worth_asking(features, labels, 3, found, 50).tolist()


@pytest.mark.parametrize("classes", [1, 3])
def test_few_rows(classes):
    features, labels = around(*CENTRES[:classes], each=1)
    found = label_quality(features, labels, classes)
    assert sorted(worth_asking(features, labels, classes, found).tolist()) == list(range(classes))
    assert worth_asking(features, labels, classes, found, 0).dtype == np.int64
    assert not len(worth_asking(features, labels, classes, found, ask=np.zeros(classes, bool)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n": -1}, "n: found -1"),
        ({"found": {}}, "found: has no relevance"),
        ({"ask": np.ones(90)}, "ask: a boolean array is needed, found float64"),
        ({"decided": np.zeros(89, int)}, "labels has 90 rows but decided has 89"),
        ({"labels": np.full(90, 3)}, "3"),
    ],
)
def test_bad_input_is_named(changed, message):
    features, labels = around(*CENTRES)
    arguments = {"features": features, "labels": labels, "n_classes": 3, "found": sure(labels)} | changed
    with pytest.raises(InputError, match=message):
        worth_asking(**arguments)
