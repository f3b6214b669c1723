"""The 2018 release's *fluid persistables*: one file per variable, or all in one. Nothing is executed.

A variable, little endian: uint32 version 0; uint64 number of LoD levels, for each uint64 byte size and data;
uint32 tensor version 0; int32 size of a protobuf ``TensorDesc``; that message (field 1: type code, field 2:
dims, packed or not); the data, C order. float64, float16 and bfloat16 are read as float32.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import stat
import struct
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from urnet.checkpoints.safetensors_io import as_float32, bfloat16_to_float32
from urnet.core.checks import InputError

# Type codes of Paddle's framework.proto that a tensor of numbers can have.
_TYPES = {0: "|b1", 1: "<i2", 2: "<i4", 3: "<i8", 4: "<f2", 5: "<f4", 6: "<f8"}
_TYPES.update({20: "|u1", 21: "|i1", 22: "<u2"})
_BFLOAT16 = 22
_MAX_LOD_LEVELS = 8  # released variables have none; Paddle's own use stays at 2 or 3
_MAX_DESC_BYTES = 4096
_MAX_DIMS = 9  # the most a Paddle tensor has


class _Desc(NamedTuple):
    code: int
    dims: tuple[int, ...]


def read_variable(path: Path) -> np.ndarray:
    """The array in one variable's file. Raises InputError naming the file and what is wrong with it."""
    with _open(Path(path)) as stream:
        reader = _Reader(stream, str(path))
        array = reader.variable()
        reader.end()
    return array


def may_be_variable(path: Path) -> bool:
    """Whether a file begins as a variable does: with version 0, or with less than its four bytes."""
    with _open(Path(path)) as stream:
        return not any(stream.read(4))


