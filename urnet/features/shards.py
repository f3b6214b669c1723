"""Arrays of N rows on disk in shards: written shard by shard, mapped when they are read.

FOLDER/shard-00000/ and so on hold one .npy file an array; shard s covers the rows s * shard to
(s + 1) * shard - 1. A shard's folder is complete or absent, so work that was interrupted resumes with
the shards that are missing, and several processes may write the shards of one folder at the same time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from urnet.core.atomic_files import atomic_folder
from urnet.core.checks import InputError

SHARD = 65_536  # rows per shard: 268 MB of features 2,048 wide
MAPS = 128  # shards an array keeps mapped, each an open file (1,024 are usual); others are mapped anew


@dataclass(frozen=True)
class Description:
    """What a measurement is of; its bytes are a function of this, the images and the labels."""

    base_hash: str  # of the table's rows
    fingerprint: str  # of the weights and of every setting that changes what is measured
    n_rows: int
    width: int  # of the features
    k: int  # classes kept a row
    batch_size: int  # matrix products round differently for other shapes
    amp: str | None = None  # None | "float16" | "bfloat16"
    shard: int = SHARD
    views: int = 1  # passes of each image through the network

    @property
    def n_shards(self) -> int:
        return -(-self.n_rows // self.shard)

    def rows(self, number: int) -> range:
        """The rows of one shard."""
        return range(number * self.shard, min((number + 1) * self.shard, self.n_rows))

    def arrays(self, n: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Type and shape of every array of ``n`` rows."""
        return {
            "features": ("<f2", (n, self.width)),
            "given": ("<f4", (n,)),
            "index": ("<i4", (n, self.k)),
            "prob": ("<f2", (n, self.k)),
            "readable": ("|b1", (n,)),
        }


