"""Text lists of lines `path number`, read in blocks with array operations, never a line at a time.

Accepted are UTF-8 with or without a byte order mark, UTF-16 with one, the line ends LF, CRLF and CR, empty lines
and comments (`#` first), which are counted on stderr. The number comes after the last blank, so paths may hold blanks.
What people write otherwise, commas, headers and names, ``urnet.data.lists.labelled_list`` reads.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.core.checks import InputError, counts_from_one
from urnet.core.cli import is_main

BLOCK_BYTES = 32 << 20  # about 700,000 lines of a WebVision list
HEAD_BYTES = 1 << 16  # of a list's begin, from which its encoding, line ends and form are told
SHOWN = 60  # characters of a line in a message
BLANKS = b" \t\r"  # carriage return: the end of a CRLF line
_NEWLINE, _RETURN, _HASH, _MINUS, _ZERO = 10, 13, 35, 45, 48
_NO_TEXT = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook; save it as CSV",
    b"\x1f\x8b": "compressed by gzip; unpack it",
    b"\xff\xfe\0\0": "UTF-32 text; save it as UTF-8",
    b"\0\0\xfe\xff": "UTF-32 text; save it as UTF-8",
}


def byte_mask(values: bytes) -> np.ndarray:
    """bool (256,): True at these byte values."""
    return np.isin(np.arange(256), np.frombuffer(values, np.uint8))


_BLANK = byte_mask(BLANKS)


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
    last word is not an integer is a path alone (number -1), and -1 itself means none. Raises InputError with file
    and line for the first line that is not text, has no path, leaves the root, or has a bad number.
    """
    comments = Comments(file)
    with open_text(file) as text:
        for first, block in text.blocks(block_bytes):
            rows = comments.leave_out(split_lines(file, first, block))
            lines = numbered(rows, what, low, high, needed)
            if len(lines):
                _check_inside(file, lines)
                yield lines
    comments.say()


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
        raise InputError(f"{one_name} has {n_one} lines but {other_name} has {n_other}; their lines must correspond")


def read_text(file: str | Path, accepted: str) -> str:
    """A small text file as a whole: UTF-8, or UTF-16 with a byte order mark; its lines end in newlines.

    Raises InputError, which says what is ``accepted``, where it is neither.
    """
    try:
        data = Path(file).read_bytes()
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            data = data.decode("utf-16").encode()
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
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


class Text:
    """An opened list: its ``head``, whole lines of UTF-8 that end in newlines, and all of it in ``blocks``."""

    def __init__(self, file: str | Path, stream: Any) -> None:
        self._file, self._stream = file, stream
        head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
        for magic, found in _NO_TEXT.items():
            if head.startswith(magic):
                raise InputError(f"{file}: is {found}; a list is UTF-8 text, one image per line")
        self._decoder = None
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            self._decoder = codecs.getincrementaldecoder("utf-16")
            head = self._decoder("replace").decode(head).encode("utf-8", "replace")
        elif head.startswith(codecs.BOM_UTF8):
            head = head[3:]
            stream.read(3)
        self._returns = b"\n" not in head and b"\r" in head  # old Mac text
        if self._returns:
            head = head.replace(b"\r", b"\n")
        if re.match(rb"\s*<(!doctype|html|\?xml)", head, re.IGNORECASE):
            raise InputError(f"{file}: is an HTML or XML page; a list is text, one image per line")
        if re.match(rb'\s*(\[\s*)?\{\s*"', head):
            raise InputError(f"{file}: is JSON; a list is text, one image per line: `path label`, or CSV")
        self.head: bytes = head[: head.rfind(b"\n") + 1] or head

    def blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, bytes]]:
        """(number of the first line, bytes) in blocks of whole lines, each with its last newline.

        Raises InputError for what is not text, and for a line longer than any block.
        """
        first, rest = 1, b""
        for chunk in self._chunks(block_bytes):
            cut = chunk.rfind(b"\n") + 1
            if cut:
                block = rest + chunk[:cut]
                _check_text(self._file, block, first)
                yield first, block
                first += block.count(b"\n")
                rest = chunk[cut:]
            else:
                rest += chunk
            if len(rest) > max(block_bytes, 1 << 16):
                raise InputError(f"{self._file}: a line is longer than {len(rest) >> 10} KiB; is this a list?")
        if rest:
            _check_text(self._file, rest, first)
            yield first, rest + b"\n"

    def _chunks(self, block_bytes: int) -> Iterator[bytes]:
        decoder = self._decoder() if self._decoder else None
        while True:
            chunk = self._stream.read(block_bytes)
            ended = not chunk
            if decoder is not None:
                try:
                    chunk = decoder.decode(chunk, ended).encode()
                except UnicodeError as error:
                    raise InputError(
                        f"{self._file}: is not valid UTF-16 text ({error}); save the list as UTF-8"
                    ) from None
            if chunk:
                yield chunk.replace(b"\r", b"\n") if self._returns else chunk
            if ended:
                return


