"""What is in a file that ``torch.save`` wrote, without running anything that it asks for.

Both of its forms are read: a zip archive of a pickle and the storages next to it (since 1.6), and a chain of pickles
with the storages behind them (before). A tensor in the pickle is a storage's key, a start, a shape and strides.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from urnet.checkpoints.numpy_pickle import NUMPY_BUILDERS
from urnet.checkpoints.restricted_unpickler import (
    Builders,
    Inert,
    NamedBuilder,
    Refused,
    RestrictedUnpickler,
    pickle_end,
    short,
)
from urnet.checkpoints.safetensors_io import bfloat16_to_float32

ZIP, CHAIN = b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how the two forms begin
_TYPES = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": "<u2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "b1",
}


Storages = Callable[["_Storage"], bytes]


def read_forms(data: bytes, builders: Builders) -> tuple[Any, Storages]:
    """The object in a file's bytes, of what ``builders`` make, and where its tensors' numbers are. Raises Refused."""
    return (_read_zip if data.startswith(ZIP) else _read_chain)(data, builders)


@dataclass(frozen=True)
class _Storage:
    """A run of numbers of one type, kept outside the pickle."""

    key: str
    type: str
    size: int

    @classmethod
    def of(cls, identifier: Any) -> _Storage:
        """From a persistent identifier: ("storage", class, key, device, size), in old files with a view, None."""
        if not isinstance(identifier, tuple) or len(identifier) not in (5, 6) or identifier[0] != "storage":
            raise Refused("it refers to something that is not a storage")
        _, kind, key, _, size, *view = identifier
        if not isinstance(kind, NamedBuilder) or kind.name not in _TYPES:
            raise Refused(f"a storage of {kind.name if isinstance(kind, NamedBuilder) else short(kind)}")
        if not isinstance(key, str) or type(size) is not int or size < 0 or any(part is not None for part in view):
            raise Refused("a storage that is not class, key and size")
        return cls(key, _TYPES[kind.name], size)


@dataclass(frozen=True)
class Tensor:
    """Where a tensor's numbers lie in its storage."""

    storage: _Storage
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.storage.type).itemsize

    def array(self, storages: Storages) -> np.ndarray:
        """A copy, in C order."""
        data, kind = storages(self.storage), np.dtype(self.storage.type)
        if len(data) < self.storage.size * kind.itemsize:
            raise Refused(f"storage {short(self.storage.key)} has {len(data)} bytes for {self.storage.size} values")
        values = np.frombuffer(data, kind, count=self.storage.size)
        strides = tuple(step * values.itemsize for step in self.strides)
        array = np.lib.stride_tricks.as_strided(values[self.start :], self.shape, strides, writeable=False)
        array = np.array(array, order="C")
        return bfloat16_to_float32(array) if self.storage.type == "<u2" else array


def _tensor(storage: Any, start: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """``torch._utils._rebuild_tensor_v2``; what follows says how gradients are kept."""
    numbers = (start, *shape, *strides) if isinstance(shape, tuple) and isinstance(strides, tuple) else (-1,)
    if not isinstance(storage, _Storage) or not all(type(n) is int and 0 <= n < 1 << 63 for n in numbers):
        raise Refused("a tensor that is not storage, start, shape and strides")
    if len(shape) != len(strides) or len(shape) > 32:
        raise Refused("a tensor whose shape and strides do not fit together")
    end = start + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + 1 if math.prod(shape) else start
    if end > storage.size:
        raise Refused(f"a tensor of shape {shape} that ends at {end} of a storage of {storage.size}")
    return Tensor(storage, start, shape, strides)


def _parameter(data: Any, *_: Any) -> Any:
    return data


class _Dict(dict):
    """``collections.OrderedDict``; PyTorch gives a state dict a state of its own (versions of layers), not needed."""

    def __init__(self, items: Any = ()) -> None:
        if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], str) for pair in items):
            raise Refused("a dict with a key that is not text")
        super().__init__(items)

    def __setstate__(self, state: Any) -> None:
        pass


