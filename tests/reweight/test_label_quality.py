"""The quality of labels: planted errors come first, the rows' order and the classes' names do not matter."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from urnet.core.checks import InputError
from urnet.reweight.evidence.folds import hashes_and_mean
from urnet.reweight.evidence.heads_and_votes import Known, heads_and_votes
from urnet.reweight.evidence.neighbours import nearest_rows, reference_rows, unit_rows
from urnet.reweight.evidence.out_of_fold import Settings, scored
from urnet.reweight.evidence.views import Roots
from urnet.reweight.evidence.votes import Neighbours
from urnet.reweight.label_quality import label_quality


def pictures(n=400, *, classes=4, d=40, wrong=0.2, seed=0, apart=1.0):
    """Features >= 0 around class centres, given labels of which a share is wrong, and the true ones."""
    rng = np.random.default_rng(seed)
    centres = apart * rng.gamma(0.5, size=(classes, d))
    true = np.arange(n) % classes
    features = centres[true] + rng.gamma(1.0, size=(n, d))
    labels = np.where(rng.random(n) < wrong, (true + rng.integers(1, classes, n)) % classes, true)
    return features.astype(np.float32), labels, true


def test_planted_errors_come_first_and_their_class_is_suggested():
    features, labels, true = pictures()
    found = label_quality(features, labels, 4)
    wrong = labels != true
    assert roc_auc_score(~wrong, found["label_quality"]) > 0.98
    assert np.mean(found["suggested"][wrong] == true[wrong]) > 0.9
    assert all(np.isfinite(values).all() and len(values) == 400 for values in found.values())
    np.testing.assert_allclose(found["label_quality"], found["relevance"] * found["in_classes"], rtol=1e-6)
    np.testing.assert_allclose(np.bincount(labels, found["instance_weight"]) / np.bincount(labels), 1, rtol=1e-4)
    assert found["instance_weight"][wrong].mean() < 0.5


@pytest.mark.parametrize("sign", [1, -1])
def test_a_wrong_label_has_less_quality_than_the_right_one_of_the_same_row(sign):
    features, labels, true = pictures(200)
    for row in (0, 5, 11):
        right, other = labels.copy(), labels.copy()
        right[row], other[row] = true[row], (true[row] + 1) % 4
        qualities = [label_quality(sign * features, given, 4)["label_quality"][row] for given in (right, other)]
        assert qualities[1] < qualities[0]


def test_rows_may_be_permuted_and_classes_and_groups_renamed():
    features, labels, _ = pictures(200)
    groups = np.where(np.arange(200) < 30, np.arange(200) // 3, -1)
    one = label_quality(features, labels, 4, groups=groups)
    order = np.random.default_rng(1).permutation(200)
    other = label_quality(features[order], labels[order], 4, groups=groups[order])
    np.testing.assert_allclose(other["label_quality"], one["label_quality"][order], atol=1e-3)
    assert np.mean(other["suggested"] == one["suggested"][order]) > 0.99
    names = np.array([2, 0, 3, 1])
    renamed = label_quality(features, names[labels], 4, groups=np.where(groups >= 0, 99 - groups, -5))
    # folds go round the classes by their numbers, so that renamed classes meet other folds
    assert np.corrcoef(renamed["label_quality"], one["label_quality"])[0, 1] > 0.98
    again = label_quality(features, labels, 4, groups=groups)
    assert all(again[name].tobytes() == one[name].tobytes() for name in one)


def test_two_looks_at_one_picture_have_one_suggestion():
    features, labels, true = pictures(200, wrong=0.3)
    rng = np.random.default_rng(2)
    twins = np.r_[0:40]
    features = np.concatenate([features, features[twins] + rng.gamma(1.0, size=(40, 40)).astype(np.float32)])
    labels, true = np.r_[labels, rng.integers(0, 4, 40)], np.r_[true, true[twins]]
    groups = np.r_[0:40, np.full(160, -1), 0:40]
    alone, found = (label_quality(features, labels, 4, groups=of) for of in (None, groups))
    assert (found["suggested"][:40] == found["suggested"][200:]).all()
    assert (alone["suggested"][:40] != alone["suggested"][200:]).any()
    np.testing.assert_allclose(found["suggested_prob"][:40], found["suggested_prob"][200:], rtol=1e-5)
    several = groups >= 0
    assert np.mean((found["suggested"] == true)[several]) > np.mean((alone["suggested"] == true)[several])


def test_quick_heads_are_the_exact_ones():
    features, labels, _ = pictures(300)
    found = [
        scored(features, labels, 4, Settings(shrinkage=0.5, quick=quick), sample_weight=labels + 0.5).columns
        for quick in (False, True)
    ]
    np.testing.assert_allclose(found[1]["given"], found[0]["given"], atol=1e-4)
    np.testing.assert_allclose(found[1]["prob"], found[0]["prob"], atol=2e-3)  # float16


def test_copies_of_a_picture_do_not_vouch_for_its_wrong_label():
    features, labels, true = pictures(300, wrong=0.0, apart=0.6)
    rng = np.random.default_rng(3)
    rows = np.arange(12)
    copies = np.concatenate([features[rows] * (1 + 0.01 * rng.standard_normal((12, 40))) for _ in range(6)])
    given = (true[rows] + 1) % 4
    labels = np.r_[labels, np.tile(given, 6)]
    labels[rows] = given
    both = np.concatenate([features, copies]).astype(np.float32)
    groups = np.full(len(labels), -1)
    groups[rows], groups[300:] = rows, np.tile(rows, 6)
    alone = label_quality(both, labels, 4)["label_quality"][rows]
    grouped = label_quality(both, labels, 4, groups=groups)["label_quality"][rows]
    assert grouped.mean() < 0.5 * alone.mean()


@pytest.mark.parametrize("sizes", [(30, 1), (30, 2), (30, 3), (30, 30, 1, 1), (1, 1, 1), (1,), (40,), (2,)])
@pytest.mark.parametrize("evidence", ["all", "head"])
def test_classes_that_are_too_small_are_no_harm(sizes, evidence):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    features = (rng.gamma(1.0, size=(len(labels), 6)) + 3 * np.eye(6)[labels]).astype(np.float32)
    found = label_quality(features, labels, len(sizes) + 2, evidence=evidence)  # two classes without any row
    assert all(np.isfinite(values).all() for values in found.values())
    assert ((found["label_quality"] >= 0) & (found["label_quality"] <= 1)).all()
    only = np.bincount(labels)[labels] == 1
    assert (found["suggested"][only] == labels[only]).all()  # nothing to learn the class from
    assert (found["score"][only] == 0).all()
    np.testing.assert_allclose(found["label_quality"][only], 0.5 * found["in_classes"][only])
    if len(sizes) == 1:
        assert (found["suggested"] == 0).all()


@pytest.mark.parametrize(
    "features",
    [
        np.ones((12, 3), np.float32),
        np.zeros((12, 3), np.float16),
        np.repeat(np.eye(3, dtype=np.float32), 4, axis=0),
        np.concatenate([np.full((12, 2), 7.0), np.random.default_rng(0).normal(size=(12, 2))], axis=1),
    ],
)
def test_constant_and_equal_rows_give_numbers(features):
    found = label_quality(features, np.arange(12) % 3, 3)
    assert all(np.isfinite(values).all() for values in found.values())


def test_half_precision_and_array_likes_give_the_same():
    class Sliced:
        def __init__(self, array):
            self.array, self.shape = array, array.shape

        def __len__(self):
            return len(self.array)

        def __getitem__(self, rows):
            return self.array[rows]

    features, labels, _ = pictures(200)
    features = features.astype(np.float16)
    one = label_quality(features.astype(np.float32), labels, 4)
    np.testing.assert_allclose(label_quality(Sliced(features), labels, 4)["label_quality"], one["label_quality"])


def test_rows_that_cannot_be_read_are_left_out():
    features, labels, _ = pictures(120)
    readable = np.arange(120) % 10 > 0
    broken = features.copy()
    broken[~readable] = np.nan
    found = label_quality(broken, labels, 4, readable=readable)
    alone = label_quality(features[readable], labels[readable], 4)
    for name in alone:
        np.testing.assert_array_equal(found[name][readable], alone[name], err_msg=name)
    assert (found["label_quality"][~readable] == 0.5).all() and (found["suggested"] == labels)[~readable].all()
    assert (found["instance_weight"][~readable] == 0).all() and (found["score"][~readable] == 0).all()


def test_votes_are_what_plain_numpy_counts():
    features, labels, _ = pictures(60, classes=3, d=5)
    weight = np.linspace(0.1, 1, 60)
    centre = features.mean(axis=0)
    unit = (features - centre) / np.linalg.norm(features - centre, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -9)
    votes = np.zeros((60, 3))
    for row in range(60):
        for other in np.argsort(-cosine[row])[:40]:
            votes[row, labels[other]] += weight[other] * max(cosine[row, other], 0) ** 2
    votes /= np.sqrt(np.bincount(labels))
    asked = Neighbours(features, labels, 3, keys=np.arange(60).astype(np.uint64), centre=centre)
    got = np.exp(asked.log_votes(np.tile(np.arange(3), (60, 1)), weight))
    np.testing.assert_allclose(got, votes + 0.01 * votes.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("power", [0.0, 0.25, 1.0])
def test_votes_count_with_their_power(power):
    """The shares are the heads' geometric mean times the votes to the power; other votes weigh for the order."""
    features, labels, _ = pictures(200, wrong=0.3)
    found = heads_and_votes(features, labels, 4, Settings(k=4), Known(), power)
    used, rows, every = Roots(features), np.arange(200), np.tile(np.arange(4), (200, 1))
    keys, centre = hashes_and_mean(used, 0)
    neighbours = Neighbours(used, labels, 4, keys=keys, centre=centre)

    def head(seed, weight=None):
        columns = scored(used, labels, 4, Settings(k=4, seed=seed, quick=True), sample_weight=weight).columns
        p = np.zeros((200, 4))
        np.put_along_axis(p, columns["index"], columns["prob"].astype(float), axis=1)
        p[rows, labels] = columns["given"]
        return np.maximum(p, 1e-6)

    def shares(p, weight=None):
        joint = p * np.exp(power * neighbours.log_votes(every, weight))
        return joint / joint.sum(axis=1, keepdims=True)

    weight = np.sqrt(np.maximum(shares(head(0))[rows, labels], 0.02))
    both = np.sqrt(head(0) * head(1, weight))
    expected = np.zeros((200, 4))
    np.add.at(expected, (rows[:, None], found.classes), found.shares)
    np.testing.assert_allclose(expected, shares(both), atol=5e-3)  # the heads' are of half precision
    np.testing.assert_allclose(found.relevance, shares(both, weight**2)[rows, labels], atol=5e-3)


