"""``.pdparams`` files: what paddle.save writes is read; tests/robustness/test_hostile_pickles.py has the rest."""

import pickle

import numpy as np
import paddle
import pytest

from tests.helpers.tiny_network import Tiny, assert_same, weights_of
from urnet.checkpoints import checkpoint
from urnet.core.checks import InputError


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_files_of_paddle_save(tmp_path, protocol):
    network = Tiny()
    path = tmp_path / "x.pdparams"
    paddle.save(network.state_dict(), str(path), protocol=protocol)
    assert_same(checkpoint.read_weights(path), weights_of(network))
    assert checkpoint.describe(path).kind == "pdparams"
    mixed = {  # values as (name, array) pairs, and every number type
        "pair": network.fc.weight,
        "half": np.array([1.5, 2], "float16"),
        "double": np.array([1.5, 2]),
        "turned": np.asfortranarray(np.arange(6, dtype="float32").reshape(2, 3)),
        "big_endian": np.array([1, 2], ">f4"),
        "scalar": np.array(3, "float32"),
        "empty": np.zeros((0, 3), "float32"),
        "count": np.array([2**40]),
        "flag": np.array([True, False]),
        "brain": paddle.to_tensor([1.0, -2.5]).astype("bfloat16"),
    }
    paddle.save({"learning_rate": 0, **mixed}, str(path), protocol=protocol)
    with pytest.raises(InputError, match="entry 'learning_rate' is a int; a state dict of arrays"):
        checkpoint.read_weights(path)
    paddle.save(mixed, str(path), protocol=protocol)
    found = checkpoint.read_weights(path)
    expected = {**mixed, "pair": network.fc.weight.numpy(), "brain": np.array([1, -2.5], "float32")}
    expected = {key: np.asarray(value) for key, value in expected.items()}
    for key in ("half", "double", "big_endian"):
        expected[key] = expected[key].astype("float32")
    assert_same(found, expected)


def test_big_arrays_in_slices(tmp_path):
    """What paddle.save makes of arrays over 1 GiB under protocols 2 and 3, made small by hand."""
    tree = {
        "a": np.ones(2, "float32"),
        "w@@.0": np.arange(4, dtype="float32"),
        "w@@.1": np.arange(4, 6, dtype="float32"),
        "UnpackBigParamInfor@@": {"w": {"OriginShape": (2, 3), "slices": ["w@@.0", "w@@.1"]}},
        "StructuredToParameterName@@": {"a": "a_0", "w": "w_0"},
    }
    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps(tree, 2))
    found = checkpoint.read_weights(path)
    assert_same(found, {"a": tree["a"], "w": np.arange(6, dtype="float32").reshape(2, 3)})
    del tree["w@@.1"]
    path.write_bytes(pickle.dumps(tree, 2))
    with pytest.raises(InputError, match="UnpackBigParamInfor@@ does not fit its slices"):
        checkpoint.read_weights(path)


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickle_cut_anywhere(tmp_path, protocol):
    path = tmp_path / "x.pdparams"
    paddle.save(Tiny().state_dict(), str(path), protocol=protocol)
    whole = path.read_bytes()
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(InputError, match=r"x.pdparams: is not a"):
            checkpoint.read_weights(path)
    path.write_bytes(whole + b".")
    with pytest.raises(InputError, match="does not end with one object"):
        checkpoint.read_weights(path)
