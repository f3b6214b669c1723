"""fp16 training on a CPU, which has the scaling of the loss but no fp16, with gradients that overflow on demand."""

import contextlib
import warnings

import paddle

from tests.helpers.train_step import Plain


@contextlib.contextmanager
def scaling_allowed():
    """Nobody hears that there is no fp16."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Overflowing(Plain):
    """Plain, whose gradient of ``fc.weight`` is infinite while ``overflows``."""

    def __init__(self):
        super().__init__()
        self.overflows = False
        self.fc.weight.register_hook(lambda gradient: gradient * float("inf") if self.overflows else gradient)


def as_newer_numpy(array):
    """What ``float(array)`` is since NumPy 2.4."""
    if paddle.Tensor.numpy(array).ndim:
        raise TypeError("only 0-dimensional arrays can be converted to Python scalars")
    return paddle.Tensor.numpy(array).item()
