"""CIFAR-10's and CIFAR-100's published files: the python version, whose pickles are not run, and the binary one.

A place is a folder that holds the files, a folder above that, or the ``.tar.gz`` archive itself, which is not unpacked.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from urnet.checkpoints.numpy_pickle import PYTHON_2_BUILDERS, PickledArray
from urnet.checkpoints.restricted_unpickler import Refused, RestrictedUnpickler, short
from urnet.core.checks import InputError

SIDE = 32  # pixels of a picture's side
_VALUES = 3 * SIDE * SIDE
_MOST = 1 << 30  # bytes of an unpacked archive; CIFAR-100's has 178 MiB
_BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
_TAR_ERRORS = (tarfile.TarError, zlib.error, EOFError, ValueError)


@dataclass(frozen=True)
class Pictures:
    """``images`` uint8 (N, 32, 32, 3), RGB; ``labels`` int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class _Version:
    """One of the published forms: its folder, its files, how a picture file is read."""

    folder: str
    files: Sequence[str]
    read: Callable[[str, bytes, int], Pictures]


def read_cifar10(place: Path) -> tuple[Pictures, Pictures]:
    """CIFAR-10's training and test pictures, in the order of its files. Raises InputError."""
    versions = (
        _Version("cifar-10-batches-py", _BATCHES, python_reader("labels")),
        _Version("cifar-10-batches-bin", [f"{name}.bin" for name in _BATCHES], binary_reader(1)),
    )
    version, found = _find(place, "CIFAR-10", versions)
    parts = [version.read(f"{place}: {name}", found[name], 10) for name in version.files]
    images, labels = (np.concatenate([getattr(part, name) for part in parts[:-1]]) for name in ("images", "labels"))
    return Pictures(images, labels), parts[-1]


def read_cifar100(place: Path) -> tuple[Pictures, list[str]]:
    """CIFAR-100's training pictures, and the words of its classes. Raises InputError."""
    versions = (
        _Version("cifar-100-python", ["train", "meta"], python_reader("fine_labels")),
        _Version("cifar-100-binary", ["train.bin", "fine_label_names.txt"], binary_reader(2)),
    )
    version, found = _find(place, "CIFAR-100", versions)
    first, last = version.files
    if last == "meta":
        words = _unpickle(f"{place}: meta", found[last]).get("fine_label_names")
    else:
        words = found[last].decode("utf-8", "replace").split()
    if not isinstance(words, list) or len(words) != 100 or not all(isinstance(word, str) for word in words):
        raise InputError(f"{place}: {last}: does not hold the names of 100 classes")
    return version.read(f"{place}: {first}", found[first], 100), [word.replace("_", " ") for word in words]


def is_cifar100(place: Path) -> bool:
    """Whether a place is taken for CIFAR-100: any file, and a folder with its files."""
    folders = [place, place / "cifar-100-python", place / "cifar-100-binary"]
    pairs = [("train", "meta"), ("train.bin", "fine_label_names.txt")]
    return place.is_file() or any((f / a).is_file() and (f / b).is_file() for f in folders for a, b in pairs)


# --- places


def _find(place: Path, what: str, versions: Sequence[_Version]) -> tuple[_Version, Mapping[str, bytes]]:
    """The version that is there, and the bytes of its files."""
    wanted = {name for version in versions for name in version.files}
    try:
        if place.is_dir():
            for version in versions:
                for folder in (place, place / version.folder):
                    files = {name: folder / name for name in version.files if (folder / name).is_file()}
                    if files:
                        _check_whole(folder, version, files)
                        return version, {name: file.read_bytes() for name, file in files.items()}
            names = " or ".join(f"{version.folder}/ ({version.files[0]} …)" for version in versions)
            raise InputError(
                f"{place}: holds no {what}; accepted: a folder with {names}, or the .tar.gz archive itself"
            )
        if not place.exists():
            raise InputError(f"{place}: does not exist; {what}'s folder or its .tar.gz archive is needed")
        members = _archive(place, wanted)
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror or error})") from None
    there = [version for version in versions if any(name in members for name in version.files)]
    if not there:
        raise InputError(f"{place}: is an archive without {what}'s files ({', '.join(versions[0].files)})")
    _check_whole(place, there[0], members)
    return there[0], members


