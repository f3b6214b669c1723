"""The k largest of each row, against a stable sort."""

import numpy as np
import pytest

from urnet.core.checks import InputError
from urnet.core.top_k import topk


@pytest.mark.parametrize("levels", [3, 10_000])  # 3: almost only ties
@pytest.mark.parametrize("k", [1, 2, 5, 17])
def test_topk_is_the_head_of_a_stable_sort(levels, k):
    rng = np.random.default_rng(k)
    scores = (rng.integers(0, levels, (50, 17)) / levels).astype(np.float32)
    indices, values = topk(scores, k)
    expected = [sorted(range(17), key=lambda c: (-row[c], c))[:k] for row in scores]
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(scores, np.array(expected), 1))


def test_topk_refuses():
    with pytest.raises(InputError, match=r"top-4 of 3 classes: 1\.\.3 is accepted"):
        topk(np.zeros((2, 3)), 4)
    scores = np.zeros((3, 4))
    scores[1, 2] = np.nan
    with pytest.raises(FloatingPointError, match="image 1 "):
        topk(scores, 1)
