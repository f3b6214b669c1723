"""Class similarity: symmetric, rows sum to 1, a slow dense version, sparse input, classes without rows."""

import numpy as np
import pytest
from scipy import sparse

from urnet.core.checks import InputError
from urnet.reweight.evidence.class_similarity import class_similarity, confusion_counts, top_of_rows


def confusions(c=9, seed=0):
    """Counts with a strong diagonal; class 4 has no rows."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(2.0, (c, c)) + np.diag(rng.integers(5, 50, c))
    counts[4] = 0
    return counts.astype(float)


def texts(c=9, seed=1):
    vectors = np.random.default_rng(seed).standard_normal((c, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T


def slow(confusion, text=None, share=0.5):
    """Plain alternating Sinkhorn on the dense mixture."""
    eye = np.eye(len(confusion))
    mixed = (confusion + eye) / (confusion + eye).sum(1, keepdims=True)
    if text is not None:
        text = np.maximum(text, 0) + eye
        mixed = (1 - share) * mixed + share * text / text.sum(1, keepdims=True)
    s = (mixed + mixed.T) / 2
    for _ in range(5000):
        s = s / s.sum(1, keepdims=True)
        s = s / s.sum(0, keepdims=True)
    return s


@pytest.mark.parametrize("text", [None, texts()])
def test_agrees_with_the_slow_version(text):
    got = class_similarity(confusions(), text, text_share=0.3)
    np.testing.assert_allclose(got.toarray(), slow(confusions(), text, 0.3), atol=1e-7)


@pytest.mark.parametrize("k", [1, 3, 50])
def test_laws(k):
    got = class_similarity(confusions(30), texts(30), k=k)
    assert abs(got - got.T).max() < 1e-15
    np.testing.assert_allclose(got.sum(1), 1, atol=1e-8)
    assert got.min() >= 0
    assert got.nnz <= 30 * (2 * k + 1)
    order = np.random.default_rng(2).permutation(30)
    permuted = class_similarity(confusions(30)[order][:, order], texts(30)[order][:, order], k=k)
    np.testing.assert_allclose(permuted.toarray(), got.toarray()[order][:, order], atol=1e-7)
    again = class_similarity(sparse.csr_matrix(confusions(30)), sparse.csr_matrix(texts(30)), k=k)
    np.testing.assert_allclose(again.toarray(), got.toarray(), atol=1e-12)


def test_classes_that_are_never_confused_are_like_themselves_only():
    assert (class_similarity(np.diag([5.0, 0.0, 3.0])).toarray() == np.eye(3)).all()


def test_confusion_counts_are_sums_of_the_teachers_probability():
    rng = np.random.default_rng(3)
    labels, index = rng.integers(0, 5, 200), np.array([rng.permutation(5)[:3] for _ in range(200)])
    prob = rng.dirichlet(np.ones(3), 200)
    expected = np.zeros((5, 5))
    np.add.at(expected, (labels[:, None], index), prob)
    for block in (7, 1000):
        got = confusion_counts(labels, 5, index, prob, block=block)
        np.testing.assert_allclose(got.toarray(), expected, rtol=1e-12)


def test_largest_entries_of_each_row():
    matrix = np.array([[0.1, 0.6, 0.3], [0, 1, 0], [0.25, 0.25, 0.5]])
    index, value = top_of_rows(sparse.csr_matrix(matrix), 2)
    assert index.tolist() == [[1, 2], [1, 0], [2, 0]]
    np.testing.assert_allclose(value, [[2 / 3, 1 / 3], [1, 0], [2 / 3, 1 / 3]])


@pytest.mark.parametrize(
    ("confusion", "text", "message"),
    [
        (np.eye(3), np.eye(4), r"one size are needed, found \(3, 3\) and \(4, 4\)"),
        (np.ones((2, 3)), None, r"found \(2, 3\)"),
        (-np.eye(3), None, "confusion holds numbers that are not finite, or below 0"),
        (np.full((2, 2), np.nan), None, "confusion holds numbers that are not finite"),
    ],
)
def test_bad_input(confusion, text, message):
    with pytest.raises(InputError, match=message):
        class_similarity(confusion, text)
