"""Text lists of lines `path number`, read in blocks with array operations, never a line at a time.

Accepted are UTF-8 with or without a byte order mark, both line ends, empty lines and comments (`#` first).
The number comes after the last blank, so paths may hold blanks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.core.checks import InputError

BLOCK_BYTES = 32 << 20  # about 700,000 lines of a WebVision list
_NEWLINE, _HASH, _MINUS, _ZERO = 10, 35, 45, 48
_BLANK = np.isin(np.arange(256), np.frombuffer(b" \t\r", np.uint8))  # carriage return: the end of a CRLF line


@dataclass(frozen=True)
class Lines:
    """n lines: ``path`` (Arrow strings), ``number`` int64 (-1 none), ``line`` int64 (counted from 1)."""

    path: Any
    number: np.ndarray
    line: np.ndarray

    def __len__(self) -> int:
        return len(self.line)

    def part(self, start: int, stop: int) -> Lines:
        """Lines start to stop, as views."""
        return Lines(self.path.slice(start, stop - start), self.number[start:stop], self.line[start:stop])


def read_lines(
    file: str | Path,
    *,
    what: str = "label",
    low: int = 0,
    high: int | None = None,
    needed: bool = True,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[Lines]:
    """Yield a list's lines block by block; memory is a few times ``block_bytes``.

    ``what`` names the number in messages; ``low`` to ``high`` is accepted. With ``needed`` false a line whose
    last word is no integer is a path alone (number -1), and -1 itself means none. Raises InputError with file
    and line for the first line that is not UTF-8, has no path, leaves the root, or has a bad number.
    """
    first = 1
    for block in _blocks(Path(file), block_bytes):
        _check_text(file, block, first)
        lines = _split(file, block, first, what, low, high, needed)
        if len(lines):
            _check_inside(file, lines)
            yield lines
        first += block.count(b"\n")


def aligned(
    one: Iterator[Lines], other: Iterator[Lines], one_name: str, other_name: str
) -> Iterator[tuple[Lines, Lines]]:
    """Pair two lists line for line, whatever their blocks are. Raises InputError when one is longer."""
    a = b = None
    count = 0
    while True:
        a, b = a or next(one, None), b or next(other, None)
        if a is None or b is None:
            break
        n = min(len(a), len(b))
        yield a.part(0, n), b.part(0, n)
        a, b, count = a.part(n, len(a)), b.part(n, len(b)), count + n
    n_one = count + len(a or ()) + sum(map(len, one))
    n_other = count + len(b or ()) + sum(map(len, other))
    if n_one != n_other:
        raise InputError(f"{one_name} has {n_one} lines but {other_name} has {n_other}; they go line for line")


def read_text(file: str | Path, accepted: str) -> str:
    """A small text file as a whole. Raises InputError, which says what is ``accepted``, where it is not UTF-8."""
    try:
        return Path(file).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        line = 1 + error.object[: error.start].count(b"\n")
        raise InputError(f"{file}:{line}: is not UTF-8 text; {accepted}") from None


def strings_between(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> Any:
    """An Arrow string array of data[start:end], for ascending spans without overlap. ``data`` is uint8."""
    edges = np.zeros(len(data) + 1, np.int8)
    filled = ends > starts
    edges[starts[filled]] += 1
    edges[ends[filled]] -= 1
    inside = np.cumsum(edges[:-1], dtype=np.int8).view(bool)
    offsets = np.zeros(len(starts) + 1, np.int32)
    np.cumsum(ends - starts, out=offsets[1:])
    return pa.StringArray.from_buffers(len(starts), pa.py_buffer(offsets), pa.py_buffer(data[inside]))


def _blocks(file: Path, block_bytes: int) -> Iterator[bytes]:
    """A file's bytes in blocks of whole lines, each with its last newline; without a byte order mark."""
    rest = b""
    try:
        with file.open("rb") as stream:
            rest = stream.read(3)
            rest = b"" if rest == b"\xef\xbb\xbf" else rest
            while chunk := stream.read(block_bytes):
                cut = chunk.rfind(b"\n") + 1
                if cut:
                    yield rest + chunk[:cut]
                    rest = chunk[cut:]
                else:
                    rest += chunk
                if len(rest) > max(block_bytes, 1 << 16):
                    raise InputError(f"{file}: a line is longer than {len(rest) >> 10} KiB; is this a list?")
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    if rest:
        yield rest + b"\n"