@contextlib.contextmanager
def open_text(file: str | Path) -> Iterator[Text]:
    """A list's text. Raises InputError where it cannot be opened or read, or is plainly no text."""
    try:
        with Path(file).open("rb", buffering=HEAD_BYTES) as stream:
            yield Text(file, stream)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None


def _check_text(file: Any, block: bytes, first: int) -> None:
    try:
        block.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first + block.count(b"\n", 0, error.start)
        raise InputError(
            f"{file}:{line}: found the byte 0x{block[error.start]:02x}, which is not UTF-8; UTF-8 is accepted, and "
            "UTF-16 with a byte order mark: save the list as UTF-8 (Excel: CSV UTF-8)"
        ) from None
    if (place := block.find(0)) >= 0:
        raise InputError(
            f"{file}:{first + block.count(10, 0, place)}: found a zero byte; text is accepted: save the list as UTF-8"
        )


@dataclass(frozen=True)
class Rows:
    """Lines of a block that are not empty: ``data[starts:ends]`` each, without blanks at its end; numbers ``line``."""

    file: str
    block: bytes
    data: np.ndarray
    line: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.line)

    @property
    def hashed(self) -> np.ndarray:
        """bool (n,): which lines begin with `#`."""
        return self.data[self.starts] == _HASH

    def text(self, i: int) -> str:
        """The i-th of these lines."""
        return self.block[self.starts[i] : self.ends[i]].decode()

    def where(self, kept: np.ndarray) -> Rows:
        """The lines of a mask or of indices."""
        return Rows(self.file, self.block, self.data, self.line[kept], self.starts[kept], self.ends[kept])

    def refuse_first(self, tests: list[tuple[np.ndarray, Callable[[int], str]]], after: str = "") -> None:
        """Raise InputError for the earliest line that fails any test (mask of failures, message of a line)."""
        failures = [(int(np.argmax(mask)), message) for mask, message in tests if mask.any()]
        if failures:
            row, message = min(failures, key=lambda failure: failure[0])
            raise InputError(f"{self.file}:{self.line[row]}: {message(row)}{after}")


def split_lines(file: str | Path, first: int, block: bytes) -> Rows:
    """The lines of a block whose first has the number ``first``. Raises InputError for a line break inside one."""
    data = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(data == _NEWLINE)
    starts = np.concatenate([[0], ends[:-1] + 1])
    ends = trimmed_ends(data, starts, ends)
    kept = np.flatnonzero(ends > starts)
    rows = Rows(str(file), block, data, first + kept, starts[kept], ends[kept])
    if b"\r" in block and block.count(b"\r") > block.count(b"\r\n"):
        returns = np.flatnonzero(data == _RETURN)
        inside = np.searchsorted(returns, rows.starts) < np.searchsorted(returns, rows.ends)
        rows.refuse_first(
            [
                (
                    inside,
                    lambda i: f"found a carriage return inside {shown(rows.text(i))}; one image per line is accepted",
                )
            ]
        )
    return rows


