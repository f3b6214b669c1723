"""Named arrays in one safetensors file, and the number types that become float32."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from urnet.core.atomic_files import DISK_FAULTS
from urnet.core.checks import InputError


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """uint16 bit patterns of bfloat16 (the upper half of a float32) as float32, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def as_float32(array: np.ndarray) -> np.ndarray:
    """float64 and float16 as float32 (float64 is rounded); anything else as it is."""
    return array.astype(np.float32) if array.dtype.kind == "f" and array.dtype != np.float32 else array


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write named arrays; the same arrays give the same bytes, in whatever order they come.

    The caller sees to it that the file is whole (``urnet.core.atomic_files``).
    """
    ordered = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
    for name, array in ordered.items():
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name}: holds {array.dtype}; arrays of numbers are accepted")
    try:
        safetensors.numpy.save_file(ordered, str(path))
    except safetensors.SafetensorError as error:  # a full disk, say; the library says so in words only
        code = re.search(r"os error (\d+)", str(error))
        if code is not None and int(code[1]) in DISK_FAULTS:
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from None
        raise OSError(f"{path}: cannot be written ({error})") from None


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Name -> array; bfloat16, which NumPy does not have, as float32. Raises InputError for a broken file."""
    try:
        with Path(path).open("rb"):  # its own error for a file that may not be read says it is not there
            pass
        with safetensors.safe_open(str(path), framework="numpy") as file:
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
            arrays = {name: file.get_tensor(name) for name, kind in kinds.items() if kind != "BF16"}
        entries = dict(safetensors.deserialize(Path(path).read_bytes())) if len(arrays) < len(kinds) else {}
        return {name: arrays[name] if name in arrays else _bfloat16(entries[name]) for name in kinds}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (safetensors.SafetensorError, TypeError, KeyError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: is not a whole safetensors file of numbers ({error})") from None


def _bfloat16(entry: dict) -> np.ndarray:
    return bfloat16_to_float32(np.frombuffer(entry["data"], "<u2").reshape(entry["shape"]))