def _check_text(file: Any, block: bytes, first: int) -> None:
    try:
        block.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first + block.count(b"\n", 0, error.start)
        raise InputError(
            f"{file}:{line}: found the byte 0x{block[error.start]:02x}, which is not UTF-8; UTF-8 is accepted"
        ) from None
    if (place := block.find(0)) >= 0:
        raise InputError(f"{file}:{first + block.count(10, 0, place)}: found a zero byte; text is accepted")


def _split(file: Any, block: bytes, first: int, what: str, low: int, high: int | None, needed: bool) -> Lines:
    """Lines of one block. The first bad line is an error."""
    data = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(data == _NEWLINE)
    starts = np.concatenate([[0], ends[:-1] + 1])
    ends = _without_trailing_blanks(data, starts, ends)
    kept = np.flatnonzero((ends > starts) & (data[starts] != _HASH))
    line, starts, ends = first + kept, starts[kept], ends[kept]
    if not len(kept):
        return Lines(pa.array([], pa.string()), np.empty(0, np.int64), line)

    blanks = np.flatnonzero(_BLANK[data])
    place = np.searchsorted(blanks, ends) - 1
    split = np.where(place >= 0, blanks[place], -1) if len(blanks) else np.full(len(ends), -1)
    number, numeric = _integers(data, split + 1, ends)
    has = (split >= starts) & numeric

    def word(i: int) -> str:
        return block[max(split[i] + 1, starts[i]) : ends[i]].decode()

    top = np.iinfo(np.int32).max if high is None else high
    outside = has & ((number < low) | (number > top)) & ~((number == -1) & (not needed))
    accepted = f"{low}..{top}" if high is not None else f"an integer from {low}"
    tests = [(outside, lambda i: f"{what} {word(i)} is outside; accepted: {accepted}")]
    if needed:
        lone, no_number = split < starts, (split >= starts) & ~numeric
        tests.append((lone, lambda i: f"found {word(i)!r} without a {what}; accepted: `path {what}`"))
        tests.append((no_number, lambda i: f"{what} {word(i)!r} is no integer; accepted: `path {what}`, {accepted}"))
    _refuse_first(file, line, tests)
    path_ends = np.where(has, _without_trailing_blanks(data, starts, np.where(has, split, ends)), ends)
    _refuse_first(file, line, [(path_ends <= starts, lambda i: f"no path before {what} {word(i)}")])
    return Lines(strings_between(data, starts, path_ends), np.where(has, number, -1), line)


def _refuse_first(file: Any, line: np.ndarray, tests: list[tuple[np.ndarray, Callable[[int], str]]]) -> None:
    """Raise for the earliest line that fails any of the tests (mask of failures, message of a row)."""
    failures = [(int(np.argmax(mask)), message) for mask, message in tests if mask.any()]
    if failures:
        row, message = min(failures, key=lambda failure: failure[0])
        raise InputError(f"{file}:{line[row]}: {message(row)}")


def _without_trailing_blanks(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """``ends`` moved back over blanks, not further than ``starts``."""
    ends = ends.copy()
    active = np.arange(len(ends))
    while len(active):
        left = ends[active]
        active = active[(left > starts[active]) & _BLANK[data[left - 1]]]
        ends[active] -= 1
    return ends


def _integers(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values of decimal words (a minus sign allowed, at most 10 digits) and which of them are such."""
    negative = data[np.minimum(starts, len(data) - 1)] == _MINUS
    starts = starts + negative
    length = ends - starts
    good = (length >= 1) & (length <= 10)
    value = np.zeros(len(starts), np.int64)
    for k in range(int(length[good].max()) if good.any() else 0):
        active = np.flatnonzero(good & (length > k))
        digit = data[starts[active] + k].astype(np.int64) - _ZERO
        value[active] = 10 * value[active] + digit
        good[active] &= (digit >= 0) & (digit <= 9)
    return np.where(negative, -value, value), good


def _check_inside(file: Any, lines: Lines) -> None:
    """Refuse absolute paths and parts `..`: a list cannot name files outside the folder it was given."""
    absolute = pc.starts_with(lines.path, "/")
    suspects = pc.match_substring(lines.path, "..")
    bad = absolute
    if pc.any(suspects).as_py():
        bad = pc.or_(absolute, pc.match_substring_regex(lines.path, r"(^|/)\.\.(/|$)"))
    if pc.any(bad).as_py():
        row = pc.index(bad, True).as_py()
        raise InputError(
            f"{file}:{lines.line[row]}: path {lines.path[row].as_py()!r} leaves its folder; "
            f"accepted: a relative path without `{os.pardir}`"
        )
