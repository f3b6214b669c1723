"""Features kept in a file, by the content of the pictures: what was computed once is not computed again.

The file is two lines of text, what it is and the identity of the features (JSON), and then records of one size, in the
order in which they were computed: ``ABOUT`` of the picture, its features (float16), and a CRC-32 of both. Records
are only added, each batch in one piece. A killed process leaves at most a part of one, which the next run takes
away. Any number of processes read the file; the one that changes it holds ``.NAME.lock`` next to it until it is closed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from urnet.core.atomic_files import AppendedFile, atomic_file, missing_above, recover_folder, remove_empty
from urnet.core.checks import InputError
from urnet.core.counted import verb
from urnet.core.file_lock import hold
from urnet.data.kept.pictures import ABOUT

MAGIC = b"urnet features 1\n"
LONGEST_HEADER = 1 << 16


class KeptFeatures:
    """The records of a file, by the SHA-256 of the pictures' bytes. ``width``: of the features, 0 as long as unknown.

    Made for features of one ``identity`` (JSON values by name). A file of others is replaced as soon as there is
    something to keep, with a note; one that is no such file is an InputError, and stays as it is. So is one that
    another process changes while this one is to.
    """

    def __init__(self, path: str | Path, identity: Mapping[str, Any]) -> None:
        self.path, self.identity = Path(path), dict(identity)
        self.width = 0
        self._row_of: dict[bytes, int] = {}
        self._place = 0, 0  # where the records begin, and how many there are
        self._file: AppendedFile | None = None
        self._fresh = True  # the file is to be begun anew
        self._lock: TextIO | None = None
        self._made: list[Path] = []  # folders, for its sake
        if self.path.is_dir():
            raise InputError(f"{self.path}: is a folder; give the path of a file to keep features in")
        self._found = self._state()
        if self._found is not None and self.path.stat().st_size:
            self._open()

    def __len__(self) -> int:
        return len(self._row_of)

    def row(self, content: bytes) -> int:
        """The record of the picture with this SHA-256, -1 for none."""
        return self._row_of.get(content, -1)

    @property
    def records(self) -> np.ndarray:
        """The records (``record_type(width)``) that were there at opening, mapped anew: pages go with the array."""
        begin, n = self._place
        kind = record_type(self.width)
        return np.memmap(self.path, kind, "r", begin, (n,)) if n else np.empty(0, kind)

    def begin(self) -> None:
        """Hold the file: from now on nobody else changes it. Raises InputError where another process does, or did."""
        if self._lock is not None:
            return
        self._made = missing_above(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = hold(self._lock_file)
        except OSError as error:
            raise InputError(f"{self.path.parent}: cannot be written ({error.strerror})") from None
        if self._lock is None:
            raise InputError(
                f"{self.path}: another process is using this file of features; wait for it, or name another file"
            )
        if self._found != self._state():
            self.close()
            raise InputError(
                f"{self.path}: another process has changed it meanwhile; run the same command again to use what it kept"
            )
        recover_folder(self.path)  # what a killed writer left

    def add(self, about: np.ndarray, features: np.ndarray) -> None:
        """Append n records: ``ABOUT`` (n,) and float16 (n, width); all of them or, on a full disk, none.

        The file is held from the first on, as by ``begin``.
        """
        self.begin()
        self.width = features.shape[1]
        records = np.empty(len(about), record_type(self.width))
        records["about"], records["features"] = about, features
        records["crc"] = _crcs(records)
        if self._file is None:
            if self._fresh:
                with atomic_file(self.path, replace=True) as part:
                    part.write_bytes(_header(self.identity, self.width))
            self._file, self._fresh = AppendedFile(self.path), False
        self._file.write(records.tobytes())

    def close(self) -> None:
        """Close the file; records that were added are found when it is opened again."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is not None:
            self._lock_file.unlink(missing_ok=True)
            self._lock.close()
            self._lock = None
            remove_empty(self._made)

    @property
    def _lock_file(self) -> Path:
        return self.path.with_name(f".{self.path.name}.lock")

    def _state(self) -> tuple[int, ...] | None:
        """What tells whether the file was changed."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def _open(self) -> None:
        found, start = _read_header(self.path)
        said = _difference(found, self.identity)
        if said:
            print(
                f"note: {self.path}: its features are {said}; they are all computed again, and the file is replaced",
                file=sys.stderr,
            )
            return
        self.width, self._fresh = found["width"], False
        kind = record_type(self.width)
        whole = (self.path.stat().st_size - start) // kind.itemsize
        end = start + whole * kind.itemsize
        if self.path.stat().st_size > end:  # what a killed process was writing
            with self._mending(), self.path.open("r+b") as stream:
                stream.truncate(end)
        if not whole:
            return
        self._place = start, whole
        records = self.records
        good = records["crc"] == _crcs(records)
        if not good.all():
            bad = int((~good).sum())
            print(
                f"note: {self.path}: {bad} of {whole} records {verb(bad)} damaged; "
                f"{verb(bad, 'that picture is', 'those pictures are')} computed again",
                file=sys.stderr,
            )
            with self._mending():
                self._rewrite(np.flatnonzero(good))
        content = self.records["about"]["content"]
        self._row_of = {row.tobytes(): i for i, row in enumerate(content)}

    @contextlib.contextmanager
    def _mending(self) -> Iterator[None]:
        """Hold the file, which is as it was found, while it is made right."""
        self.begin()
        try:
            yield
        finally:
            self.close()
            self._found = self._state()

    def _rewrite(self, rows: np.ndarray) -> None:
        """Replace the file by one that holds these records only."""
        header, records = _header(self.identity, self.width), self.records
        with atomic_file(self.path, replace=True) as part, part.open("wb") as stream:
            stream.write(header)
            for begin in range(0, len(rows), 1024):
                stream.write(records[rows[begin : begin + 1024]].tobytes())
        self._place = len(header), len(rows)


def difference(path: Path, identity: Mapping[str, Any]) -> str:
    """How the features of a file differ from those of an identity, in words; "" for no file, an empty or the same one.

    Raises InputError for a file of something else.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the path of a file to keep features in")
    if not path.exists() or not path.stat().st_size:
        return ""
    return _difference(_read_header(path)[0], identity)


