"""The 2018 release's files: against Paddle's own writer, and against hand-made bytes broken everywhere."""

import os
import struct
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.hostile_files import refused
from urnet.checkpoints import checkpoint, fluid
from urnet.core.checks import InputError

VALUES = np.arange(6, dtype="<f4").reshape(2, 3)
DESC, DATA = bytes([8, 5, 16, 2, 16, 3]), VALUES.tobytes()


def variable(*, version=0, lod=(), tensor_version=0, desc=DESC, desc_size=None, data=DATA):
    """One variable's bytes, field by field as the format is described; the default is VALUES."""
    out = struct.pack("<IQ", version, len(lod))
    for level in lod:
        out += struct.pack("<Q", len(level)) + level
    size = len(desc) if desc_size is None else desc_size
    return out + struct.pack("<Ii", tensor_version, size) + desc + data


def read(tmp_path, content):
    path = tmp_path / "res_conv1_weights"
    path.write_bytes(content)
    return fluid.read_variable(path)


@pytest.mark.parametrize(
    "content",
    [
        variable(),
        variable(desc=bytes([8, 5, 18, 2, 2, 3])),  # packed dims
        variable(desc=bytes([16, 2, 16, 3, 8, 5])),  # fields in another order
        variable(desc=bytes([8, 5, 16, 0x82, 0, 16, 3])),  # a number with a needless byte, as protobuf allows
        variable(lod=[b"12345678", b""]),
    ],
)
def test_forms_of_one_variable(tmp_path, content):
    found = read(tmp_path, content)
    assert found.dtype == np.float32
    assert found.flags.writeable
    np.testing.assert_array_equal(found, VALUES)


@pytest.mark.parametrize("lod", [(), (b"12345678",)])
@pytest.mark.parametrize("packed", [False, True])
def test_cut_at_every_byte(tmp_path, lod, packed):
    whole = variable(lod=lod, **({"desc": bytes([8, 5, 18, 2, 2, 3])} if packed else {}))
    for n in range(len(whole)):
        with pytest.raises(InputError, match=r"res_conv1_weights: ends inside its .*bytes needed"):
            read(tmp_path, whole[:n])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (variable() + b"\0", "1 bytes follow the last variable"),
        (variable(version=1), "version is 1; 0 is accepted"),
        (variable(tensor_version=7), "tensor version is 7"),
        (struct.pack("<IQ", 0, 2**40), "claims 1099511627776 LoD levels; at most 8"),
        (struct.pack("<IQQ", 0, 1, 2**63), "LoD level: 9223372036854775808 bytes needed, 0 left"),
        (variable(desc_size=-1), "a description of -1 bytes"),
        (variable(desc_size=1 << 30), "a description of 1073741824 bytes"),
        (variable(desc=b""), "type code is None; accepted: 0, 1, 2"),
        (variable(desc=bytes([8, 5, 8, 6, 16, 6])), "unknown field"),  # the type twice
        (variable(desc=bytes([8, 5, 26, 0])), r"unknown field \(key 26\)"),
        (variable(desc=bytes([8, 5, 16, 0x86])), "ends inside its description"),
        (variable(desc=bytes([8, 5, 18, 9, 6])), "ends inside its description's dims"),
        (variable(desc=bytes([8, 5, 16] + [255] * 9 + [1])), "shape is -1; up to 9 dims of 1 or more"),
        (variable(desc=bytes([8, 5, 16] + [255] * 10 + [1])), "more than 64 bits"),
        (variable(desc=bytes([8, 5, 16, 0, 16, 3]), data=b""), "shape is 0x3"),
        (variable(desc=bytes([8, 5] + [16, 1] * 10), data=b"1234"), "up to 9 dims"),
        (variable(desc=bytes([8, 5, 16, 2, 16, 4])), "data of shape 2x4 float32: 32 bytes needed, 24 left"),
        (variable(desc=bytes([8, 5] + [16, 255, 255, 255, 255, 7] * 3)), "bytes needed, 24 left"),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, content)
    assert str(tmp_path / "res_conv1_weights") in str(error.value)


def folder(tmp_path, *names):
    for name in names:
        (tmp_path / name).write_bytes(variable())
    return tmp_path


def test_folder_names_are_checked(tmp_path):
    wanted = ["bn_conv1_scale", "fc_weights"]
    with pytest.raises(InputError, match="1 of 2 variables missing: fc_weights"):
        fluid.read_folder(folder(tmp_path, "bn_conv1_scale"), wanted)
    folder(tmp_path, "fc_weights", "learning_rate_0", "@LR_DECAY_COUNTER@", "fc_weights_velocity_0", "__model__")
    assert list(fluid.read_folder(tmp_path, wanted)) == wanted
    with pytest.raises(InputError, match=r"1 unexpected files: fc_weight \(nearest name: fc_weights\)"):
        fluid.read_folder(folder(tmp_path, "fc_weight"), wanted)
    with pytest.raises(InputError, match=r"2 unexpected files: fc_weight, other_velocity_0"):
        fluid.read_folder(folder(tmp_path, "other_velocity_0"), wanted)
    (tmp_path / "other_velocity_0").unlink()
    (tmp_path / "fc_weight").rename(tmp_path / "README")
    with pytest.raises(InputError, match=r"1 unexpected files: README$"):  # like none: none is offered
        fluid.read_folder(tmp_path, wanted)
    with pytest.raises(InputError, match="is not a folder"):
        fluid.read_folder(tmp_path / "fc_weights", wanted)
    (tmp_path / "below/fc_weights").mkdir(parents=True)
    with pytest.raises(InputError, match="fc_weights: cannot be read"):
        fluid.read_folder(tmp_path / "below", ["fc_weights"])
    with pytest.raises(InputError, match=r"fc_weights2: cannot be read \(No such file"):
        fluid.read_variable(tmp_path / "fc_weights2")


