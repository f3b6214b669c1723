"""Arrays in shards read as NumPy reads; a shard is there whole or not at all, a harmed one is never used."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import shards as shard_files
from tests.helpers.shards import ABOUT, arrays, write
from urnet.core.checks import InputError
from urnet.features.shards import ShardedArray, fault_of, missing_shards, shard_folder, write_shard
from urnet.features.store import Measurement


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return shard_files.make(tmp_path_factory.mktemp("measured"))


@pytest.fixture
def whole(tmp_path, original):
    """The arrays of a measurement, which is in ``tmp_path``."""
    return shard_files.copy(original, tmp_path)


# --- reading


@pytest.mark.parametrize(
    "rows",
    [
        slice(None),
        slice(3, 17),
        slice(-4, None),
        slice(20, 3, -3),
        slice(1, None, 4),
        slice(0, 99),
        [],
        [22, 0, 7, 7, 5, 4],
        [-1, -23, 3],
        np.arange(22, -1, -1),
        np.array([250, 1], np.uint8) % 23,
        np.arange(23) % 3 == 0,
        7,
        np.int32(22),
    ],
)
@pytest.mark.parametrize("maps", [1, 128])
def test_reads_what_numpy_reads(tmp_path, whole, rows, maps):
    for name, expected in whole.items():
        array = ShardedArray(tmp_path, ABOUT, name, maps)
        wanted = expected[np.asarray(rows, int) if isinstance(rows, list) else rows]
        for found in (array[rows], array[rows], pickle.loads(pickle.dumps(array))[rows]):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, wanted, strict=not np.isscalar(wanted))
        assert (array.shape, array.dtype, array.ndim, len(array)) == (expected.shape, expected.dtype, expected.ndim, 23)
        assert len(array._maps) <= maps


def test_what_is_read_is_the_readers_own(tmp_path, whole):
    array = ShardedArray(tmp_path, ABOUT, "features")
    array[:5][:] = 0
    array[[1, 2]][:] = 0
    np.testing.assert_array_equal(array[:], whole["features"])


@pytest.mark.parametrize("rows", [23, -24, [0, 23], [0.5], np.zeros((2, 2), int), np.zeros(22, bool), "a", (0, 1)])
def test_rows_that_are_none_are_refused(tmp_path, whole, rows):
    with pytest.raises(IndexError, match="features"):
        ShardedArray(tmp_path, ABOUT, "features")[rows]


def test_is_not_read_as_a_whole_by_accident(tmp_path, whole):
    with pytest.raises(TypeError, match=r"\[:\]"):
        np.asarray(ShardedArray(tmp_path, ABOUT, "features"))


# --- writing


def test_a_shard_is_there_whole_or_not_at_all(tmp_path):
    values = arrays()
    with pytest.raises(ZeroDivisionError), write_shard(tmp_path, ABOUT, 0) as writer:
        writer.append({name: array[:2] for name, array in values.items()})
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="3 rows were not appended"), write_shard(tmp_path, ABOUT, 0) as writer:
        writer.append({name: array[:2] for name, array in values.items()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"features": np.zeros((2, 3), np.float32)},
        {"features": np.zeros((2, 4), np.float16)},
        {"index": np.zeros((3, 2), np.int32)},
    ],
)
def test_other_types_shapes_and_row_counts_are_refused(tmp_path, change):
    values = {name: array[:2] for name, array in arrays().items()}
    with pytest.raises(ValueError, match=next(iter(change))), write_shard(tmp_path, ABOUT, 0) as writer:
        writer.append({**values, **change})
    with pytest.raises(ValueError, match="1 rows of which are missing"), write_shard(tmp_path, ABOUT, 0) as writer:
        for _ in range(3):
            writer.append(values)


def test_a_full_disk_is_named(tmp_path):
    named = pytest.raises(OSError, match=r"features\.npy: cannot be written \(No space")
    with named, write_shard(tmp_path, ABOUT, 0) as writer:
        writer._streams["features"].close()
        writer._streams["features"] = Path("/dev/full").open("wb")  # noqa: SIM115
        writer.append({name: array[:5] for name, array in arrays().items()})
    assert list(tmp_path.iterdir()) == []


# --- not whole


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(
    "harm",
    [
        cut,
        Path.unlink,
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"no array"),
        lambda file: np.save(file, np.zeros((5, 4), np.float16)),
        lambda file: np.save(file, np.zeros(5, object), allow_pickle=True),
    ],
)
@pytest.mark.parametrize("name", list(ABOUT.arrays(0)))
def test_a_harmed_shard_is_never_used(tmp_path, whole, harm, name):
    file = shard_folder(tmp_path, 2) / f"{name}.npy"
    harm(file)
    assert missing_shards(tmp_path, ABOUT) == [2]
    with pytest.raises(InputError, match=r"shard-00002.*of 5 shards 1 are incomplete") as error:
        Measurement.open(tmp_path)
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="shard-00002"):
        ShardedArray(tmp_path, ABOUT, name)[:]
    write(tmp_path, whole, 2)
    assert fault_of(tmp_path, ABOUT, 2) == ""
    np.testing.assert_array_equal(getattr(Measurement.open(tmp_path), name)[:], whole[name])
