"""Arrays on their way to the device."""

import numpy as np
import paddle
import pytest

from urnet.runtime.host_to_device import GENERATIONS, Uploads, to_tensor
from urnet.runtime.precision import has_gpu


def check():
    uploads, rng = Uploads(), np.random.default_rng(0)
    sent = []
    for _ in range(2 * GENERATIONS):
        uploads.begin()
        array = rng.integers(0, 256, (64, 32, 32, 3)).astype(np.uint8)
        sent.append((array.copy(), uploads(array)))
        array[:] = 0  # the host's array may be used again at once
    for expected, tensor in sent:
        assert tensor.dtype == paddle.uint8
        np.testing.assert_array_equal(tensor.numpy(), expected)


def test_tensors_keep_what_was_sent():
    check()


def test_nothing_waits_for_a_gpu(monkeypatch):
    """Neither an upload of a step nor any other one: pinned memory, and a copy that does not block."""
    sent = []

    def cuda(tensor, device_id=None, blocking=True):
        sent.append(blocking)
        return tensor

    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    monkeypatch.setattr(paddle, "CUDAPinnedPlace", paddle.CPUPlace)
    monkeypatch.setattr(paddle.Tensor, "cuda", cuda)
    for send in (Uploads(), to_tensor):
        np.testing.assert_array_equal(send(np.arange(3)).numpy(), np.arange(3))
    assert sent == [False, False]


@pytest.mark.gpu
@pytest.mark.skipif(not has_gpu(), reason="needs a GPU")
def test_tensors_on_a_gpu_keep_what_was_sent():
    paddle.set_device("gpu")
    try:
        check()
    finally:
        paddle.set_device("cpu")
