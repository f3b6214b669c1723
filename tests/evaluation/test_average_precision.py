"""Average precision: exact answers, a slow computation from the definitions, scikit-learn, and laws."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from urnet.core.checks import InputError
from urnet.evaluation.average_precision import KINDS, average_precision, class_average_precision


def slow(labels, scores):
    """The definitions, a threshold at a time."""
    rows = [(s, y) for y, s in zip(labels.tolist(), scores.tolist(), strict=True) if y != 0]
    n = sum(y == 1 for _, y in rows)
    points = []  # hits and precision of every threshold, the highest first
    for threshold in sorted({s for s, _ in rows}, reverse=True):
        above = [y for s, y in rows if s >= threshold]
        points.append((above.count(1), above.count(1) / len(above)))
    eleven = sum(max(p for hits, p in points if 10 * hits >= t * n) for t in range(11)) / 11
    area = exact = before = 0
    for k, (hits, p) in enumerate(points):
        exact += (hits - before) / n * p
        area += (hits - before) / n * max(q for _, q in points[k:])
        before = hits
    return eleven, area, exact


def random_case(rng):
    n = int(rng.integers(1, 60))
    labels = rng.choice([-1, 0, 1], n, p=[0.5, 0.2, 0.3])
    labels[rng.integers(n)] = 1
    scores = rng.normal(size=n)
    return labels, scores.round(int(rng.integers(0, 3))) if rng.random() < 0.5 else scores  # with ties or not


def test_a_ranking_worked_out_by_hand():
    labels = np.array([1, -1, 1, 0, -1, 1])
    scores = np.array([0.9, 0.8, 0.7, 0.65, 0.6, 0.5])  # precision 1, 1/2, 2/3, -, 2/4, 3/5; 3 positives
    found = average_precision(labels, scores)
    assert found.exact == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert found.area == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert found.eleven_point == pytest.approx((4 * 1 + 3 * 2 / 3 + 4 * 3 / 5) / 11)
    dip = average_precision(np.array([-1, 1, 1]), np.array([3.0, 2.0, 1.0]))
    assert dip.exact == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert (dip.area, dip.eleven_point) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_a_recall_of_exactly_a_tenth_counts():
    """3 of 10 hits before a miss: recall 0.3 is 0.3, whatever 3 * 0.1 is in binary."""
    labels = np.array([1] * 3 + [-1] * 7 + [1] * 7)
    found = average_precision(labels, -np.arange(17.0))
    assert found.eleven_point == pytest.approx((4 * 1 + 7 * 10 / 17) / 11)


def test_equal_scores_are_one_place():
    found = average_precision(np.array([1, -1, 1, -1]), np.zeros(4))
    assert found == (0.5, 0.5, 0.5)
    assert average_precision(np.array([-1, 1]), np.zeros(2)) == average_precision(np.array([1, -1]), np.zeros(2))


@pytest.mark.parametrize("seed", range(60))
def test_the_definitions_and_scikit_learn(seed):
    labels, scores = random_case(np.random.default_rng(seed))
    found = average_precision(labels, scores)
    np.testing.assert_allclose(found, slow(labels, scores), atol=1e-12)
    kept = labels != 0
    expected = average_precision_score(labels[kept] == 1, scores[kept])
    assert found.exact == pytest.approx(expected, abs=1e-12)  # also with ties: it takes them together too


@pytest.mark.parametrize("seed", range(10))
def test_laws(seed):
    rng = np.random.default_rng(100 + seed)
    labels, scores = random_case(rng)
    found = average_precision(labels, scores)
    order = rng.permutation(len(labels))
    assert average_precision(labels[order], scores[order]) == found
    assert average_precision(labels, np.exp(3 * scores) + 7) == found  # only the order counts
    elsewhere = np.where(labels == 0, rng.normal(size=len(labels)), scores)
    assert average_precision(labels, elsewhere) == found  # difficult rows count nowhere
    assert 0 < found.exact <= found.area + 1e-12 <= 1 + 2e-12
    assert average_precision(labels, labels.astype(float)) == (1, 1, 1)


def test_the_worst_ranking():
    labels = np.array([-1] * 8 + [1] * 2)
    found = average_precision(labels, -np.arange(10.0))
    assert found.exact == pytest.approx((1 / 9 + 2 / 10) / 2)
    assert found.area == found.eleven_point == pytest.approx(2 / 10)


def test_classes_one_beside_the_other():
    cases = [random_case(np.random.default_rng(seed)) for seed in range(200)]
    cases = [case for case in cases if len(case[0]) == len(cases[0][0])][:2]
    labels, scores = (np.stack(parts, axis=1) for parts in zip(*cases, strict=True))
    found = class_average_precision(labels, scores, ["a", "b"])
    assert found._fields == KINDS
    for c, case in enumerate(cases):
        assert [values[c] for values in found] == list(average_precision(*case))


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 2], [0, 0], "x: found 2 in row 1; -1, 0 or 1 is accepted"),
        ([1, -1], [0, np.nan], "x: the score of row 1 is not finite"),
        ([0, -1], [0, 1], "x: has no positive row"),
        ([], [], "x: found float64 (0,)"),
        ([1.0], [1.0], "x: found float64 (1,) and scores (1,); two arrays"),
        ([[1]], [[1.0]], "x: found int64 (1, 1)"),
        ([1, 1], [1.0], "labels has 2 rows but scores has 1"),
    ],
)
def test_refusals(labels, scores, message):
    with pytest.raises(InputError) as error:
        average_precision(np.array(labels), np.array(scores), "x")
    assert str(error.value).startswith(message)


def test_scores_of_any_kind_of_number():
    labels = np.array([-1, -1, 1, 1])
    for scores in (np.arange(4, dtype=np.uint8), np.array([-128, 0, 1, 2], np.int8), labels > 0):
        assert average_precision(labels, scores).exact == 1


def test_refusals_of_classes():
    with pytest.raises(InputError, match="x: class b: has no positive row"):
        class_average_precision(np.array([[1, -1]]), np.zeros((1, 2)), ["a", "b"], "x")
    with pytest.raises(InputError, match=r"x: labels \(1, 2\), scores \(1, 2\) and 1 classes"):
        class_average_precision(np.array([[1, -1]]), np.zeros((1, 2)), ["a"], "x")
