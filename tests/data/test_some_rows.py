"""Rows that were decided to show none of the classes are never drawn, whichever sampler draws."""

import numpy as np
import pytest

from urnet.data.sampling.bag_sampler import BagSampler
from urnet.data.sampling.curriculum_sampler import CurriculumSampler
from urnet.data.sampling.epoch_sampler import EpochSampler
from urnet.data.sampling.some_rows import SomeRows

LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 0, 0, 2, 1, 0, 1])
ROWS = np.array([0, 1, 2, 4, 5, 8, 9, 10, 11, 13])  # not 3, 6, 7, 12
COMMON = {"seed": 1, "stage": "s", "n_classes": 3}
SAMPLERS = {
    "plain": lambda labels: EpochSampler(labels, **COMMON),
    "weights": lambda labels: EpochSampler(labels, sampling_weight=1.0 + np.arange(len(labels)) % 3, **COMMON),
    "balance": lambda labels: EpochSampler(labels, balance=1.0, **COMMON),
    "bags": lambda labels: BagSampler(labels, size=2, **COMMON),
    "curriculum": lambda labels: CurriculumSampler(
        labels, subset=(np.arange(len(labels)) > 6).astype(np.int8), parts=(1, 1), **COMMON
    ),
}


@pytest.mark.parametrize("kind", SAMPLERS)
def test_the_others_are_never_drawn_and_count_nowhere(kind):
    inner = SAMPLERS[kind](LABELS[ROWS])
    sampler = SomeRows(inner, ROWS, len(LABELS))
    assert sampler.steps_per_epoch(2) == 5
    drawn = np.concatenate([batch for epoch in range(200) for batch in sampler.batches(epoch, 2)])
    counts = np.bincount(drawn, minlength=len(LABELS))
    assert set(np.flatnonzero(counts)) == set(ROWS.tolist())
    expected = sampler.expected_draws()
    assert expected.shape == LABELS.shape and expected.sum() == pytest.approx(len(ROWS))
    np.testing.assert_allclose(counts / 200, expected, atol=0.2)
    np.testing.assert_allclose(np.bincount(LABELS, expected) / len(ROWS), sampler.sampled_share(), atol=1e-9)
    for rank in range(2):  # several processes, and from the middle on
        parts = list(sampler.batches(3, 4, 1, rank, 2))
        assert [p.tolist() for p in parts] == [ROWS[p].tolist() for p in inner.batches(3, 4, 1, rank, 2)]
