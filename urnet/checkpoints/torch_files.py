"""Arrays out of a file that ``torch.save`` wrote, without PyTorch and without running anything the file asks for.

Both of its forms are read: a zip archive of a pickle and the storages beside it (since 1.6), and a chain of pickles
with the storages behind them (before). A tensor in the pickle is a storage's key, a start, a shape and strides.
"""

from __future__ import annotations

import functools
import io
import math
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from urnet.checkpoints.restricted_unpickler import Inert, NamedBuilder, Refused, RestrictedUnpickler, pickle_end, short
from urnet.checkpoints.safetensors_io import bfloat16_to_float32
from urnet.core.checks import InputError

ZIP, CHAIN = b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how the two forms begin
STATE_DICTS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict")  # of training scripts
MOST_NAMES = 8  # bytes of arrays a byte of the file: views of one storage may overlap, a few bytes not become many
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
_ACCEPTED = "a state dict of tensors is accepted, or a dict that holds one as " + ", ".join(STATE_DICTS[2:])


def is_torch_file(path: Path) -> bool:
    """Whether a file begins as ``torch.save``'s do. Raises InputError where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(CHAIN)).startswith((ZIP, CHAIN))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict that ``torch.save`` wrote, by key; bfloat16 as float32. See ``read_state_dict``."""
    return read_state_dict(path)[0]


def read_state_dict(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """The tensors of a state dict that ``torch.save`` wrote, and the key it is kept under ("" where it is the file).

    A training script's dict that holds the state dict under one of ``STATE_DICTS``, averaged weights first, is looked
    into (its arguments, optimiser and so on are passed over), and `module.`, which data parallel training puts before
    every key, is taken away. Raises InputError when the file is truncated,
    asks for anything but tensors and plain data, or holds no state dict.
    """
    try:
        data = path.read_bytes()
        tree, storages = (_read_zip if data.startswith(ZIP) else _read_chain)(data)
        entry = next((key for key in STATE_DICTS if isinstance(tree, dict) and isinstance(tree.get(key), dict)), "")
        tensors = _state_dict(tree[entry] if entry else tree)
        claimed = sum(tensor.n_bytes for tensor in tensors.values())
        if claimed > MOST_NAMES * len(data):
            raise Refused(f"it has {len(data)} bytes, but its tensors would take {claimed}")
        storages = functools.lru_cache(1)(storages)  # tensors that share one come one after the other
        arrays = {key: tensor.array(storages) for key, tensor in tensors.items()}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Refused as error:
        raise InputError(
            f"{path}: is no state dict of tensors that torch.save wrote: {error}; where it holds a whole model, save "
            "model.state_dict() instead, in PyTorch"
        ) from None
    prefix = "module." if all(key.startswith("module.") for key in arrays) else ""
    return {key[len(prefix) :]: array for key, array in arrays.items()}, entry


Storages = Callable[["_Storage"], bytes]


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
            raise Refused("it refers to something that is no storage")
        _, kind, key, _, size, *view = identifier
        if not isinstance(kind, NamedBuilder) or kind.name not in _TYPES:
            raise Refused(f"a storage of {kind.name if isinstance(kind, NamedBuilder) else short(kind)}")
        if not isinstance(key, str) or type(size) is not int or size < 0 or any(part is not None for part in view):
            raise Refused("a storage that is not class, key and size")
        return cls(key, _TYPES[kind.name], size)


@dataclass(frozen=True)
class _Tensor:
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


def _tensor(storage: Any, start: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """``torch._utils._rebuild_tensor_v2``; what follows says how gradients are kept."""
    numbers = (start, *shape, *strides) if isinstance(shape, tuple) and isinstance(strides, tuple) else (-1,)
    if not isinstance(storage, _Storage) or not all(type(n) is int and 0 <= n < 1 << 63 for n in numbers):
        raise Refused("a tensor that is not storage, start, shape and strides")
    if len(shape) != len(strides) or len(shape) > 32:
        raise Refused("a tensor whose shape and strides do not fit together")
    end = start + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + 1 if math.prod(shape) else start
    if end > storage.size:
        raise Refused(f"a tensor of shape {shape} that ends at {end} of a storage of {storage.size}")
    return _Tensor(storage, start, shape, strides)


def _parameter(data: Any, *_: Any) -> Any:
    return data


class _Dict(dict):
    """``collections.OrderedDict``; PyTorch gives a state dict a state of its own (versions of layers), not needed."""

    def __init__(self, items: Any = ()) -> None:
        if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], str) for pair in items):
            raise Refused("a dict with a key that is no text")
        super().__init__(items)

    def __setstate__(self, state: Any) -> None:
        pass


def _class_only(*_: Any) -> None:
    raise Refused("the class of a storage called")


_PASSED_OVER = {  # module -> names of what training scripts keep beside the state dict
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
_BUILDERS: Mapping[str, Callable[..., Any]] = {
    **{f"{module}.{name}": Inert for module, names in _PASSED_OVER.items() for name in names.split()},
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "collections.OrderedDict": _Dict,
    **dict.fromkeys(_TYPES, _class_only),
}


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


def _load(data: bytes) -> tuple[Any, dict[str, _Storage]]:
    """The object in a pickle, and the storages that it refers to, by key."""
    seen: dict[str, _Storage] = {}

    def refer(identifier: Any) -> _Storage:
        storage = _Storage.of(identifier)
        if seen.setdefault(storage.key, storage) != storage:
            raise Refused(f"storage {short(storage.key)} is of two kinds")
        return storage

    return RestrictedUnpickler(io.BytesIO(data), _BUILDERS, persistent_load=refer).load(), seen


def _read_zip(data: bytes) -> tuple[Any, Storages]:
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
    return _load(read(f"{folders[0]}data.pkl"))[0], lambda storage: read(f"{folders[0]}data/{storage.key}")


def _read_chain(data: bytes) -> tuple[Any, Storages]:
    """Magic number, version, machine, state dict, list of storage keys; then, for each, its size and its numbers."""
    at, trees, storages = 0, [], {}
    for _ in range(5):
        end = pickle_end(data, at)
        tree, seen = _load(data[at:end])
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


def _state_dict(tree: Any) -> dict[str, _Tensor]:
    """The tensors of a state dict; entries that are numbers (a counter, say) are left out."""
    if not isinstance(tree, dict):
        raise Refused(f"it holds {short(tree)}; {_ACCEPTED}")
    tensors = {key: value for key, value in tree.items() if isinstance(value, _Tensor)}
    others = [key for key, value in tree.items() if not isinstance(value, (_Tensor, int, float))]
    if others or not tensors:
        raise Refused(f"its entry {short(others[0])} is no tensor; {_ACCEPTED}" if others else f"empty; {_ACCEPTED}")
    return tensors
