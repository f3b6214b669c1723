"""Arrays out of a ``.pdparams`` file, without running anything the file asks for.

``paddle.save`` writes a pickle (protocols 2 to 4). ``urnet.checkpoints.restricted_unpickler`` reads it; the
names in it choose from the table of builders below, which make numbers, tuples, dicts and arrays of numbers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from urnet.checkpoints.restricted_unpickler import NamedBuilder, Refused, RestrictedUnpickler, short
from urnet.checkpoints.safetensors_io import bfloat16_to_float32
from urnet.core.checks import InputError

NAME_TABLE, BIG_ARRAYS = "StructuredToParameterName@@", "UnpackBigParamInfor@@"  # paddle.save's own entries
MOST_DIMS = 32  # NumPy's own bound for long; Paddle's is 9
MOST_NAMES = 8  # under which one array may stand on average (tied weights), or few bytes become many
_TYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
_TORCH = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")  # how both of torch.save's forms begin


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a state dict that ``paddle.save`` wrote, by key; bfloat16 (kept as uint16) as float32.

    Raises InputError when the file is truncated, asks for anything but arrays and plain data, or holds
    entries that are no arrays.
    """
    try:
        with Path(path).open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if stream.read(len(_TORCH[1])).startswith(_TORCH):
                raise Refused("torch.save wrote it")
            stream.seek(0)
            tree = RestrictedUnpickler(stream, _BUILDERS).load()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except Refused as error:
        raise InputError(f"{path}: is not a state dict of arrays that paddle.save wrote: {error}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: a state dict is needed, found {type(tree).__name__}")
    tree.pop(NAME_TABLE, None)
    big = tree.pop(BIG_ARRAYS, {})
    entries = {key: _entry(key, value, str(path)) for key, value in tree.items()}
    claimed = sum(len(entry.data or b"") for entry in entries.values())
    if claimed > MOST_NAMES * size:
        raise InputError(f"{path}: has {size} bytes, but its entries would take {claimed}")
    arrays = {key: entry.array() for key, entry in entries.items()}
    _join(arrays, big, str(path))
    return {k: bfloat16_to_float32(a) if a.dtype == np.uint16 else a for k, a in arrays.items()}


class _Type:
    """A number type: built from a code such as "f4", then given its byte order."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        if not isinstance(code, str) or code.lstrip("<|=") not in _TYPES:
            raise Refused(f"an array of type {short(code)}; numbers are accepted")
        self.dtype = np.dtype("<" + code.lstrip("<|="))

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", "|", ">"):
            raise Refused("a number type whose state is not NumPy's")
        if any(part is not None for part in state[2:5]):  # sub-array, field names, fields
            raise Refused("an array of records; plain numbers are accepted")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array whose shape, type and bytes arrive in its state; they are checked, and made an array later."""

    __hash__ = None  # type: ignore[assignment]
    shape: tuple[int, ...]
    dtype: np.dtype
    data: bytes | None = None
    fortran: bool

    def __init__(self, kind: Any, shape: Any, code: Any) -> None:
        if not isinstance(kind, NamedBuilder) or kind.name != _NDARRAY:
            raise Refused("an array of another class than numpy.ndarray")

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("an array whose state is not NumPy's")
        _, shape, kind, fortran, data = state
        sized = isinstance(shape, tuple) and len(shape) <= MOST_DIMS
        if not sized or not all(type(n) is int and 0 <= n < 1 << 63 for n in shape):
            raise Refused("an array that is not shape, number type and bytes")
        if not isinstance(kind, _Type) or not isinstance(data, bytes):
            raise Refused("an array that is not shape, number type and bytes")
        if len(data) != math.prod(shape) * kind.dtype.itemsize:
            raise Refused(f"an array of shape {shape} {kind.dtype} with {len(data)} bytes")
        self.shape, self.dtype, self.fortran, self.data = shape, kind.dtype, bool(fortran), data

    def array(self) -> np.ndarray:
        """In C order and the machine's byte order; without a copy where the file has it so."""
        array = np.frombuffer(self.data or b"", self.dtype).reshape(self.shape, order="F" if self.fortran else "C")
        return array.astype(self.dtype.newbyteorder("="), order="C", copy=False)


def _entry(key: str, value: Any, source: str) -> _Array:
    """An array, also out of paddle's pair (name, array)."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        value = value[1]
    if not isinstance(value, _Array) or value.data is None:
        kind = "an array without values" if isinstance(value, _Array) else f"a {type(value).__name__}"
        raise InputError(f"{source}: entry {short(key)} is {kind}; a state dict of arrays is needed")
    return value


def _join(arrays: dict[str, np.ndarray], big: Any, source: str) -> None:
    """Put together, in place, the arrays over 1 GiB that protocols 2 and 3 keep in slices."""
    try:
        for key, info in big.items():
            shape = tuple(info["OriginShape"])
            arrays[key] = np.concatenate([arrays.pop(part) for part in info["slices"]]).reshape(shape)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{source}: entry {BIG_ARRAYS} does not fit its slices ({str(error)[:99]})") from None


def _scalar(kind: Any, data: Any) -> Any:
    if not isinstance(kind, _Type) or not isinstance(data, bytes) or len(data) != kind.dtype.itemsize:
        raise Refused("a number that is not type and bytes")
    return np.frombuffer(data, kind.dtype)[0].item()


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocol 2 keeps bytes: as text in which every character is one byte."""
    if not isinstance(text, str) or encoding != "latin1":
        raise Refused("text in an encoding other than latin1")
    return text.encode("latin1")


def _no_bytes(*arguments: Any) -> bytes:
    """How protocol 2 keeps the bytes of an empty array."""
    if arguments:
        raise Refused("bytes made of something else")
    return b""


def _tuple(items: Any = ()) -> tuple:
    if not isinstance(items, (tuple, list)):
        raise Refused("a tuple of something that is no sequence")
    return tuple(items)


def _dict(items: Any = ()) -> dict:
    pairs = _tuple(items)
    if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
        raise Refused("a dict with a key that is no text")
    return dict(pairs)


def _class_only(*_: Any) -> None:
    raise Refused("numpy.ndarray called; it is only the class of an array")


_NDARRAY = "numpy.ndarray"
# What a name in the file may stand for. Nothing else exists for it, and nothing is ever imported.
_BUILDERS: Mapping[str, Callable[..., Any]] = {
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    _NDARRAY: _class_only,
    "numpy.dtype": _Type,
    "_codecs.encode": _encode,
    "__builtin__.bytes": _no_bytes,
    "builtins.tuple": _tuple,
    "__builtin__.tuple": _tuple,
    "collections.OrderedDict": _dict,
}
