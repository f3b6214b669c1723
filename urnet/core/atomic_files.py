"""Files and folders that are replaced atomically, files that are appended to, and hashes.

After a crash of the process or the machine a path holds the old contents or the new ones, never a mixture: the
new ones are written under a temporary name next to it, flushed to the disk and renamed; then the folder is
flushed too.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from urnet.core.checks import InputError

DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # full, quota, size limit, broken
NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EACCES}  # network file systems; a folder one cannot list
LONGEST = 240  # bytes of a name to which a dot, random digits and an ending are added; 255 are possible


@contextlib.contextmanager
def naming(path: str | Path, temporary: Path | None = None) -> Iterator[None]:
    """Make a full or broken disk's OSError name ``path``, where the system names no file or the ``temporary`` one.

    Other OSErrors pass unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FAULTS:
            raise
        place = str(path) if error.filename is None else os.fsdecode(error.filename)
        if temporary is not None:
            place = place.replace(str(temporary), str(path))
        raise OSError(error.errno, os.strerror(error.errno), place) from error


@contextlib.contextmanager
def atomic_file(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary path next to ``path``; on success fsync and rename it, on any error remove it.

    Raises InputError when ``path`` exists (also when it was written meanwhile) and ``replace`` is false, when it is
    no file (a device such as /dev/null stays), or when its folder cannot be written; OSError with the name of
    ``path`` for a full or broken disk.
    """
    path = Path(path)
    with _parents_of(path):
        temporary = _begin(path, replace=replace, folder=False)
        try:
            with naming(path, temporary):
                mode = temporary.stat().st_mode
                yield temporary
                os.chmod(temporary, mode)  # some libraries write files for their owner only
                _sync(temporary)
                _put(temporary, path, replace=replace)
                _sync_folder(path.parent)
        finally:
            with contextlib.suppress(OSError):  # what went wrong before says more
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder next to ``path``; on success fsync its files and rename it into place.

    With ``replace`` an existing folder is moved aside first and removed last, so that at every moment one
    complete folder is on the disk; ``recover_folder`` finishes a replacement that was killed in between. Raises
    as ``atomic_file`` does.
    """
    path = Path(path)
    with _parents_of(path):
        temporary, old = _begin(path, replace=replace, folder=True), _aside(path)
        try:
            with naming(path, temporary):
                yield temporary
                _settle(temporary)
                if replace and path.exists():
                    shutil.rmtree(old, ignore_errors=True)
                    os.replace(path, old)
                _put(temporary, path, replace=replace)
                _sync_folder(path.parent)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            with contextlib.suppress(OSError):
                if old.exists() and not path.exists():  # an error or a signal between the two renamings
                    os.replace(old, path)
            shutil.rmtree(temporary, ignore_errors=True)


def check_no_device(path: Path) -> None:
    """Raise InputError for a device, a pipe or a link to an open stream: renaming a file onto it would remove it."""
    path = Path(path)
    if path.is_symlink() and str(path.readlink()).startswith("/proc/"):
        raise InputError(f"{path}: is an open stream (a link into /proc); a file's path is needed")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: is a device, a pipe or a socket; a file's path is needed")


def missing_above(path: Path) -> list[Path]:
    """The folders above ``path`` that are not there, innermost first."""
    return [place for place in Path(path).parents if not os.path.exists(place)]  # noqa: PTH110 (any path will do)


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove those of ``folders``, innermost first, that hold nothing."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


@contextlib.contextmanager
def _parents_of(path: Path) -> Iterator[None]:
    """Folders above ``path`` that the block makes go again with an error."""
    missing = missing_above(path)
    try:
        yield
    except BaseException:
        remove_empty(missing)
        raise


def recover_folder(path: Path) -> None:
    """Put back what a killed ``atomic_folder(replace=True)`` moved aside, and remove its leftovers.

    Also those of a killed ``atomic_file``. Only where no other process writes ``path`` at the same time.
    """
    path = Path(path)
    old = _aside(path)
    if old.exists():
        if path.exists():
            shutil.rmtree(old)
        else:
            os.replace(old, path)
    ours = re.compile(re.escape(f".{_stem(path)}.") + r"[^.]+\.tmp")
    for leftover in path.parent.glob(".*.tmp"):
        if not ours.fullmatch(leftover.name):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


class AppendedFile:
    """Appends to a file: all of what is given or, where the disk is full, nothing of it.

    Nothing is buffered, so closing cannot fail. Raises OSError with the file's name.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        with naming(self.path):
            self._stream = self.path.open("ab", buffering=0)

    def write(self, data: str | bytes) -> None:
        """Append bytes, or text as UTF-8: whole records or lines as a rule."""
        rest = memoryview(data.encode() if isinstance(data, str) else data)
        end = self._stream.seek(0, os.SEEK_END)
        try:
            with naming(self.path):
                while rest:
                    rest = rest[self._stream.write(rest) :]
        except OSError:
            self._stream.truncate(end)
            raise

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def file_hash(path: Path, block: int = 1 << 20, algorithm: str = "sha256") -> str:
    """SHA-256 (or another of hashlib's) of a file's bytes, in hexadecimal."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with Path(path).open("rb") as stream:
        while chunk := stream.read(block):
            digest.update(chunk)
    return digest.hexdigest()


# --- names


def _stem(path: Path) -> str:
    """The name of ``path``, or a hash of it where nothing could be added to the name."""
    name = os.fsencode(path.name)
    return path.name if len(name) <= LONGEST else hashlib.sha256(name).hexdigest()


def _aside(path: Path) -> Path:
    """Where the folder that is being replaced is kept meanwhile."""
    return path.parent / f".{_stem(path)}.old"


# --- the steps of writing


def _begin(path: Path, *, replace: bool, folder: bool) -> Path:
    """Make the temporary file or folder next to ``path``, with the mode that the umask gives it."""
    temporary = path.parent / f".{_stem(path)}.{os.urandom(4).hex()}.tmp"
    try:
        check_no_device(path)
        if path.exists() and path.is_dir() != folder:
            is_a, needed = ("file", "folder") if folder else ("folder", "file")
            raise InputError(f"{path}: is a {is_a}; a {needed}'s path is needed")
        if path.exists() and not replace:
            raise _taken(path)
        _make_folders(path.parent)
        if folder:
            temporary.mkdir()
        else:
            temporary.touch(exist_ok=False)
    except OSError as error:
        if error.errno in DISK_FAULTS:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    return temporary


def _taken(path: Path) -> InputError:
    return InputError(f"{path}: exists already and is never overwritten")


def _make_folders(folder: Path) -> None:
    """Make ``folder`` and its missing parents, flushed to the disk."""
    missing = missing_above(folder / "file")
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        _sync_folder(place.parent)


def _settle(folder: Path) -> None:
    """Flush everything in ``folder``, with the file modes that the folder was made with."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    for place in sorted(folder.rglob("*")):  # some libraries write files for their owner only
        if place.is_dir():
            os.chmod(place, mode)
            _sync_folder(place)
        else:
            os.chmod(place, mode & 0o666)
            _sync(place)
    _sync_folder(folder)


def _put(temporary: Path, path: Path, *, replace: bool) -> None:
    """Rename ``temporary`` to ``path``; without ``replace`` nothing that is there is overwritten."""
    if not replace and temporary.is_file():
        try:
            os.link(temporary, path)  # which, unlike renaming, fails where another process was quicker
        except FileExistsError:
            raise _taken(path) from None
        except OSError:  # a file system without links: looking and then renaming is nearly as good
            if path.exists():
                raise _taken(path) from None
        else:
            temporary.unlink()
            return
    try:
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise InputError(f"{path}: another process wrote it at the same time") from None
        raise


def _sync(file: Path) -> None:
    """Flush a file's contents to the disk."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where its file system can do that."""
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
