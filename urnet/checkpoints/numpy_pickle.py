"""NumPy's arrays in a pickle: what the names in it may mean. No other name is accepted and nothing is imported.

The tables of builders are for ``urnet.checkpoints.restricted_unpickler``; they make numbers, tuples, dicts and arrays
of numbers. ``PYTHON_2_BUILDERS`` also take arrays whose bytes are Python 2's texts, ``NPY_BUILDERS`` also the array of
one object that NumPy makes of a dict to save it as ``.npy``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from urnet.checkpoints.restricted_unpickler import NamedBuilder, Refused, short

MOST_DIMS = 32  # NumPy's own bound for long; Paddle's is 9
_TYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}


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


class PickledArray:
    """An array whose shape, type and bytes arrive in its state; they are checked, and made an array later."""

    __hash__ = None  # type: ignore[assignment]
    shape: tuple[int, ...]
    dtype: np.dtype
    data: bytes | str | None = None
    fortran: bool
    text_too = False

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
        if not isinstance(kind, _Type) or not (isinstance(data, bytes) or (self.text_too and isinstance(data, str))):
            raise Refused("an array that is not shape, number type and bytes")
        if len(data) != math.prod(shape) * kind.dtype.itemsize:
            raise Refused(f"an array of shape {shape} {kind.dtype} with {len(data)} bytes")
        self.shape, self.dtype, self.fortran, self.data = shape, kind.dtype, bool(fortran), data

    def array(self) -> np.ndarray:
        """In C order and the machine's byte order; without a copy where the file has it so."""
        try:
            data = self.data.encode("latin1") if isinstance(self.data, str) else self.data
        except UnicodeEncodeError:
            raise Refused("an array of text that is not bytes") from None
        array = np.frombuffer(data or b"", self.dtype).reshape(self.shape, order="F" if self.fortran else "C")
        return array.astype(self.dtype.newbyteorder("="), order="C", copy=False)


class _Python2Array(PickledArray):
    """An array of Python 2, whose bytes are text; encoded when they are looked at."""

    text_too = True


class _TypeOrObject(_Type):
    """A number type, or Python's objects."""

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        if code in ("O", "O8"):
            self.dtype = np.dtype(object)
        else:
            super().__init__(code, align, copy)


class Boxed(PickledArray):
    """An array of numbers, or one of a single object, ``item``."""

    item: Any = None

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], _Type) and state[2].dtype == object:
            if state[1] not in ((), (1,)) or not isinstance(state[4], list) or len(state[4]) != 1:
                raise Refused("an array of objects; a single one is accepted")
            self.item = state[4][0]
        else:
            super().__setstate__(state)


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
        raise Refused("a tuple of something that is not a sequence")
    return tuple(items)


def _dict(items: Any = ()) -> dict:
    pairs = _tuple(items)
    if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
        raise Refused("a dict with a key that is not text")
    return dict(pairs)


def _class_only(*_: Any) -> None:
    raise Refused("numpy.ndarray called; it is only the class of an array")


_NDARRAY = "numpy.ndarray"
NUMPY_BUILDERS: Mapping[str, Callable[..., Any]] = {
    "numpy.core.multiarray._reconstruct": PickledArray,
    "numpy._core.multiarray._reconstruct": PickledArray,
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
PYTHON_2_BUILDERS: Mapping[str, Callable[..., Any]] = {
    **NUMPY_BUILDERS,
    "numpy.core.multiarray._reconstruct": _Python2Array,
}
NPY_BUILDERS: Mapping[str, Callable[..., Any]] = {
    **NUMPY_BUILDERS,
    "numpy.core.multiarray._reconstruct": Boxed,
    "numpy._core.multiarray._reconstruct": Boxed,
    "numpy.dtype": _TypeOrObject,
}