def test_few_rows_are_asked_evenly_from_the_classes():
    labels = np.r_[np.zeros(90, int), np.ones(10, int)]
    keys = np.random.default_rng(0).permutation(100).astype(np.uint64)
    rows = reference_rows(keys, labels, 20)
    assert (np.bincount(labels[rows]) == 10).all() and (np.diff(rows) > 0).all()
    assert len(reference_rows(np.zeros(100, np.uint64), labels, 20)) == 1  # equal rows are one
    assert len(reference_rows(keys, None, 20)) == 20
    unit = unit_rows(np.eye(4, dtype=np.float32))
    index, cosine = nearest_rows(np.eye(4), unit, 9, keys=(np.arange(4), np.array([0, 0, 2, 3])))
    assert index.shape == (4, 4) and (cosine[0] == -2).sum() == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros(4)}, r"shape \(4,\)"),
        ({"features": np.zeros((3, 2))}, "labels has 4 rows but features has 3"),
        ({"labels": np.array([0, 1, 0, 2])}, "label 2 in row 3"),
        ({"evidence": "both"}, "evidence: 'both' is not known"),
        ({"groups": np.zeros(3, int)}, "groups has 3"),
        ({"readable": np.zeros(3, bool)}, "readable has 3"),
        ({"readable": np.ones(4)}, "readable: a one-dimensional boolean array"),
        ({"readable": np.zeros(4, bool)}, "no readable row"),
        ({"shrinkage": "most"}, "shrinkage most"),
        ({"floor": 0.0}, "floor 0.0"),
    ],
)
def test_bad_input(change, message):
    arguments = {"features": np.eye(4, 2), "labels": np.array([0, 1, 0, 1]), **change}
    with pytest.raises(InputError, match=message):
        label_quality(arguments.pop("features"), arguments.pop("labels"), 2, **arguments)
