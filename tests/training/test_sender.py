"""What a step's host arrays become on the device: each sent once, rows of it picked there."""

import numpy as np
import paddle
import pytest

from urnet.training.sender import Sender


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_rows_are_those_of_numpy_and_sent_once(dtype):
    array, sent = np.arange(24).reshape(6, 4).astype(dtype), []
    sender = Sender(lambda given: sent.append(given) or paddle.to_tensor(given))
    partners = np.array([5, 0, 5], np.int64)
    found = [sender.rows(array, slice(1, 4)), sender.rows(array, paddle.to_tensor(partners))]
    for rows, expected in zip(found, (array[1:4], array[partners]), strict=True):
        assert rows.numpy().dtype == dtype
        np.testing.assert_array_equal(rows.numpy(), expected)
    assert len(sent) == 1
