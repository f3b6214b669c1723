"""The projection before k-means: scikit-learn's PCA, of a sample that the rows' order does not change."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from urnet.core.checks import InputError
from urnet.reweight.evidence.projection import fit_projection, project


def test_the_projection_is_pca():
    features = np.random.default_rng(0).normal(size=(500, 12)) * np.arange(1, 13) + 100
    features = features.astype(np.float32)
    got, sklearn = fit_projection(features, pca=4), PCA(4, svd_solver="full").fit(features)
    np.testing.assert_allclose(got.mean, sklearn.mean_, rtol=1e-5)
    np.testing.assert_allclose(np.abs(sklearn.components_ @ got.components), np.eye(4), atol=1e-4)
    expected = sklearn.transform(features)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    projected = project(features, np.arange(500), got)
    np.testing.assert_allclose(projected @ projected.T, expected @ expected.T, atol=1e-3)
    assert fit_projection(features).components.shape == (12, 12)
    assert fit_projection(features[:3]).components.shape == (12, 3)


def test_the_sample_depends_on_rows_and_seed_alone():
    settings = {"pca": 8, "sample_rows": 200}
    features = np.random.default_rng(0).normal(size=(700, 16)).astype(np.float16)
    features[100:300] = features[0]  # many equal rows, all or none of them in the sample, or some
    one_hot = np.eye(700, dtype=np.float16)  # rows that differ in few bits have different hashes
    for rows in (features, one_hot):
        order = np.random.default_rng(2).permutation(700)
        whole, permuted = fit_projection(rows, **settings), fit_projection(rows[order], **settings)
        assert whole.components.tobytes() == permuted.components.tobytes()
        assert whole.mean.tobytes() == permuted.mean.tobytes()
        assert fit_projection(rows, **settings, seed=1).mean.tobytes() != whole.mean.tobytes()


def test_a_broken_row_is_named_in_the_pass_over_all_rows():
    features = np.ones((200, 3), np.float32)
    features[[131, 140], [2, 0]] = np.nan, np.inf
    with pytest.raises(InputError, match="features: row 131 has nan in column 2"):
        fit_projection(features, sample_rows=50, block_bytes=4 * 3 * 30)
