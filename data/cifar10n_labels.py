"""CIFAR-10N's labels: what three people said of each of CIFAR-10's training pictures (Wei et al., ICLR 2022).

The published file is ``CIFAR-10_human.pt``, a dict of NumPy arrays that ``torch.save`` wrote, or
``CIFAR-10_human.npy``, the same dict as NumPy's array of one object. Both are pickles; neither is run.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from urnet.checkpoints.numpy_pickle import NPY_BUILDERS, Boxed
from urnet.checkpoints.restricted_unpickler import Refused, RestrictedUnpickler, short
from urnet.checkpoints.torch_files import is_torch_file, read_array_dict
from urnet.core.checks import InputError

N_CLASSES = 10
_MOST_KEYS = 64  # one array may stand under several
_NPY = b"\x93NUMPY"
_DESCR = re.compile(rb"'descr': *'([<>|=]?\w{1,9})'")
_EACH = ("random_label1", "random_label2", "random_label3")
_NEEDED = ("clean_label", "worse_label", *_EACH)


@dataclass(frozen=True)
class People:
    """``clean``, CIFAR-10's own labels, and ``worst``, a wrong one of the three where there is one, int64 (N,);
    ``each``, what the three people said, int64 (N, 3)."""

    clean: np.ndarray
    worst: np.ndarray
    each: np.ndarray


def read_people(file: Path, labels: np.ndarray) -> People:
    """The labels of the training pictures whose own labels are ``labels`` (N,).

    Raises InputError for another file, labels out of range, and labels of other pictures or in another order.
    """
    arrays = _read(file)
    missing = [name for name in _NEEDED if name not in arrays]
    if missing:
        raise InputError(f"{file}: has no {missing[0]}, only {short(', '.join(arrays))}; CIFAR-10_human.pt is needed")
    columns = {name: _column(f"{file}: {name}", arrays[name], len(labels)) for name in _NEEDED}
    same = int((columns["clean_label"] == labels).sum())
    if same < len(labels):
        raise InputError(
            f"{file}: clean_label is CIFAR-10's own label for {same} of {len(labels)} pictures, so the labels are "
            "of other pictures or in another order (…_ordered has TensorFlow's); CIFAR-10_human.pt is accepted"
        )
    each = np.stack([columns[name] for name in _EACH], axis=1)
    return People(columns["clean_label"], columns["worse_label"], each)


def _read(file: Path) -> dict[str, np.ndarray]:
    if is_torch_file(file):
        return read_array_dict(file)
    data = file.read_bytes()
    if not data.startswith(_NPY):
        raise InputError(f"{file}: is neither a file of torch.save nor .npy; CIFAR-10_human.pt or .npy is accepted")
    try:
        return _read_npy(data)
    except Refused as error:
        raise InputError(f"{file}: is not a dict of arrays that numpy.save wrote: {error}") from None


def _read_npy(data: bytes) -> dict[str, np.ndarray]:
    """The dict in an array of one object. Raises Refused."""
    size = 2 if data[6:7] == b"\x01" else 4  # bytes of the header's length, by the version
    start = 8 + size + int.from_bytes(data[8 : 8 + size], "little")
    kind = _DESCR.search(data[8 + size : start])  # NumPy's own reader of headers parses them as Python
    if kind is None or start > len(data):
        raise Refused("its header is broken")
    if kind[1] not in (b"|O", b"O"):
        raise Refused(f"it is an array of {kind[1].decode('latin1')}")
    stream = io.BytesIO(data)
    stream.seek(start)
    box = RestrictedUnpickler(stream, NPY_BUILDERS).load()
    tree = box.item if isinstance(box, Boxed) else box
    if not isinstance(tree, dict):
        raise Refused(f"it holds {short(tree)}")
    if len(tree) > _MOST_KEYS:
        raise Refused(f"it has {len(tree)} entries")
    for key, value in tree.items():
        if not isinstance(value, Boxed) or value.data is None:
            raise Refused(f"its entry {short(key)} is {short(value)}")
    return {key: value.array() for key, value in tree.items()}


def _column(name: str, array: np.ndarray, n: int) -> np.ndarray:
    """One label per picture, int64 (n,)."""
    if array.dtype.kind not in "iu" or array.size != n or max(array.shape, default=0) != n:
        raise InputError(f"{name}: is {array.dtype} of shape {array.shape}; a whole number for each of {n} is accepted")
    column = array.reshape(-1)
    if n and not 0 <= column.min() <= column.max() < N_CLASSES:
        wrong = column[(column < 0) | (column >= N_CLASSES)][0]
        raise InputError(f"{name}: found {wrong}; 0 to {N_CLASSES - 1} is accepted")
    return column.astype(np.int64)
