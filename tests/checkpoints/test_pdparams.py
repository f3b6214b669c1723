"""``.pdparams`` files: what paddle.save writes is read; whatever else a pickle may hold is refused."""

import codecs
import contextlib
import copyreg
import operator
import os
import pickle
import struct
import subprocess
from pathlib import Path

import numpy as np
import paddle
import pytest

from tests.helpers.tiny_network import Tiny, assert_same, weights_of
from urnet.checkpoints import checkpoint, pdparams
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


def test_one_pair_alone_is_no_state_dict(tmp_path):
    paddle.save(Tiny().fc.weight, str(tmp_path / "x.pdparams"))
    with pytest.raises(InputError, match="a state dict is needed, found tuple"):
        checkpoint.read_weights(tmp_path / "x.pdparams")


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


def test_pickle_with_any_byte_changed_is_refused_or_still_arrays(tmp_path):
    path, rng = tmp_path / "x.pdparams", np.random.default_rng(0)
    paddle.save(Tiny().state_dict(), str(path), protocol=4)
    whole = np.frombuffer(path.read_bytes(), "uint8")
    for at in range(len(whole)):
        broken = whole.copy()
        broken[at] ^= rng.integers(1, 256)
        path.write_bytes(broken.tobytes())
        try:
            found = pdparams.read_arrays(path)
        except InputError:
            continue
        assert all(isinstance(value, np.ndarray) and value.dtype.kind in "fiub" for value in found.values())


class Calls:
    """An object whose pickle asks for ``function(*arguments)``, with a state if given."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


def hostile(trap):
    """Name -> an object whose pickle would touch the file ``trap`` or build no plain array."""
    touch = f"open({str(trap)!r}, 'w').close()"
    array = np.ones(2, "float32")
    return {
        "os.system": Calls(os.system, f"touch {trap}"),
        "eval": Calls(eval, touch),
        "exec": Calls(exec, touch),
        "open": Calls(open, str(trap), "w"),
        "subprocess": Calls(subprocess.check_call, ["touch", str(trap)]),
        "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
        "attrgetter": Calls(operator.attrgetter("system"), Calls(__import__, "os")),
        "map": Calls(tuple, Calls(map, os.system, [f"touch {trap}"])),
        "copyreg": Calls(copyreg._reconstructor, Path, object, None),
        "codec": Calls(codecs.encode, b"x", "zlib"),
        "ndarray": Calls(np.ndarray, (1 << 40,)),
        "load": Calls(np.load, str(trap), None, True),
        "reconstruct": Calls(np.ones(1).__reduce__()[0], np.matrix, (0,), b"b"),
        "object dtype": np.array([Calls(os.system, f"touch {trap}")], object),
        "records": np.zeros(2, [("a", "f4")]),
        "text": np.array(["a"]),
        "complex": np.ones(2, "complex64"),
        "state": Calls(dict, state={"__class__": 1}),
        "in a key": {Calls(os.system, f"touch {trap}"): array},
        "in a state": Calls(np.ones(1).__reduce__()[0], np.ndarray, (0,), b"b", state=Calls(eval, touch)),
    }


HOSTILE = sorted(hostile(""))


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_and_run_nothing(tmp_path, name, protocol):
    trap, path = tmp_path / "trap", tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps({"fc.weight": np.ones(2, "float32"), "x": hostile(trap)[name]}, protocol))
    with pytest.raises(InputError) as error:
        checkpoint.read_weights(path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path}: is not a state dict of arrays that paddle.save wrote: ")
    assert not trap.exists()


def test_the_hostile_pickles_would_have_run(tmp_path):
    """The check above could not fail if they were harmless."""
    for name in ("os.system", "eval", "exec", "open", "subprocess", "object dtype", "in a state"):
        trap = tmp_path / name.replace(" ", "")
        with contextlib.suppress(Exception):
            pickle.loads(pickle.dumps(hostile(trap)[name], 4))
        assert trap.exists(), name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cos\nsystem\n.", "asks for 'os.system'"),
        (b"\x80\x04c" + b"x" * 5000, "is not a"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x", "ends early"),
        (b"\x80\x02X" + struct.pack("<I", 4_000_000_000) + b"x", "ends early"),
        (b"\x80\x04I" + b"9" * 100_000 + b"\n.", "uses the opcode INT"),
        (b"\x80\x04cnumpy\nndarray\n)R.", "numpy.ndarray called"),
        (b"\x80\x04cbuiltins\ntuple\n}b.", "gives a state to something that takes none"),
        (b"\x80\x04}}R.", "no known builder"),
        (b"\x80\x04t.", "no mark where one is needed"),
        (b"\x80\x04}s.", "stack runs empty"),
        (b"\x80\x04h\x07.", "is not a"),
        (b"\x80\x04}]K\x01s.", "no text"),
        (b"\x80\x04P1\n.", "opcode PERSID"),
        (b"\x80\x04\x82\x01.", "opcode EXT1"),
        (b"\xff.", "unknown opcode"),
        (b"", "ends early"),
        (b"PK\x03\x04", "is not a"),
    ],
)
def test_hand_made_pickles(tmp_path, content, message):
    (tmp_path / "x.pdparams").write_bytes(content)
    with pytest.raises(InputError, match=message):
        checkpoint.read_weights(tmp_path / "x.pdparams")


def test_an_array_may_not_claim_what_its_bytes_do_not_hold(tmp_path):
    function, arguments, state = np.ones(2, "float32").__reduce__()
    for shape in [(3,), (1 << 62, 4), (-2, -1), (2.0,), ("2",)]:
        lying = Calls(function, *arguments, state=(state[0], shape, *state[2:]))
        (tmp_path / "x.pdparams").write_bytes(pickle.dumps({"x": lying}, 4))
        with pytest.raises(InputError, match=r"an array (of shape .* with 8 bytes|that is not shape)"):
            checkpoint.read_weights(tmp_path / "x.pdparams")


def test_an_array_without_a_state(tmp_path):
    function, arguments, _ = np.ones(2, "float32").__reduce__()
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps({"x": Calls(function, *arguments)}, 4))
    with pytest.raises(InputError, match="entry 'x' is a NoneType"):
        checkpoint.read_weights(tmp_path / "x.pdparams")