def _check_whole(place: Path, version: _Version, found: Mapping[str, object]) -> None:
    missing = [name for name in version.files if name not in found]
    if missing:
        raise InputError(
            f"{place}: {' and '.join(missing)} missing, but {next(iter(found))} is there; all files are needed"
        )


def _archive(file: Path, wanted: set[str]) -> dict[str, bytes]:
    """The wanted members of a tar archive, by the last part of their names."""
    members = {}
    try:
        with tarfile.open(file) as archive:
            for member in archive:
                if member.offset_data + member.size > _MOST:
                    raise InputError(f"{file}: unpacks to more than {_MOST >> 20} MiB, so it is another archive")
                name = member.name.rpartition("/")[2]
                stream = archive.extractfile(member) if name in wanted and member.isfile() else None
                if stream is not None:
                    members[name] = stream.read()
    except _TAR_ERRORS as error:
        raise InputError(f"{file}: is not a tar archive, or is damaged or cut off ({error})") from None
    except OSError as error:
        if error.strerror:
            raise
        raise InputError(f"{file}: is not a tar archive, or is damaged or cut off ({error})") from None
    return members


# --- files


def _unpickle(name: str, data: bytes) -> dict:
    try:
        tree = RestrictedUnpickler(io.BytesIO(data), PYTHON_2_BUILDERS, python_2=True).load()
    except Refused as error:
        raise InputError(f"{name}: is not a file of CIFAR's python version: {error}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{name}: is not a file of CIFAR's python version: it holds {short(tree)}")
    return tree


def python_reader(key: str) -> Callable[[str, bytes, int], Pictures]:
    """A reader of pickled dicts with `data` (N, 3072) uint8 and a list of labels under ``key``."""

    def read(name: str, data: bytes, n_classes: int) -> Pictures:
        tree = _unpickle(name, data)
        values, labels = tree.get("data"), tree.get(key)
        if not isinstance(values, PickledArray) or not isinstance(labels, list):
            raise InputError(f"{name}: has no array 'data' and list {key!r}")
        try:
            array = values.array() if values.data is not None else np.empty(0)
        except Refused as error:
            raise InputError(f"{name}: {error}") from None
        if array.dtype != np.uint8 or array.shape != (len(labels), _VALUES):
            raise InputError(
                f"{name}: 'data' is {array.dtype} of shape {array.shape} for {len(labels)} labels; "
                f"uint8 of shape ({len(labels)}, {_VALUES}) is accepted"
            )
        if not all(type(label) is int and 0 <= label < n_classes for label in labels):
            raise InputError(f"{name}: a label is not a number from 0 to {n_classes - 1}")
        return _pictures(name, array, np.array(labels, np.int64))

    return read


def binary_reader(n_labels: int) -> Callable[[str, bytes, int], Pictures]:
    """A reader of records: ``n_labels`` bytes of labels, the last of which counts, and the picture's."""

    def read(name: str, data: bytes, n_classes: int) -> Pictures:
        size = n_labels + _VALUES
        if len(data) % size:
            raise InputError(f"{name}: has {len(data)} bytes; a multiple of {size} is accepted, so it is cut off")
        records = np.frombuffer(data, np.uint8).reshape(-1, size)
        labels = records[:, n_labels - 1].astype(np.int64)
        if (labels >= n_classes).any():
            raise InputError(f"{name}: a label is {labels.max()}; 0 to {n_classes - 1} is accepted")
        return _pictures(name, records[:, n_labels:], labels)

    return read


def _pictures(name: str, values: np.ndarray, labels: np.ndarray) -> Pictures:
    if not len(labels):
        raise InputError(f"{name}: holds no picture")
    return Pictures(values.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), labels)
