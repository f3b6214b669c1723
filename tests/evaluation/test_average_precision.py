"""Average precision: exact answers, scikit-learn, and laws."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from urnet.core.checks import InputError
from urnet.evaluation.average_precision import KINDS, average_precision


def of_one(labels, scores):
    """The three figures of one class."""
    found = average_precision(np.asarray(labels)[:, None], np.asarray(scores)[:, None], ["a"])
    assert found._fields == KINDS
    return [float(values[0]) for values in found]


def random_case(rng):
    n = int(rng.integers(1, 60))
    labels = rng.choice([-1, 0, 1], n, p=[0.5, 0.2, 0.3])
    labels[rng.integers(n)] = 1
    scores = rng.normal(size=n)
    return labels, scores.round(int(rng.integers(0, 3))) if rng.random() < 0.5 else scores  # with ties or not


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [  # precision 1, 1/2, 2/3, -, 2/4, 3/5; 3 positives
        ([1, -1, 1, 0, -1, 1], [9, 8, 7, 6.5, 6, 5], [(4 + 2 + 12 / 5) / 11, 34 / 45, 34 / 45]),
        ([-1, 1, 1], [3, 2, 1], [2 / 3, 2 / 3, 7 / 12]),
        # 3 of 10 hits before a miss: recall 0.3 is 0.3, whatever 3 * 0.1 is in binary
        ([1] * 3 + [-1] * 7 + [1] * 7, -np.arange(17), [(4 + 70 / 17) / 11, 0.3 + 0.7 * 10 / 17, None]),
        ([1, -1, 1, -1], [0, 0, 0, 0], [0.5, 0.5, 0.5]),  # equal scores are one place
        ([-1] * 8 + [1] * 2, -np.arange(10), [0.2, 0.2, (1 / 9 + 2 / 10) / 2]),  # the worst
        ([-1, -1, 1, 1], np.array([-128, 0, 1, 2], np.int8), [1, 1, 1]),
        ([-1, -1, 1, 1], np.array([0, 0, 1, 1], bool), [1, 1, 1]),
    ],
)
def test_worked_out_by_hand(labels, scores, expected):
    for found, value in zip(of_one(labels, scores), expected, strict=True):
        assert value is None or found == pytest.approx(value)


def test_scikit_learn_and_laws():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        labels, scores = random_case(rng)
        found = of_one(labels, scores)
        kept = labels != 0
        assert found[2] == pytest.approx(average_precision_score(labels[kept] == 1, scores[kept]), abs=1e-12)
        assert 0 < found[2] <= found[1] + 1e-12 <= 1 + 2e-12
        order = rng.permutation(len(labels))
        assert of_one(labels[order], scores[order]) == found
        assert of_one(labels, np.exp(3 * scores) + 7) == found  # only the order counts
        elsewhere = np.where(labels == 0, rng.normal(size=len(labels)), scores)
        assert of_one(labels, elsewhere) == found  # difficult rows count nowhere
        assert of_one(labels, labels.astype(float)) == pytest.approx([1, 1, 1])


def test_each_class_is_its_own():
    rng = np.random.default_rng(0)
    labels, scores = rng.choice([-1, 0, 1], (50, 3)), rng.normal(size=(50, 3))
    found = np.array(average_precision(labels, scores, ["a", "b", "c"]))
    for c in range(3):
        assert found[:, c].tolist() == of_one(labels[:, c], scores[:, c])


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([[1], [2]], [[0], [0]], r"x: class a: found 2 in row 1; -1, 0 or 1 is accepted"),
        ([[1], [-1]], [[0], [np.nan]], "x: class a: found nan in row 1; finite scores are accepted"),
        ([[0], [-1]], [[0], [1]], "x: class a: has no positive row"),
        ([[1.0]], [[1.0]], r"x: found labels float64 \(1, 1\), scores \(1, 1\) and 1 classes; integer labels"),
        ([1], [1.0], r"x: found labels int64 \(1,\)"),
        ([[1], [1]], [[1.0]], r"x: found labels int64 \(2, 1\), scores \(1, 1\)"),
        ([[1, -1]], [[0, 0]], r"labels int64 \(1, 2\), scores \(1, 2\) and 1 classes"),
    ],
)
def test_refusals(labels, scores, message):
    with pytest.raises(InputError, match=message):
        average_precision(np.array(labels), np.array(scores), ["a"], "x")
