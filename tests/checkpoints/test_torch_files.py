"""Files that torch.save wrote, read without PyTorch: both forms, views of a storage, and what is refused."""

import io
import zipfile

import numpy as np
import pytest

from tests.helpers.torch_file import torch_file
from urnet.checkpoints.checkpoint import read_weights
from urnet.checkpoints.torch_files import read_tensors
from urnet.core.checks import InputError

FORMS = [False, True]


def arrays():
    """Tensors of several types; two are views of one storage, one of them turned."""
    rng = np.random.default_rng(0)
    shared = rng.random(24).astype("f4")
    return {
        "conv.weight": rng.random((2, 3, 1, 1)).astype("f4"),
        "first": shared[:12],
        "turned": shared[12:].reshape(3, 4).T,
        "double": rng.random(3),
        "half": rng.random(3).astype("f2"),
        "bn.num_batches_tracked": np.array(7),
        "flag": np.array([True, False]),
        "empty": np.zeros((0, 3), "f4"),
    }


@pytest.fixture
def write(tmp_path):
    def write(data):
        (tmp_path / "w.pth").write_bytes(data)
        return tmp_path / "w.pth"

    return write


@pytest.mark.parametrize("chain", FORMS)
def test_every_tensor_comes_back(write, chain):
    expected = arrays()
    found = read_tensors(write(torch_file(expected, chain=chain)))
    assert list(found) == list(expected)
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array)
        assert found[key].dtype == array.dtype and found[key].flags.c_contiguous
    bits = np.array([0x3F80, 0xC020], "u2")  # bfloat16's 1 and -2.5
    np.testing.assert_array_equal(read_tensors(write(torch_file({"b": bits}, chain=chain)))["b"], [1, -2.5])


@pytest.mark.parametrize("chain", FORMS)
def test_a_training_script_s_dict_and_parallel_training_s_names(write, chain):
    tree = {"epoch": 3, "state_dict": {"module.fc.weight": np.ones((2, 3), "f4")}, "best": 0.5}
    assert list(read_tensors(write(torch_file(tree, chain=chain)))) == ["fc.weight"]


def test_the_content_decides_not_the_name(tmp_path):
    for name in ("w.pdparams", "w.bin", "w"):
        (tmp_path / name).write_bytes(torch_file({"a": np.ones(2, "f4")}))
        np.testing.assert_array_equal(read_weights(tmp_path / name)["a"], [1, 1])


@pytest.mark.parametrize("chain", FORMS)
def test_a_file_cut_anywhere_is_refused(write, chain):
    whole = torch_file({"a": np.arange(5, dtype="f4"), "b": np.ones((2, 2))}, chain=chain)
    for n in range(1, len(whole)):
        with pytest.raises(InputError, match=r"w\.pth: is not a state dict of tensors that torch\.save wrote"):
            read_tensors(write(whole[:n]))


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        ({"net": {"a": np.ones(1)}, "epoch": 1}, "entry 'net' is not a tensor; a state dict of tensors is accepted"),
        ({"epoch": 1}, "empty; a state dict of tensors"),
    ],
)
def test_other_trees(write, tree, why):
    with pytest.raises(InputError, match=why):
        read_tensors(write(torch_file(tree)))


def change(data, name, edit):
    """A zip archive with one member's bytes edited."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for info in source.infolist():
            held = source.read(info)
            target.writestr(info, edit(held) if info.filename == name else held)
    return out.getvalue()


PICKLE = "archive/data.pkl"


@pytest.mark.parametrize(
    ("name", "edit", "why"),
    [
        (PICKLE, lambda data: data.replace(b"torch._utils\n_rebuild_tensor_v2", b"os\nsystem"), "asks for 'os.system'"),
        (PICKLE, lambda data: data.replace(b"FloatStorage", b"ComplexFloat"), "asks for 'torch.ComplexFloat'"),
        (
            PICKLE,
            lambda data: data.replace(b"K\x05\x85", b"K\x06\x85"),
            r"shape \(6,\) that ends at 6 of a storage of 5",
        ),
        ("archive/data/0", lambda data: data[:-1], "storage '0' has 19 bytes for 5 values"),
        ("archive/byteorder", lambda _: b"big", "not little-endian"),
    ],
)
def test_what_a_hostile_file_asks_for(write, name, edit, why):
    data = torch_file({"a": np.arange(5, dtype="f4")})
    with pytest.raises(InputError, match=why):
        read_tensors(write(change(data, name, edit)))


def test_few_bytes_cannot_become_many(write):
    wide = np.ndarray((1000, 1000), "f4", np.ones(1, "f4"), strides=(0, 0))
    with pytest.raises(InputError, match="bytes, but its tensors would take 4000000"):
        read_tensors(write(torch_file({"a": wide})))


def test_compressed_members_are_refused(write):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    with pytest.raises(InputError, match=r"no uncompressed .archive/data\.pkl."):
        read_tensors(write(out.getvalue()))


@pytest.mark.peer
@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_torch_itself(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2).half())
    torch.save(network.state_dict(), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    found = read_tensors(tmp_path / "w.pth")
    assert list(found) == list(network.state_dict())
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(found[key], value.numpy())