class ShardedArray:
    """An array of N rows whose shards are mapped when they are asked for; it is never in memory as a whole.

    ``array[slice]``, ``array[rows]`` (one-dimensional, integer or bool) and ``array[row]`` give NumPy arrays,
    as NumPy would. ``np.asarray(array)`` is a TypeError: write ``array[:]`` where the whole of it is meant.
    Can be pickled: the other process maps the same files.
    """

    def __init__(self, folder: Path, about: Description, name: str, maps: int = MAPS) -> None:
        """``maps``: shards kept mapped."""
        self._folder, self._about, self._name, self._most = folder, about, name, maps
        kind, self.shape = about.arrays(about.n_rows)[name]
        self.dtype, self.ndim = np.dtype(kind), len(self.shape)
        self._maps: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self._run(start, max(start, stop))
            rows = np.arange(start, stop, step)
        if isinstance(rows, tuple):
            raise IndexError(f"{self._name}: only rows are accepted, array[rows][:, columns] for columns")
        rows = np.asarray(rows)
        if rows.dtype == bool and rows.shape == self.shape[:1]:
            rows = np.flatnonzero(rows)
        if rows.ndim > 1 or (rows.dtype.kind not in "iu" and rows.size > 0):
            raise IndexError(f"{self._name}: asked by {rows.dtype} {rows.shape}; integers (n,) are accepted")
        found = self._gather(np.atleast_1d(rows).astype(np.int64))
        return found if rows.ndim else found[0]

    def _run(self, start: int, stop: int) -> np.ndarray:
        """The rows from ``start`` to before ``stop``."""
        size, out = self._about.shard, np.empty((stop - start, *self.shape[1:]), self.dtype)
        for number in range(start // size, -(-stop // size)):
            first = number * size
            begin, end = max(start, first), min(stop, first + size)
            out[begin - start : end - start] = self._map(number)[begin - first : end - first]
        return out

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        """Any rows, shard by shard and there in the order of the disk."""
        n = len(self)
        rows = np.where(rows < 0, rows + n, rows)
        if len(rows) and not 0 <= rows.min() <= rows.max() < n:
            raise IndexError(f"{self._name}: rows {rows.min()}..{rows.max()} asked of {n} rows")
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        order = np.argsort(rows, kind="stable")
        numbers = rows[order] // self._about.shard
        for places in np.split(order, np.flatnonzero(np.diff(numbers)) + 1):
            if len(places):
                number = int(rows[places[0]]) // self._about.shard
                out[places] = self._map(number)[rows[places] - number * self._about.shard]
        return out

    def _map(self, number: int) -> np.ndarray:
        if number in self._maps:
            return self._maps[number]
        mapped = map_shard(self._folder, self._about, number, self._name)
        if len(self._maps) < self._most:
            self._maps[number] = mapped
        return mapped

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError(f"{self._name}: give rows, or [:] to read all of it")

    def __reduce__(self) -> tuple:
        return (ShardedArray, (self._folder, self._about, self._name, self._most))


def shard_folder(folder: Path, number: int) -> Path:
    """The folder of one shard."""
    return Path(folder) / f"shard-{number:05d}"


def map_shard(folder: Path, about: Description, number: int, name: str) -> np.ndarray:
    """Map one array of one shard. Raises InputError where it is not as the description says."""
    file = shard_folder(folder, number) / f"{name}.npy"
    kind, shape = about.arrays(len(about.rows(number)))[name]
    try:
        array = np.load(file, mmap_mode="r")
    except FileNotFoundError:
        raise InputError(f"{file}: not found") from None
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{file}: is not a whole array ({error})") from None
    if not isinstance(array, np.ndarray) or (array.dtype, array.shape) != (np.dtype(kind), shape):
        raise InputError(f"{file}: holds another array than was described ({np.dtype(kind)} {shape})")
    return array


def fault_of(folder: Path, about: Description, number: int) -> str:
    """What is wrong with a shard, one line; "" if it is whole."""
    try:
        for name in about.arrays(0):
            map_shard(folder, about, number, name)
    except InputError as error:
        return str(error)
    return ""


def missing_shards(folder: Path, about: Description) -> list[int]:
    """The shards that are not there or not whole."""
    return [number for number in range(about.n_shards) if fault_of(folder, about, number)]


class ShardWriter:
    """Appends rows to the arrays of one shard; holds none of them in memory.

    Plain writing and not a map: a full disk is then an OSError that names the file, where a map would end the
    process with a signal.
    """

    def __init__(self, folder: Path, about: Description, number: int) -> None:
        self._folder, self.missing = folder, len(about.rows(number))
        self._expected = about.arrays(self.missing)
        self._streams = {name: (folder / f"{name}.npy").open("wb") for name in self._expected}
        for name, (kind, shape) in self._expected.items():
            header = {"descr": kind, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(self._streams[name], header)

    def append(self, values: Mapping[str, np.ndarray]) -> None:
        """The next rows: the same number of every array, of the description's types and shapes."""
        n = len(next(iter(values.values())))
        self.missing -= n
        for name, (kind, shape) in self._expected.items():
            array = values[name]
            if (array.dtype, array.shape) != (np.dtype(kind), (n, *shape[1:])) or self.missing < 0:
                raise ValueError(
                    f"{name}: {array.dtype} {array.shape} cannot be appended to {kind} {shape}, "
                    f"{self.missing + n} rows of which are missing"
                )
            try:
                self._streams[name].write(array.tobytes())
                self._streams[name].flush()
            except OSError as error:
                raise OSError(f"{self._folder / name}.npy: cannot be written ({error.strerror})") from None
        os.utime(self._folder)  # a sign of life for processes that wait for this shard

    def close(self) -> None:
        """Close the files; rows of a failed ``append`` are lost."""
        for stream in self._streams.values():
            with contextlib.suppress(OSError):  # closing tries once more to write what append could not
                stream.close()


@contextlib.contextmanager
def write_shard(folder: Path, about: Description, number: int) -> Iterator[ShardWriter]:
    """Yield the writer of one shard; without an error at the end, the shard is put in its place.

    A shard that is there already, a broken one say, is replaced.
    """
    with atomic_folder(shard_folder(folder, number), replace=True) as temporary:
        with contextlib.closing(ShardWriter(temporary, about, number)) as writer:
            yield writer
        if writer.missing:
            raise ValueError(f"{shard_folder(folder, number)}: {writer.missing} rows were not appended")


class ChosenRows:
    """Some rows of an array-like, itself an array-like that is never read as a whole."""

    def __init__(self, values: Any, rows: np.ndarray) -> None:
        self._values, self._rows = values, rows
        self.shape, self.dtype = (len(rows), *values.shape[1:]), values.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        chosen: np.ndarray = self._values[self._rows[key]]
        return chosen