class Comments:
    """The lines that begin with `#`, so that none is left out in silence."""

    def __init__(self, file: str | Path) -> None:
        self._file, self.count, self._first = file, 0, ""

    def leave_out(self, rows: Rows, is_row: Callable[[str], bool] | None = None) -> Rows:
        """The other lines, and those of ``is_row``; what is left out is counted."""
        hashed = np.flatnonzero(rows.hashed)
        if is_row is not None:
            hashed = hashed[[not is_row(rows.text(i)) for i in hashed.tolist()]] if len(hashed) else hashed
        if not len(hashed):
            return rows
        if not self.count:
            self._first = f"line {rows.line[hashed[0]]}, {shown(rows.text(int(hashed[0])))}"
        self.count += len(hashed)
        kept = np.ones(len(rows), bool)
        kept[hashed] = False
        return rows.where(kept)

    def say(self) -> None:
        """The count and the first of them, on stderr."""
        if self.count and is_main():
            what = "lines that begin with `#` are" if self.count > 1 else "line that begins with `#` is"
            said = f"note: {self._file}: {self.count} {what} left out as comments"
            print(f"{said}: {self._first}" + (" …" if self.count > 1 else ""), file=sys.stderr)


def shown(text: str) -> str:
    """A line's text in a message: quoted, shortened."""
    return repr(text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…")


def numbered(
    rows: Rows,
    what: str,
    low: int,
    high: int | None,
    needed: bool,
    outside_words: Callable[[str, str], str] | None = None,
    after: str = "",
) -> Lines:
    """Lines whose number stands after the last blank. The first bad line is an error.

    ``outside_words(word, accepted)`` says that a number is out of range; ``after`` ends every message.
    """
    data, starts, ends = rows.data, rows.starts, rows.ends
    if not len(rows):
        return Lines(pa.array([], pa.string()), np.empty(0, np.int64), rows.line)
    blanks = np.flatnonzero(_BLANK[data])
    place = np.searchsorted(blanks, ends) - 1
    split = np.where(place >= 0, blanks[place], -1) if len(blanks) else np.full(len(ends), -1)
    number, numeric = integers(data, split + 1, ends)
    has = (split >= starts) & numeric

    def word(i: int) -> str:
        return rows.block[max(split[i] + 1, starts[i]) : ends[i]].decode()

    top, accepted = highest(high)
    outside = has & ((number < low) | (number > top)) & ~((number == -1) & (not needed))
    accepted = accepted.format(low=low)
    words = outside_words or (lambda word, accepted: f"{what} {word} is outside; accepted: {accepted}")
    hint = from_one(number[has], top) if outside.any() else ""
    tests = [(outside, lambda i: words(word(i), accepted) + hint)]
    if needed:
        lone, no_number = split < starts, (split >= starts) & ~numeric
        tests.append((lone, lambda i: f"found {shown(word(i))} without a {what}; accepted: `path {what}`"))
        tests.append(
            (no_number, lambda i: f"{what} {shown(word(i))} is not an integer; accepted: `path {what}`, {accepted}")
        )
    rows.refuse_first(tests, after)
    path_ends = np.where(has, trimmed_ends(data, starts, np.where(has, split, ends)), ends)
    rows.refuse_first([(path_ends <= starts, lambda i: f"no path before {what} {word(i)}")], after)
    return Lines(strings_between(data, starts, path_ends), np.where(has, number, -1), rows.line)


def highest(high: int | None) -> tuple[int, str]:
    """The largest accepted number, and the words that say so."""
    top = np.iinfo(np.int32).max if high is None else high
    return top, "an integer from {low}" if high is None else f"{{low}}..{top}"


def from_one(number: np.ndarray, top: int) -> str:
    """What a message about a number above ``top`` says where all of them look as if they counted from 1."""
    hint = counts_from_one(int(number.min()), int(number.max()), top + 1)
    return f"; {hint}" if hint else ""


def trimmed_ends(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, blank: np.ndarray = _BLANK) -> np.ndarray:
    """``ends`` moved back over blanks (a mask of byte values), not further than ``starts``."""
    ends = ends.copy()
    active = np.arange(len(ends))
    while len(active):
        left = ends[active]
        active = active[(left > starts[active]) & blank[data[left - 1]]]
        ends[active] -= 1
    return ends


def integers(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
