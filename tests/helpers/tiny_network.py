"""A network small enough for tests of checkpoints, and how its arrays are compared."""

import numpy as np
import paddle


class Tiny(paddle.nn.Layer):
    """Two layers and buffers; its files in the 2018 release's form would have underscores for dots."""

    def __init__(self, n_classes=3):
        super().__init__()
        self.bn = paddle.nn.BatchNorm1D(4)
        self.fc = paddle.nn.Linear(4, n_classes)

    def release_names(self):
        return {key: key.replace(".", "_") for key in self.state_dict()}


def weights_of(network):
    return {key: value.numpy() for key, value in network.state_dict().items()}


def assert_same(found, expected):
    """The same names, types and values."""
    assert set(found) == set(expected)
    for key in expected:
        assert found[key].dtype == expected[key].dtype, key
        np.testing.assert_array_equal(found[key], expected[key], err_msg=key)
