"""Arrays out of a ``.pdparams`` file, without running anything the file asks for.

``paddle.save`` writes a pickle (protocols 2 to 4). ``urnet.checkpoints.restricted_unpickler`` reads it; the
names in it choose from ``numpy_pickle``'s table of builders.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from urnet.checkpoints.numpy_pickle import NUMPY_BUILDERS, PickledArray
from urnet.checkpoints.restricted_unpickler import Refused, RestrictedUnpickler, short
from urnet.checkpoints.safetensors_io import bfloat16_to_float32
from urnet.core.checks import InputError

NAME_TABLE, BIG_ARRAYS = "StructuredToParameterName@@", "UnpackBigParamInfor@@"  # paddle.save's own entries
MOST_NAMES = 8  # under which one array may stand on average (tied weights), or few bytes become many
_TORCH = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")  # how both of torch.save's forms begin


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a state dict that ``paddle.save`` wrote, by key; bfloat16 (kept as uint16) as float32.

    Raises InputError when the file is truncated, asks for anything but arrays and plain data, or holds
    entries that are not arrays.
    """
    try:
        with Path(path).open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if stream.read(len(_TORCH[1])).startswith(_TORCH):
                raise Refused("torch.save wrote it")
            stream.seek(0)
            tree = RestrictedUnpickler(stream, NUMPY_BUILDERS).load()
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


def _entry(key: str, value: Any, source: str) -> PickledArray:
    """An array, also out of paddle's pair (name, array)."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        value = value[1]
    if not isinstance(value, PickledArray) or value.data is None:
        kind = "an array without values" if isinstance(value, PickledArray) else f"a {type(value).__name__}"
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