def _difference(found: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    keys = [*identity, *sorted(found.keys() - identity.keys() - {"width"})]
    changed = [key for key in keys if found.get(key) != identity.get(key)]
    if not changed:
        return ""
    key = changed[0]
    if key == "weights":
        return "of other weights"
    return f"made with {key} {found.get(key)}, now it is {identity.get(key)}"


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The identity that the file tells, and where its records begin. Raises InputError."""
    with path.open("rb") as stream:
        begin = stream.read(len(MAGIC) + LONGEST_HEADER)
    if not begin.startswith(MAGIC):
        raise InputError(f"{path}: is not a file of kept features, it begins with {begin[:16]!r}; name another one")
    line, end, _ = begin[len(MAGIC) :].partition(b"\n")
    try:
        found = json.loads(line)
        if not end or type(found["width"]) is not int or found["width"] < 1:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: its second line is damaged, so it cannot be used; remove it") from None
    return found, len(MAGIC) + len(line) + 1


def records_of(path: Path) -> np.ndarray:
    """The whole records of a file, mapped, whatever their identity. Raises InputError for a file that is none."""
    if not path.is_file():
        raise InputError(f"{path}: is not a file; one that tools/suspects.py --features kept is needed")
    found, start = _read_header(path)
    kind = record_type(found["width"])
    return np.memmap(path, kind, "r", start, ((path.stat().st_size - start) // kind.itemsize,))


def fingerprint(identity: Mapping[str, Any]) -> str:
    """SHA-256 of an identity, in hexadecimal."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def record_type(width: int) -> np.dtype:
    """A record of the file, of ``width`` features."""
    return np.dtype([("about", ABOUT), ("features", "<f2", (width,)), ("crc", "<u4")])


def _header(identity: Mapping[str, Any], width: int) -> bytes:
    return MAGIC + json.dumps({**identity, "width": width}, sort_keys=True).encode() + b"\n"


def _crcs(records: np.ndarray) -> np.ndarray:
    """CRC-32 of each record but for its own field, uint32 (n,)."""
    size = records.dtype.itemsize
    values = np.empty(len(records), np.uint32)
    for i in range(len(records)):
        values[i] = zlib.crc32(records[i : i + 1].tobytes()[: size - 4])
    return values