def test_combined_file_errors_name_the_variable(tmp_path):
    path = tmp_path / "all"
    path.write_bytes(variable() + variable()[:-1])
    with pytest.raises(InputError, match=r"all: variable b: ends inside its data of shape 2x3 float32"):
        fluid.read_combined(path, ["b", "a"])
    path.write_bytes(variable() * 3)
    with pytest.raises(InputError, match=r"all: 50 bytes follow the last variable"):
        fluid.read_combined(path, ["b", "a"])


# Paddle's own writer, in a process of its own: static mode is global state.
WRITER = """
import sys
import numpy as np, paddle
from paddle.base import core
paddle.enable_static()
shapes = {"zz": [3, 2], "aa": [4], "fc_weights": [200, 3], "m_b": [2, 1, 3, 3]}
with paddle.pir_utils.OldIrGuard():
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()):
        variables = [paddle.static.create_parameter(s, "float32", name=n) for n, s in shapes.items()]
    exe, rng = paddle.static.Executor(paddle.CPUPlace()), np.random.default_rng(0)
    arrays = {}
    for name, shape in shapes.items():
        arrays[name] = rng.normal(size=shape).astype("float32")
        tensor = paddle.static.global_scope().var(name).get_tensor()
        tensor.set(arrays[name], paddle.CPUPlace())
        core.save_dense_tensor(tensor, sys.argv[1] + "/single_" + name)
    paddle.static.save_vars(exe, sys.argv[1] + "/folder", main_program=main, vars=variables)
    paddle.static.save_vars(exe, sys.argv[1], main_program=main, vars=variables, filename="combined")
for kind in ("bool", "int16", "int32", "int64", "float16", "float64", "uint8", "int8", "bfloat16"):
    tensor = core.DenseTensor()
    values = np.array([[0, 1, 1]], "uint16" if kind == "bfloat16" else kind)
    tensor.set(values * 0x3F80 if kind == "bfloat16" else values, paddle.CPUPlace())
    core.save_dense_tensor(tensor, sys.argv[1] + "/type_" + kind)
np.savez(sys.argv[1] + "/arrays.npz", **arrays)
"""


def test_files_of_paddles_own_writer(tmp_path):
    subprocess.run([sys.executable, "-c", WRITER, str(tmp_path)], check=True, capture_output=True)
    arrays = dict(np.load(tmp_path / "arrays.npz"))
    singles = {name: fluid.read_variable(tmp_path / f"single_{name}") for name in arrays}
    from_folder = fluid.read_folder(tmp_path / "folder", arrays)
    combined = fluid.read_combined(tmp_path / "combined", arrays)
    assert len(arrays) == 4
    for name, array in arrays.items():
        for found in (singles[name], from_folder[name], combined[name]):
            np.testing.assert_array_equal(found, array)
            assert found.dtype == np.float32
        assert (tmp_path / "folder" / name).read_bytes() == b"".join(fluid.variable_bytes(array))
    types = {path.name.removeprefix("type_"): fluid.read_variable(path) for path in tmp_path.glob("type_*")}
    assert len(types) == 9
    for name, found in types.items():
        assert str(found.dtype) == ("float32" if "float" in name else name)
        np.testing.assert_array_equal(found, [[0, 1, 1]], err_msg=name)


def test_a_pipe_in_a_variables_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fc_weights")
    refused(lambda: fluid.read_folder(tmp_path, ["fc_weights"]), "is a pipe or a device; a file is needed")
    refused(lambda: fluid.may_be_variable(tmp_path / "fc_weights"), "is a pipe or a device")
    refused(lambda: checkpoint.read_weights(tmp_path / "fc_weights"), "does not exist|pipe")


def test_a_variable_that_becomes_shorter_while_it_is_read_is_noticed(tmp_path, monkeypatch):
    path = tmp_path / "w"
    path.write_bytes(b"".join(fluid.variable_bytes(np.ones(100_000, np.float32))))
    size = path.stat().st_size
    monkeypatch.setattr(fluid.os, "fstat", lambda handle: os.stat_result([0] * 6 + [size] + [0] * 3))
    os.truncate(path, size - 4)
    refused(lambda: fluid.read_variable(path), "became shorter while it was read: 400000 bytes expected, 399996")
