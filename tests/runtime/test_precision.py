"""Which of Paddle's flags are set for a GPU, found out without one."""

import os

import paddle
import pytest

from urnet.runtime.precision import has_gpu, tune_gpu
from urnet.runtime.threads import import_paddle

SEARCH, PERSISTENT, ADD = (
    "FLAGS_cudnn_exhaustive_search",
    "FLAGS_cudnn_batchnorm_spatial_persistent",
    "FLAGS_max_inplace_grad_add",
)


@pytest.fixture
def flags(monkeypatch):
    """What ``paddle.set_flags`` is given; nothing of them is in the environment."""
    for name in (SEARCH, PERSISTENT, ADD, "FLAGS_cudnn_deterministic"):
        monkeypatch.delenv(name, raising=False)
    given = {}
    monkeypatch.setattr(paddle, "set_flags", given.update)
    return given


@pytest.mark.parametrize(
    ("half", "channels_last", "expected"),
    [
        (False, False, {SEARCH: 1}),
        (False, True, {SEARCH: 1}),
        (True, False, {SEARCH: 1, ADD: 8}),
        (True, True, {SEARCH: 1, ADD: 8, PERSISTENT: 1}),
    ],
)
def test_flags_of_a_gpu(flags, half, channels_last, expected):
    tune_gpu(half=half, channels_last=channels_last)
    assert flags == expected


def test_the_environment_is_not_overruled(flags, monkeypatch):
    monkeypatch.setenv(SEARCH, "0")
    tune_gpu(half=True, channels_last=False)
    assert flags == {ADD: 8}


@pytest.mark.parametrize(("value", "timed"), [("1", False), ("True", False), ("0", True), ("", True)])
def test_no_algorithm_is_timed_where_all_must_be_deterministic(flags, monkeypatch, value, timed):
    monkeypatch.setenv("FLAGS_cudnn_deterministic", value)  # Paddle refuses both together
    tune_gpu(half=False, channels_last=False)
    assert (SEARCH in flags) == timed


@pytest.mark.parametrize(("set_to", "expected"), [(None, "1"), ("0", "0"), ("1", "1")])
def test_tf32_is_allowed_unless_the_environment_forbids_it(monkeypatch, set_to, expected):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", set_to or "")  # so that it is put back
    if set_to is None:
        monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    import_paddle()
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == expected


@pytest.mark.gpu
@pytest.mark.skipif(not has_gpu(), reason="needs a GPU")
@pytest.mark.parametrize("amp", [None, "float16", "bfloat16"])
def test_channels_last_is_the_same_network_on_a_gpu(amp):
    import models
    from tests.helpers.networks import images

    paddle.set_device("gpu")
    tune_gpu(half=amp is not None, channels_last=True)
    paddle.seed(1)
    first = models.build("ResNet50", 10)
    last = models.build("ResNet50", 10, data_format="NHWC")
    last.set_state_dict(first.state_dict())
    x = images(96, 8)
    with paddle.amp.auto_cast(enable=amp is not None, dtype=amp or "float16", level="O1"):
        a, b = first(x), last(x.transpose([0, 2, 3, 1]))
    a, b = a.astype("float32"), b.astype("float32")
    assert float((a - b).abs().max()) < (1e-3 if amp is None else 0.1) * float(a.abs().max())
