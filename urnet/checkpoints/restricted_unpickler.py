"""Python's unpickler held to plain data: it imports nothing, and few bytes of a file cannot become many.

``pickle`` imports and calls whatever a file names. Here a name is looked up in the caller's table of builders,
and a first pass over the opcodes, which builds nothing, refuses what plain data does not need: opcodes that
call or import in other ways, lengths beyond the file's, keys that are not text, sparse memos.
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from collections.abc import Callable, Collection, Mapping
from typing import Any, BinaryIO, NamedTuple

Builders = Mapping[str, Callable[..., Any]]  # "module.name" -> what a call of that name builds
MOST_OPCODES = 1_000_000  # some 25,000 arrays; an opcode of one byte can build an object of 64
_PLAIN_DATA = """
    PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT SHORT_BINUNICODE
    BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8 EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1
    TUPLE2 TUPLE3 SETITEM SETITEMS APPEND APPENDS MEMOIZE BINPUT LONG_BINPUT BINGET LONG_BINGET
    GLOBAL STACK_GLOBAL REDUCE BUILD
"""
_PLAIN = frozenset(_PLAIN_DATA.split())
_OUTSIDE = _PLAIN | {"BINPERSID", "NEWOBJ"}  # where arrays are kept outside the pickle
_PYTHON_2 = _PLAIN | {"BINSTRING", "SHORT_BINSTRING"}  # its texts
_LONGEST_LINE = 1024
_SPARE_PLACES = 16  # Python 2 counts from 1
_TEXT, _MARK, _SMALL = "text", "mark", "small"  # small: a number of at most two bytes


class Refused(Exception):
    """The file asks for something outside plain data."""


def short(value: Any) -> str:
    """A value of the file for an error message: text cut to 60 characters, else only its type."""
    if not isinstance(value, str):
        return f"a {type(value).__name__}"
    return repr(value if len(value) <= 60 else value[:60] + "…")


class Inert:
    """What stands for an object that is not looked at: it can be made and filled, and keeps nothing."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __new__(cls, *_: Any) -> Inert:
        return super().__new__(cls)

    def _ignore(self, *_: Any) -> None:
        pass

    __setstate__ = __setitem__ = append = extend = _ignore


class RestrictedUnpickler(pickle.Unpickler):
    """Loads one pickle of dicts (with text as keys), lists, tuples, text, bytes, numbers and what ``builders`` make.

    ``stream`` is a file that can seek; the pickle must fill it from its position to its end. A builder may
    be given at most twice the file's bytes, characters and items in total. An object that it returns takes a
    state from the file if it has ``__setstate__``; ``Inert`` in place of a builder stands for a class whose objects
    are passed over. ``persistent_load`` gives the object of a persistent identifier (what PyTorch's files keep their
    arrays under); without it they are refused. Files that have them may also have what a training script keeps
    beside: dicts with numbers below 65,536 as keys, and objects made the new way. ``python_2``: a file of
    Python 2, whose texts are bytes, may be read; they become text in which every character is one byte.
    """

    def __init__(
        self,
        stream: BinaryIO,
        builders: Builders,
        *,
        persistent_load: Callable[[Any], Any] | None = None,
        python_2: bool = False,
    ) -> None:
        start, check = stream.tell(), _Check(stream)
        check.run(_OUTSIDE if persistent_load else _PYTHON_2 if python_2 else _PLAIN)
        stream.seek(start)
        super().__init__(stream, encoding="latin1")
        self._builders, self._identified, self._budget = builders, persistent_load, 2 * check.size

    def load(self) -> Any:
        """The object. Raises Refused for what is not plain data."""
        try:
            return super().load()
        except (
            ArithmeticError,
            AttributeError,
            EOFError,
            LookupError,
            MemoryError,
            TypeError,
            ValueError,
            pickle.UnpicklingError,
        ) as error:
            raise Refused(f"{type(error).__name__}: {error}") from None

    def find_class(self, module: str, name: str) -> Any:
        """What the file may call under this name; nothing is ever imported."""
        known = f"{module}.{name}"
        if known not in self._builders:
            raise Refused(f"it asks for {short(known)}")
        if self._builders[known] is Inert:
            return Inert
        return NamedBuilder(known, self._builders[known], self._spend)

    def persistent_load(self, identifier: Any) -> Any:
        """The object of a persistent identifier."""
        if self._identified is None:
            raise Refused("it refers to data outside the file")
        return self._identified(identifier)

    def _spend(self, arguments: tuple) -> None:
        self._budget -= sum(len(part) for part in arguments if isinstance(part, (bytes, str, tuple, list, dict)))
        if self._budget < 0:
            raise Refused("it repeats the same data until it is many times larger than the file")


def pickle_end(data: bytes, start: int) -> int:
    """Where the pickle of plain data (persistent identifiers allowed) ends that begins at ``start``."""
    check = _Check(io.BytesIO(memoryview(data)[start:]))
    check.run(_OUTSIDE, alone=False)
    return len(data) - check.left


