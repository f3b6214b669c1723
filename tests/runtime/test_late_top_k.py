"""What the device ranks is what the host ranks, to the bit, whatever is equal."""

import numpy as np
import paddle
import pytest

from urnet.core.top_k import topk
from urnet.runtime.device_to_host import Downloads
from urnet.runtime.late_top_k import LateScores, LateTopK


def late(scores, k):
    return LateTopK(paddle.to_tensor(scores), k, Downloads(), on_device=True).value()


@pytest.mark.parametrize("levels", [1, 3, 50, 10**6])  # 1: all are equal; 10**6: nearly none
@pytest.mark.parametrize("k", [1, 2, 5, 16, 17])
def test_the_best_of_the_device_are_those_of_the_host(levels, k):
    rng = np.random.default_rng(k)
    scores = (rng.integers(0, levels, (50, 17)) / levels).astype(np.float32)
    for given, expected in zip(late(scores, k), topk(scores, k), strict=True):
        assert given.dtype == expected.dtype and given.tobytes() == expected.tobytes()


class AnyOrder:
    """``paddle.topk`` with equal scores in another order, as a GPU may give them."""

    def __init__(self, rng):
        self._rng, self._real = rng, paddle.topk

    def __call__(self, scores, k, axis):
        turn = self._rng.permutation(scores.shape[1])
        values, places = self._real(paddle.to_tensor(scores.numpy()[:, turn]), k, axis=axis)
        return values, paddle.to_tensor(turn[places.numpy()])


@pytest.mark.parametrize("levels", [2, 5, 40])
def test_the_order_of_equal_scores_on_the_device_does_not_matter(levels, monkeypatch):
    rng = np.random.default_rng(levels)
    scores = (rng.integers(0, levels, (200, 12)) / levels).astype(np.float32)
    monkeypatch.setattr(paddle, "topk", AnyOrder(rng))
    for k in (1, 4, 11, 12):
        for given, expected in zip(late(scores, k), topk(scores, k), strict=True):
            assert given.tobytes() == expected.tobytes()


class Counting(Downloads):
    """Downloads, and the shapes of what was asked for."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __call__(self, tensor):
        self.shapes.append(tuple(tensor.shape))
        return super().__call__(tensor)


def test_only_the_best_travel_and_rows_with_a_tie_at_the_border():
    scores = np.random.default_rng(0).random((6, 5000)).astype(np.float32)
    downloads = Counting()
    LateTopK(paddle.to_tensor(scores), 5, downloads, on_device=True).value()
    assert downloads.shapes == [(6, 13)]  # 6 values and 6 classes per row, and whether it is finite
    scores[4] = 0.5
    downloads = Counting()
    LateTopK(paddle.to_tensor(scores), 5, downloads, on_device=True).value()
    assert downloads.shapes == [(6, 13), (1, 5000)]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_found_as_on_the_host(wrong):
    scores = np.random.default_rng(0).random((3, 9)).astype(np.float32)
    scores[1, 4] = wrong
    with pytest.raises(FloatingPointError, match="image 1 of a batch are not finite"):
        late(scores, 2)


def test_scores_are_begun_at_once_and_asked_for_later():
    said = []

    def compute(images):
        said.append(f"launch {len(images)}")
        return paddle.to_tensor(images[:, 0, 0].astype(np.float32)), paddle.full([len(images)], 0.25)

    launcher = LateScores(compute, Downloads())
    images = np.arange(12, dtype=np.uint8).reshape(4, 1, 1, 3)
    first, second = launcher.launch(images, 2), launcher.launch(images[:1], 2)
    assert said == ["launch 4", "launch 1"]
    classes, scores, fits = first()
    assert classes.tolist() == [[2, 1]] * 4 and scores[:, 0].tolist() == [2, 5, 8, 11] and fits.tolist() == [0.25] * 4
    assert second()[0].tolist() == [[2, 1]]
