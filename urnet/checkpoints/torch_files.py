"""Arrays out of a file that ``torch.save`` wrote, without PyTorch and without running anything the file asks for."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from urnet.checkpoints.numpy_pickle import PickledArray
from urnet.checkpoints.restricted_unpickler import Refused, short
from urnet.checkpoints.torch_forms import ARRAY_BUILDERS, BUILDERS, CHAIN, ZIP, Tensor, read_forms
from urnet.core.checks import InputError

STATE_DICTS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict")  # of training scripts
MOST_NAMES = 8  # bytes of arrays a byte of the file: views of one storage may overlap, a few bytes not become many
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
        tree, storages = read_forms(data, BUILDERS)
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
            f"{path}: is not a state dict of tensors that torch.save wrote: {error}; if it holds a whole "
            "model, save model.state_dict() instead, in PyTorch"
        ) from None
    prefix = "module." if all(key.startswith("module.") for key in arrays) else ""
    return {key[len(prefix) :]: array for key, array in arrays.items()}, entry


def read_array_dict(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a dict of NumPy's arrays, or of tensors, that ``torch.save`` wrote, by key.

    Raises InputError when the file is truncated or holds, or asks for, anything else.
    """
    try:
        data = path.read_bytes()
        tree, storages = read_forms(data, ARRAY_BUILDERS)
        if not isinstance(tree, dict):
            raise Refused(f"it holds {short(tree)}")
        claimed, arrays = 0, {}
        for key, value in tree.items():
            if not isinstance(value, Tensor) and not (isinstance(value, PickledArray) and value.data is not None):
                raise Refused(f"its entry {short(key)} is {short(value)}")
            claimed += value.n_bytes if isinstance(value, Tensor) else len(value.data or b"")
            if claimed > MOST_NAMES * len(data):
                raise Refused(f"it has {len(data)} bytes, but its arrays would take more than {MOST_NAMES} times that")
            arrays[key] = value.array(storages) if isinstance(value, Tensor) else value.array()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Refused as error:
        raise InputError(f"{path}: is not a dict of arrays that torch.save wrote: {error}") from None
    return arrays


def _state_dict(tree: Any) -> dict[str, Tensor]:
    """The tensors of a state dict; entries that are numbers (a counter, say) are left out."""
    if not isinstance(tree, dict):
        raise Refused(f"it holds {short(tree)}; {_ACCEPTED}")
    tensors = {key: value for key, value in tree.items() if isinstance(value, Tensor)}
    others = [key for key, value in tree.items() if not isinstance(value, (Tensor, int, float))]
    if others or not tensors:
        raise Refused(f"its entry {short(others[0])} is not a tensor; {_ACCEPTED}" if others else f"empty; {_ACCEPTED}")
    return tensors
