"""Level 0: files and folders that are there whole or not at all, and their hashes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from urnet.checks import InputError


def _sync(path: Path) -> None:
    """Flush a file's or folder's contents to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def whole_file(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success fsync and rename it, on any error remove it.

    Raises InputError when ``path`` exists and ``replace`` is false, or when its folder cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; a file's path is needed")
    if path.exists() and not replace:
        raise InputError(f"{path}: exists already; it is never written over")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; on success fsync its files and rename it into place.

    With ``replace`` an existing folder is moved aside first and removed last, so that at every moment one
    whole folder is on the disk; ``recover_folder`` finishes a replacement that was killed in between.
    """
    path = Path(path)
    if path.exists() and not replace:
        raise InputError(f"{path}: exists already; it is never written over")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    old = path.parent / f".{path.name}.old"
    try:
        yield temporary
        mask = _umask()
        os.chmod(temporary, 0o777 & ~mask)
        for file in sorted(temporary.rglob("*")):  # some libraries write files for their owner only
            os.chmod(file, (0o777 if file.is_dir() else 0o666) & ~mask)
            _sync(file)
        _sync(temporary)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(path, old)
        os.replace(temporary, path)
        _sync(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Put back what a killed ``whole_folder(replace=True)`` left aside, and remove its leftovers."""
    path = Path(path)
    old = path.parent / f".{path.name}.old"
    if old.exists():
        if path.exists():
            shutil.rmtree(old)
        else:
            os.replace(old, path)
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def file_hash(path: Path, block: int = 1 << 20) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while chunk := stream.read(block):
            digest.update(chunk)
    return digest.hexdigest()


def _umask() -> int:
    """The process's umask (reading it means setting it for a moment)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
