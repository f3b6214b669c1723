"""Arrays out of a ``.pdparams`` file, without running anything the file asks for.

``paddle.save`` writes a pickle (protocols 2 to 4). It is followed by ``urnet.checkpoints.restricted_unpickler``;
the names in it choose from the table of builders below, which make numbers, tuples, dicts and arrays of numbers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from urnet.checkpoints.restricted_unpickler import Machine, Name, Refused, put, short
from urnet.checkpoints.safetensors_io import bfloat16_to_float32
from urnet.core.checks import InputError

NAME_TABLE, BIG_ARRAYS = "StructuredToParameterName@@", "UnpackBigParamInfor@@"  # paddle.save's own entries
MOST_DIMS = 32  # NumPy's own bound for long; Paddle's is 9
MOST_NAMES = 8  # under which one array may stand on average (tied weights), or few bytes become many
_TYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a state dict that ``paddle.save`` wrote, by key; bfloat16 (kept as uint16) as float32.

    Raises InputError when the file is truncated, asks for anything but arrays and plain data, or holds
    entries that are no arrays.
    """
    try:
        with Path(path).open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            tree = Machine(stream, size, _BUILDERS).run()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except Refused as error:
        raise InputError(f"{path}: is not a state dict of arrays that paddle.save wrote: {error}") from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise InputError(f"{path}: is not a whole pickle ({type(error).__name__}: {error})") from None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: a state dict is needed, found {type(tree).__name__}")
    tree.pop(NAME_TABLE, None)
    big = tree.pop(BIG_ARRAYS, {})
    arrays = {key: _entry(key, value, str(path)) for key, value in tree.items()}
    claimed = sum(array.nbytes for array in arrays.values())
    if claimed > MOST_NAMES * size:
        raise InputError(f"{path}: has {size} bytes, but its entries would take {claimed}")
    _join(arrays, big, str(path))
    return {k: bfloat16_to_float32(a) if a.dtype == np.uint16 else a for k, a in arrays.items()}


def _entry(key: str, value: Any, source: str) -> np.ndarray:
    """An array, also out of paddle's pair (name, array)."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        value = value[1]
    if isinstance(value, _Array):
        value = value.array
    if not isinstance(value, np.ndarray):
        raise InputError(f"{source}: entry {short(key)} is a {type(value).__name__}; a state dict of arrays is needed")
    return value


def _join(arrays: dict[str, np.ndarray], big: Any, source: str) -> None:
    """Put together, in place, the arrays over 1 GiB that protocols 2 and 3 keep in slices."""
    try:
        for key, info in big.items():
            shape = tuple(info["OriginShape"])
            arrays[key] = np.concatenate([arrays.pop(part) for part in info["slices"]]).reshape(shape)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{source}: entry {BIG_ARRAYS} does not fit its slices ({str(error)[:99]})") from None


class _Type:
    """A number type: built from a code such as "f4", then told its byte order."""

    def __init__(self, code: Any) -> None:
        if not isinstance(code, str) or code.lstrip("<|=") not in _TYPES:
            raise Refused(f"an array of type {short(code)}; numbers are accepted")
        self.dtype = np.dtype("<" + code.lstrip("<|="))

    def set_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", "|", ">"):
            raise Refused("a number type whose state is not NumPy's")
        if any(part is not None for part in state[2:5]):  # sub-array, field names, fields
            raise Refused("an array of records; plain numbers are accepted")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array whose shape, type and bytes arrive in its state."""

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
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
        array = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if fortran else "C")
        self.array = array.astype(kind.dtype.newbyteorder("="), order="C", copy=False)


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


def _pair(items: Any = ()) -> tuple:
    if not isinstance(items, (tuple, list)):
        raise Refused("a tuple of something that is no sequence")
    return tuple(items)


def _dict(items: Any = ()) -> dict:
    return put({}, [part for item in _pair(items) for part in _pair(item)])


def _new_array(kind: Any, shape: Any, code: Any) -> _Array:
    if not isinstance(kind, Name) or kind.name != _NDARRAY:
        raise Refused("an array of another class than numpy.ndarray")
    return _Array()


def _class_only(*_: Any) -> None:
    raise Refused("numpy.ndarray called; it is only the class of an array")


_NDARRAY = "numpy ndarray"
# What a name in the file may stand for. Nothing else exists for it, and nothing is ever imported.
_BUILDERS: Mapping[str, Callable[..., Any]] = {
    "numpy.core.multiarray _reconstruct": _new_array,
    "numpy._core.multiarray _reconstruct": _new_array,
    "numpy.core.multiarray scalar": _scalar,
    "numpy._core.multiarray scalar": _scalar,
    _NDARRAY: _class_only,
    "numpy dtype": lambda code, align=False, copy=True: _Type(code),
    "_codecs encode": _encode,
    "__builtin__ bytes": _no_bytes,
    "builtins tuple": _pair,
    "__builtin__ tuple": _pair,
    "collections OrderedDict": _dict,
}
