"""Linear classifiers on frozen features: how they are scaled, split, and how C is chosen."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.svm import LinearSVC

from urnet.core.checks import InputError
from urnet.evaluation.linear_probe import check_counts, probe, scaled, split


def test_scaling_is_by_the_training_rows_alone():
    rng = np.random.default_rng(0)
    train, test = (rng.normal(3, 2, (n, 5)).astype(np.float32) for n in (40, 7))
    test[3] = train.mean(axis=0)
    a, b = scaled(train, test)
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(b[0], (test[0] - train.mean(0)) / np.linalg.norm(test[0] - train.mean(0)), atol=1e-6)
    assert np.isfinite(b).all()
    np.testing.assert_array_equal(scaled(train, test[:2])[1], b[:2])
    np.testing.assert_array_equal(scaled(train[:3] * 0, test[:1] * 0)[1], np.zeros((1, 5)))


def test_every_labelled_row_is_in_one_part():
    labels = np.random.default_rng(0).choice([-1, 0, 1], 200, p=[0.8, 0.1, 0.1])
    fit, held_out = split(labels)
    assert sorted([*fit, *held_out]) == np.flatnonzero(labels != 0).tolist()
    for label in (1, -1):
        assert (labels[held_out] == label).sum() == round((labels == label).sum() / 3)
    for part in split(np.array([1, -1, 1, -1, 0])):
        assert np.array([1, -1, 1, -1, 0])[part].tolist() in ([1, -1], [-1, 1])


def features(n, rng):
    labels = rng.choice([-1, 1], (n, 2), p=[0.7, 0.3])
    x = rng.normal(0, 1, (n, 30))
    x[:, :2] += labels
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), labels


def test_c_is_the_best_of_a_part_and_the_classifier_is_of_all_rows():
    rng = np.random.default_rng(0)
    (train, labels), (test, _) = features(150, rng), features(50, rng)
    cs = [0.001, 1.0, 10.0]
    found = probe(train, labels, test, cs)
    for c in range(2):
        fit, held_out = split(labels[:, c])
        ap = {}
        for value in cs:
            svm = LinearSVC(C=value, dual=False).fit(train[fit].astype(float), labels[fit, c])
            scores = svm.decision_function(train[held_out].astype(float))
            ap[value] = average_precision_score(labels[held_out, c] == 1, scores)
        assert found.c[c] == max(cs, key=ap.get)
        assert found.held_out[c] == pytest.approx(max(ap.values()))
        svm = LinearSVC(C=found.c[c], dual=False).fit(train.astype(float), labels[:, c])
        np.testing.assert_allclose(found.test[:, c], svm.decision_function(test.astype(float)), atol=1e-9)
    np.testing.assert_array_equal(probe(train, labels, test, cs, jobs=2).test, found.test)
    assert found.unfinished == 0
    assert probe(train, labels, test, [1.0], most_iterations=1).unfinished == 2


def test_difficult_rows_teach_nothing():
    rng = np.random.default_rng(1)
    (train, labels), (test, _) = features(120, rng), features(30, rng)
    labels[::7, 0] = 0
    first = probe(train, labels, test, [0.1, 1.0])
    train[::7] = rng.normal(0, 1e3, train[::7].shape)
    second = probe(train, labels, test, [0.1, 1.0])
    np.testing.assert_array_equal(first.test[:, 0], second.test[:, 0])
    assert (first.test[:, 1] != second.test[:, 1]).any()


def test_too_few_rows_of_a_class():
    labels = np.array([[1, -1], [-1, 1], [-1, 1]])
    check_counts(labels, ["a", "b"], [1.0])
    with pytest.raises(InputError, match="class a: 1 positive training images; 2 or more are needed, to choose C"):
        check_counts(labels, ["a", "b"], [0.1, 1.0])
    with pytest.raises(InputError, match=r"class b: 0 negative training images; 1 or more are needed$"):
        check_counts(np.array([[1, 1], [-1, 1]]), ["a", "b"], [1.0])