def read_folder(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The named variables of a folder, one file each.

    What Paddle 1.x itself saved next to weights is passed over: the program (``__model__``), learning rates
    and the optimiser's accumulators of the named variables. Raises InputError when a file is missing, when
    any other is there that no name asks for, or for a broken file.
    """
    path, names = Path(path), list(names)
    if not path.is_dir():
        raise InputError(f"{path}: is not a folder of variables")
    found = {entry.name for entry in path.iterdir()}
    missing = [name for name in names if name not in found]
    unexpected = sorted(name for name in found - set(names) if not _is_companion(name, names))
    if missing and len(missing) == len(names):
        wanted = "a checkpoint folder of train.py, a file of weights, or the 2018 release's folder is needed"
        raise InputError(f"{path}: holds no weights, and none of the 2018 release's {len(names)} variables; {wanted}")
    if missing:
        raise InputError(f"{path}: {len(missing)} of {len(names)} variables missing: {_few(missing)}")
    if unexpected:
        alike = difflib.get_close_matches(unexpected[0], names, n=1) if len(unexpected) == 1 else []
        hint = f" (nearest name: {alike[0]})" if alike else ""
        raise InputError(f"{path}: {len(unexpected)} unexpected files: {_few(unexpected)}{hint}")
    return {name: read_variable(path / name) for name in names}


def read_combined(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The named variables of one combined file: they follow one another in the order of their sorted names.

    The file itself holds no names, so the shapes must be checked by the caller. Raises InputError.
    """
    arrays = {}
    with _open(Path(path)) as stream:
        reader = _Reader(stream, str(path))
        for name in sorted(names):
            reader.where = f"{path}: variable {name}"
            arrays[name] = reader.variable()
        reader.where = str(path)
        reader.end()
    return arrays


def variable_bytes(array: np.ndarray) -> Iterator[bytes]:
    """One variable as the bytes of its file (the inverse of ``read_variable``), in pieces."""
    codes = {np.dtype(kind): code for code, kind in _TYPES.items() if code != _BFLOAT16}
    desc = bytes([8, codes[array.dtype]]) + b"".join(b"\x10" + _varint(n) for n in array.shape)
    yield struct.pack("<IQIi", 0, 0, 0, len(desc)) + desc
    yield array.tobytes()


_ACCUMULATOR = re.compile(r"(?P<name>.+)_(velocity|moment|moment1|moment2|beta1_pow_acc|beta2_pow_acc)_\d+")


def _is_companion(name: str, names: Collection[str]) -> bool:
    """Is this a file that a training program of Paddle 1.x saved next to the weights?"""
    if name in ("__model__", "@LR_DECAY_COUNTER@") or re.fullmatch(r"learning_rate(_\d+)?", name):
        return True
    accumulator = _ACCUMULATOR.fullmatch(name)
    return accumulator is not None and accumulator["name"] in names


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _open(path: Path) -> BinaryIO:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a pipe would wait for ever
            raise InputError(f"{path}: is a pipe or a device; a file is needed")
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


class _Reader:
    """Takes a stream apart, field by field; every length is held against the bytes that are left."""

    def __init__(self, stream: BinaryIO, where: str) -> None:
        self.stream, self.where = stream, where
        self.left = os.fstat(stream.fileno()).st_size

    def fail(self, text: str) -> InputError:
        return InputError(f"{self.where}: {text}")

    def claim(self, n: int, what: str) -> None:
        """Count ``n`` bytes as read; raise if they are not there."""
        if n > self.left:
            raise self.fail(f"ends inside its {what}: {n} bytes needed, {self.left} left")
        self.left -= n

    def take(self, n: int, what: str) -> bytes:
        self.claim(n, what)
        data = self.stream.read(n)
        self.complete(len(data), n)
        return data

    def complete(self, found: int, n: int) -> None:
        """Raise where fewer bytes came than the file had when it was opened."""
        if found != n:
            raise self.fail(f"became shorter while it was read: {n} bytes expected, {found} read")

    def number(self, kind: str, what: str) -> int:
        return struct.unpack(kind, self.take(struct.calcsize(kind), what))[0]

    def end(self) -> None:
        if self.left:
            raise self.fail(f"{self.left} bytes follow the last variable")

    def variable(self) -> np.ndarray:
        """The next variable as an array of its own."""
        self.version("version")
        levels = self.number("<Q", "number of LoD levels")
        if levels > _MAX_LOD_LEVELS:
            raise self.fail(f"claims {levels} LoD levels; at most {_MAX_LOD_LEVELS} are accepted")
        for _ in range(levels):
            self.take(self.number("<Q", "LoD level's size"), "LoD level")
        self.version("tensor version")
        size = self.number("<i", "description's size")
        if not 0 <= size <= _MAX_DESC_BYTES:
            raise self.fail(f"claims a description of {size} bytes; 0 to {_MAX_DESC_BYTES} are accepted")
        desc = self.desc(self.take(size, "description"))
        kind = np.dtype(_TYPES[desc.code])
        self.claim(math.prod(desc.dims) * kind.itemsize, f"data of shape {_shape(desc.dims)} {kind}")
        array = np.empty(desc.dims, kind)
        found = self.stream.readinto(array.reshape(-1).view(np.uint8))  # type: ignore[attr-defined]
        self.complete(found, array.nbytes)
        return bfloat16_to_float32(array) if desc.code == _BFLOAT16 else as_float32(array)

    def version(self, what: str) -> None:
        found = self.number("<I", what)
        if found != 0:
            raise self.fail(f"{what} is {found}; 0 is accepted (is this a fluid variable?)")

    def desc(self, message: bytes) -> _Desc:
        """Type code and dims of a protobuf ``TensorDesc``; each field is checked."""
        code, dims, at = None, [], 0
        while at < len(message):
            key, at = self.varint(message, at)
            if key == 0x08 and code is None:  # field 1, varint
                code, at = self.varint(message, at)
            elif key == 0x10:  # field 2, varint
                dim, at = self.varint(message, at)
                dims.append(dim)
            elif key == 0x12:  # field 2, packed
                size, at = self.varint(message, at)
                end = at + size
                if end > len(message):
                    raise self.fail("ends inside its description's dims")
                while at < end:
                    dim, at = self.varint(message[:end], at)
                    dims.append(dim)
            else:
                raise self.fail(f"its description holds an unknown field (key {key})")
        if code not in _TYPES:
            raise self.fail(f"its type code is {code}; accepted: {', '.join(map(str, _TYPES))}")
        if len(dims) > _MAX_DIMS or not all(0 < dim < 1 << 63 for dim in dims):
            signed = _shape(dim - (1 << 64) if dim >= 1 << 63 else dim for dim in dims)
            raise self.fail(f"its shape is {signed}; up to {_MAX_DIMS} dims of 1 or more are accepted")
        return _Desc(code, tuple(dims))

    def varint(self, message: bytes, at: int) -> tuple[int, int]:
        """A base-128 number of at most 64 bits, and the place after it."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= len(message):
                raise self.fail("ends inside its description")
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                if value >= 1 << 64:
                    break
                return value, at
        raise self.fail("its description holds a number of more than 64 bits")


def _shape(dims: Iterable[int]) -> str:
    return "x".join(map(str, dims)) or "scalar"
