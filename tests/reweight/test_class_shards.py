"""Whole classes dealt out among processes, and joined again."""

import numpy as np
import pytest

from urnet.core.checks import InputError
from urnet.reweight.evidence.class_shards import classes_of, join, rows_of

LABELS = np.random.default_rng(0).choice(6, 200, p=[0.4, 0.3, 0.15, 0.1, 0.05, 0])


@pytest.mark.parametrize("world_size", [1, 2, 3, 9])
def test_every_row_is_of_one_process_and_classes_stay_whole(world_size):
    shares = [rows_of(LABELS, 6, rank, world_size) for rank in range(world_size)]
    assert np.array_equal(np.sort(np.concatenate(shares)), np.arange(200))
    for rank, rows in enumerate(shares):
        assert np.all(np.diff(rows) > 0)
        assert set(LABELS[rows]) == set(classes_of(LABELS, 6, rank, world_size))


def test_the_largest_classes_are_dealt_out_first():
    counts = np.bincount(LABELS, minlength=6)
    dealt = [classes_of(LABELS, 6, rank, 2) for rank in range(2)]
    order = [dealt[k % 2][k // 2] for k in range(5)]
    assert np.all(np.diff(counts[order]) <= 0) and 5 not in order  # class 5 has no rows


@pytest.mark.parametrize("world_size", [1, 2, 9])
def test_joined_parts_are_the_columns(world_size):
    columns = {"a": np.arange(200, dtype=np.int16), "b": np.random.default_rng(1).random((200, 2))}
    shares = [rows_of(LABELS, 6, rank, world_size) for rank in range(world_size)]
    parts = [{name: values[rows] for name, values in columns.items()} if len(rows) else {} for rows in shares]
    joined = join(parts, LABELS, 6)
    for name, values in columns.items():
        assert joined[name].dtype == values.dtype and np.array_equal(joined[name], values)


def test_a_part_of_another_length_is_refused():
    parts = [{"a": np.zeros(len(rows_of(LABELS, 6, rank, 2)) - rank)} for rank in range(2)]
    with pytest.raises(InputError, match=r"process 1 made \d+ rows of columns; \d+ were its share"):
        join(parts, LABELS, 6)
