"""Files as ``torch.save`` writes them, in both of its forms, made without PyTorch."""

from __future__ import annotations

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from unittest import mock

import numpy as np

STORAGES = {"f4": "Float", "f8": "Double", "f2": "Half", "u2": "BFloat16", "i8": "Long", "u1": "Byte", "b1": "Bool"}
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
MACHINE = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def _torch() -> dict[str, types.ModuleType]:
    """What pickle must find under the names that PyTorch's files use."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*arguments: Any) -> None: ...

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    for name in STORAGES.values():
        setattr(torch, f"{name}Storage", type(f"{name}Storage", (), {"__module__": "torch"}))
    return {"torch": torch, "torch._utils": utils}


class _Tensor:
    """An array to be pickled as a tensor; one that is a view keeps its strides and shares its storage."""

    def __init__(self, array: np.ndarray, modules: Mapping[str, Any], storages: dict[int, tuple[str, Any]]) -> None:
        base = array.base if isinstance(array.base, np.ndarray) else array
        self.array, self.base, self.modules, self.storages = array, base, modules, storages

    def __reduce__(self) -> tuple:
        start = (self.array.ctypes.data - self.base.ctypes.data) // self.array.itemsize
        strides = tuple(step // self.array.itemsize for step in self.array.strides)
        storage = _Storage(self)
        arguments = (storage, start, self.array.shape, strides, False, OrderedDict())
        return self.modules["torch._utils"]._rebuild_tensor_v2, arguments


class _Storage:
    def __init__(self, tensor: _Tensor) -> None:
        self.tensor = tensor


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, _Storage):
            return None
        tensor = value.tensor
        key, _ = tensor.storages.setdefault(id(tensor.base), (str(len(tensor.storages)), tensor.base))
        kind = getattr(tensor.modules["torch"], f"{STORAGES[tensor.base.dtype.str[1:]]}Storage")
        identifier = ("storage", kind, key, "cpu", tensor.base.size)
        return (*identifier, None) if tensor.modules.get("chain") else identifier


def torch_file(tree: Mapping[str, Any], *, chain: bool = False) -> bytes:
    """A dict of arrays (uint16 stands for bfloat16), or of such dicts, as a file; ``chain``: in the form before 1.6."""
    modules: dict[str, Any] = {**_torch(), **({"chain": True} if chain else {})}
    storages: dict[int, tuple[str, Any]] = {}

    def tensors(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return _Tensor(value, modules, storages)
        return OrderedDict((key, tensors(item)) for key, item in value.items()) if isinstance(value, Mapping) else value

    stream = io.BytesIO()
    with mock.patch.dict(sys.modules, {name: modules[name] for name in ("torch", "torch._utils")}):
        _Pickler(stream, 2).dump(tensors(tree))
    data = [(key, base.tobytes(order="K"), base.size) for key, base in storages.values()]
    if chain:
        parts = [pickle.dumps(part, 2) for part in (MAGIC, VERSION, MACHINE)]
        parts += [stream.getvalue(), pickle.dumps([key for key, _, _ in data], 2)]
        return b"".join(parts) + b"".join(size.to_bytes(8, "little") + values for _, values, size in data)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
        archive.writestr("archive/byteorder", "little")
        for key, values, _ in data:
            archive.writestr(f"archive/data/{key}", values)
        archive.writestr("archive/version", "3\n")
    return out.getvalue()