def _class_only(*_: Any) -> None:
    raise Refused("the class of a storage called")


_PASSED_OVER = {  # module -> names of what training scripts keep next to the state dict
    "argparse": "Namespace",
    "types": "SimpleNamespace",
    "collections": "Counter defaultdict deque",
    "builtins": "list dict set",
    "__builtin__": "list dict set",
    "_codecs": "encode",
    "numpy": "dtype",
    "numpy.core.multiarray": "scalar",
    "numpy._core.multiarray": "scalar",
    "pathlib": "PosixPath WindowsPath PurePosixPath",
    "torch": "device Size",
}
BUILDERS: Builders = {
    **{f"{module}.{name}": Inert for module, names in _PASSED_OVER.items() for name in names.split()},
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "collections.OrderedDict": _Dict,
    **dict.fromkeys(_TYPES, _class_only),
}
ARRAY_BUILDERS: Builders = {**BUILDERS, **NUMPY_BUILDERS, "collections.OrderedDict": _Dict}


_ZIP_ERRORS = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)


def _load(data: bytes, builders: Builders) -> tuple[Any, dict[str, _Storage]]:
    """The object in a pickle, and the storages that it refers to, by key."""
    seen: dict[str, _Storage] = {}

    def refer(identifier: Any) -> _Storage:
        storage = _Storage.of(identifier)
        if seen.setdefault(storage.key, storage) != storage:
            raise Refused(f"storage {short(storage.key)} is of two kinds")
        return storage

    return RestrictedUnpickler(io.BytesIO(data), builders, persistent_load=refer).load(), seen


def _read_zip(data: bytes, builders: Builders) -> tuple[Any, Storages]:
    """One folder with data.pkl and data/KEY, nothing compressed."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _ZIP_ERRORS as error:
        raise Refused(f"its zip archive is broken or cut off ({error})") from None
    members = {info.filename: info for info in archive.infolist()}

    def read(name: str) -> bytes:
        info = members.get(name)
        if info is None or info.compress_type != zipfile.ZIP_STORED or info.file_size > len(data):
            raise Refused(f"its zip archive has no uncompressed {short(name)}")
        try:
            return archive.read(info)
        except _ZIP_ERRORS as error:
            raise Refused(f"its zip archive is broken or cut off ({error})") from None

    folders = [name[: -len("data.pkl")] for name in members if name.rpartition("/")[2] == "data.pkl"]
    if len(folders) != 1:
        raise Refused("its zip archive has no data.pkl")
    if f"{folders[0]}byteorder" in members and read(f"{folders[0]}byteorder") != b"little":
        raise Refused("its numbers are not little-endian")
    return _load(read(f"{folders[0]}data.pkl"), builders)[0], lambda storage: read(f"{folders[0]}data/{storage.key}")


def _read_chain(data: bytes, builders: Builders) -> tuple[Any, Storages]:
    """Magic number, version, machine, state dict, list of storage keys; then, for each, its size and its numbers."""
    at, trees, storages = 0, [], {}
    for _ in range(5):
        end = pickle_end(data, at)
        tree, seen = _load(data[at:end], builders)
        trees.append(tree)
        storages.update(seen)
        at = end
    _, _, machine, tree, keys = trees
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise Refused("its numbers are not little-endian")
    places: dict[str, bytes] = {}
    for key in keys if isinstance(keys, list) else ():
        if not isinstance(key, str) or key not in storages:
            raise Refused("its list of storages is broken")
        size = int.from_bytes(data[at : at + 8], "little")
        end = at + 8 + size * np.dtype(storages[key].type).itemsize
        if size != storages[key].size or end > len(data):
            raise Refused("it is cut off")
        places[key] = data[at + 8 : end]
        at = end
    return tree, lambda storage: places.get(storage.key, b"")