class NamedBuilder:
    """A builder as the file sees it: it can be called, and not be changed."""

    __slots__ = ("_build", "_spend", "name")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str, build: Callable[..., Any], spend: Callable[[tuple], None]) -> None:
        self.name, self._build, self._spend = name, build, spend

    def __call__(self, *arguments: Any) -> Any:
        self._spend(arguments)
        return self._build(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise Refused("it gives a state to something that takes none")


class _Opcode(NamedTuple):
    """What the check needs of an opcode, out of Python's own table."""

    name: str
    width: int  # bytes of the number its argument is or begins with; 0: none
    counted: bool  # whether so many bytes as the number says follow it
    to_mark: bool  # whether it takes everything above the newest mark, and the mark
    taken: int  # objects that it takes besides
    left: list[str]  # kinds of what it leaves on the stack

    @classmethod
    def of(cls, opcode: pickletools.OpcodeInfo) -> _Opcode:
        n = opcode.arg.n if opcode.arg else 0
        to_mark = pickletools.markobject in opcode.stack_before
        kinds = {pickletools.pyunicode: _TEXT, pickletools.markobject: _MARK}
        left = [kinds.get(kind, "other") for kind in opcode.stack_after]
        left = [_SMALL] if opcode.name in ("BININT1", "BININT2") else left
        left = [_TEXT] if opcode.name in _PYTHON_2 - _PLAIN else left
        width = {-2: 1, -3: 4, -4: 4, -5: 8}.get(n, n)  # pickletools' TAKEN_FROM_ARGUMENT1, 4, 4U and 8U
        return cls(opcode.name, width, n < -1, to_mark, len(opcode.stack_before) - 2 * to_mark, left)


_OPCODES = {opcode.code.encode("latin1"): _Opcode.of(opcode) for opcode in pickletools.opcodes}


class _Check:
    """Goes through the opcodes from here to the file's end, which must be one pickle, and builds nothing.

    The stack is followed as far as is needed to know that keys are text: a number or a tuple can be chosen to
    make a dict slow, and a deep tuple to end the process. A memo place beyond those in use would be reserved
    by Python with all that lie below it.
    """

    def __init__(self, stream: BinaryIO) -> None:
        start = stream.tell()
        self.size = self.left = stream.seek(0, os.SEEK_END) - start
        stream.seek(start)
        self.stream = stream
        self.stack: list[str] = []  # kinds: text, mark, small or other
        self.memo: dict[int, str] = {}
        self.keys: tuple[str, ...] = (_TEXT,)

    def run(self, allowed: Collection[str], *, alone: bool = True) -> None:
        """Raise Refused for other opcodes than the allowed ones, and for what is said above.

        ``alone`` False: more may follow behind the pickle, ``left`` bytes.
        """
        self.keys = (_TEXT, _SMALL) if "NEWOBJ" in allowed else (_TEXT,)
        for _ in range(MOST_OPCODES):
            opcode = _OPCODES.get(self._read(1))
            if opcode is None:
                raise Refused("it holds an unknown opcode")
            if opcode.name not in allowed:
                outside = " (data kept outside the pickle, as PyTorch does)" if "PERSID" in opcode.name else ""
                whole = "; give the whole .pth file that torch.save wrote, not a part of it" if outside else ""
                raise Refused(f"it uses the opcode {opcode.name}{outside}{whole}")
            number = self._argument(opcode)
            if opcode.name == "STOP":
                if (self.left and alone) or len(self.stack) != 1:
                    raise Refused("it does not end with one object")
                return
            try:
                self._follow(opcode, number)
            except LookupError:
                raise Refused("it is broken: its stack runs empty, or a mark or memo is missing") from None
        raise Refused(f"it has more than {MOST_OPCODES} opcodes")

    def _read(self, n: int) -> bytes:
        self._claim(n)
        return self.stream.read(n)

    def _claim(self, n: int) -> None:
        if n > self.left:
            raise Refused("it ends early")
        self.left -= n

    def _argument(self, opcode: _Opcode) -> int:
        """The number that the argument is or begins with; what follows it is passed over."""
        if opcode.name == "GLOBAL":  # two lines
            for _ in range(2):
                line = self.stream.readline(_LONGEST_LINE)
                if not line.endswith(b"\n"):
                    raise Refused("it ends early, or in a long name")
                self._claim(len(line))
            return 0
        number = int.from_bytes(self._read(opcode.width), "little")
        if opcode.counted:
            self._claim(number)
            self.stream.seek(number, os.SEEK_CUR)
        elif opcode.name == "FRAME" and number > self.left:
            raise Refused("it ends early")
        return number

    def _follow(self, opcode: _Opcode, number: int) -> None:
        stack, memo = self.stack, self.memo
        if opcode.name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            place = len(memo) if opcode.name == "MEMOIZE" else number
            if place > 2 * len(memo) + _SPARE_PLACES:
                raise Refused("it leaves many places of its memo empty")
            memo[place] = stack[-1]
            return
        if opcode.name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[number])
            return
        keys = stack[-2:-1] if opcode.name == "SETITEM" else []
        if opcode.to_mark:
            at = len(stack) - 1
            while stack[at] != _MARK:
                at -= 1
            keys = stack[at + 1 :: 2] if opcode.name == "SETITEMS" else []
            del stack[at:]
        if any(key not in self.keys for key in keys):
            raise Refused("a dict with a key that is not text")
        if len(stack) < opcode.taken:
            raise LookupError
        del stack[len(stack) - opcode.taken :]
        stack.extend(opcode.left)
