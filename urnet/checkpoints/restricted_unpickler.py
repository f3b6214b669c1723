"""Follows a pickle of plain data; Python's own unpickler runs what a file asks for, this one cannot.

It knows the opcodes that data of dicts, lists, tuples, text, bytes and numbers need. Where the file names a
callable, the name is looked up in the caller's table of builders; nothing is imported or searched. Anything
else is refused.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
Builders = Mapping[str, Callable[..., Any]]
_ARGUMENT = {
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
    "SHORT_BINBYTES",
    "BINBYTES",
    "BINBYTES8",
}
_NEW: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Refused(Exception):
    """The file asks for something outside plain data."""


def short(value: Any) -> str:
    """A value of the file for an error message: text cut to 60 characters, else only its type."""
    if not isinstance(value, str):
        return f"a {type(value).__name__}"
    return repr(value if len(value) <= 60 else value[:60] + "…")


def put(target: dict, items: Sequence[Any]) -> dict:
    """Put key, value, key, value ... into ``target``; keys are text, each there once."""
    if len(items) % 2:
        raise Refused("a dict with a key but no value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) is not str or key in target:
            raise Refused(f"a dict with the key {short(key)} twice, or one that is no text")
        target[key] = value
    return target


class Name:
    """A builder's name on the stack; the file cannot reach or change the builder itself."""

    def __init__(self, name: str, builders: Builders) -> None:
        if name not in builders:
            raise Refused(f"it asks for {short(name.replace(' ', '.'))}")
        self.name = name


class _Bounded:
    """Reads that never ask for more than the file has left (a length in the file may claim anything)."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream, self.left = stream, size

    def read(self, n: int) -> bytes:
        if not 0 <= n <= self.left:
            raise Refused("it ends early")
        self.left -= n
        return self.stream.read(n)

    def readline(self) -> bytes:
        line = self.stream.readline(1024)
        self.left -= len(line)
        return line


class Machine:
    """One pickle's stack and memo. An object with ``set_state(state)`` takes the state the file gives it."""

    def __init__(self, stream: BinaryIO, size: int, builders: Builders) -> None:
        self.stream, self.builders = _Bounded(stream, size), builders
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each mark
        self.memo: dict[int, Any] = {}
        # What builders may still be given: a file names its data once or twice, else few bytes become many.
        self.room = 2 * size

    def run(self) -> Any:
        """The one object the pickle describes. Raises Refused, or ValueError and its kin for broken bytes."""
        while True:
            opcode = _OPCODES.get(self.stream.read(1).decode("latin1"))
            if opcode is None:
                raise Refused("it holds an unknown opcode")
            if opcode.name == "STOP":
                if self.stream.left or self.below or len(self.stack) != 1:
                    raise Refused("it does not end with one object")
                return self.stack.pop()
            self._step(opcode)

    def _step(self, opcode: Any) -> None:
        name, step = opcode.name, _STEPS.get(opcode.name)
        if step is None and name not in _ARGUMENT and name not in _NEW and name not in _TUPLES:
            raise Refused(f"it uses the opcode {name}")
        argument = opcode.arg.reader(self.stream) if opcode.arg is not None else None
        if step is not None:
            step(self, argument)
        elif name in _TUPLES:
            self.stack.append(tuple(self._take(_TUPLES[name])))
        else:
            self.stack.append(argument if name in _ARGUMENT else _NEW[name]())

    def _take(self, n: int) -> list[Any]:
        """Take the top ``n`` objects off the stack."""
        if len(self.stack) < n:
            raise Refused("its stack runs empty")
        items = self.stack[-n:]
        del self.stack[-n:]
        return items

    def _take_to_mark(self) -> list[Any]:
        """Take everything above the newest mark, and the mark."""
        if not self.below:
            raise Refused("it has no mark where one is needed")
        items, self.stack = self.stack, self.below.pop()
        return items

    def _spend(self, parts: Any) -> None:
        """Count what a builder is given, which it may copy: bytes, characters, items."""
        if isinstance(parts, tuple):
            self.room -= sum(len(part) for part in parts if isinstance(part, (bytes, str, tuple, list, dict)))
        if self.room < 0:
            raise Refused("it uses the same data over and over, to become many times larger than it is")

    def _top(self, kind: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise Refused(f"it has no {kind.__name__} where one is needed")
        return self.stack[-1]

    def _mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _memoize(self, at: Any) -> None:
        self.memo[len(self.memo) if at is None else at] = self._take(1)[0]
        self.stack.append(self.memo[len(self.memo) - 1 if at is None else at])

    def _get(self, at: int) -> None:
        self.stack.append(self.memo[at])

    def _tuple(self, _: Any) -> None:
        items = self._take_to_mark()
        self.stack.append(tuple(items))

    def _set_item(self, _: Any) -> None:
        items = self._take(2)
        put(self._top(dict), items)

    def _set_items(self, _: Any) -> None:
        items = self._take_to_mark()
        put(self._top(dict), items)

    def _append(self, _: Any) -> None:
        items = self._take(1)
        self._top(list).extend(items)

    def _appends(self, _: Any) -> None:
        items = self._take_to_mark()
        self._top(list).extend(items)

    def _global(self, name: str) -> None:
        self.stack.append(Name(name, self.builders))

    def _stack_global(self, _: Any) -> None:
        module, name = self._take(2)
        self._global(f"{module} {name}" if isinstance(module, str) and isinstance(name, str) else "")

    def _reduce(self, _: Any) -> None:
        name, arguments = self._take(2)
        if not isinstance(name, Name) or type(arguments) is not tuple:
            raise Refused("it calls something that is no known builder")
        self._spend(arguments)
        self.stack.append(self.builders[name.name](*arguments))

    def _build(self, _: Any) -> None:
        (state,) = self._take(1)
        if not self.stack or not hasattr(self.stack[-1], "set_state"):
            raise Refused("it gives a state to something that takes none")
        self._spend(state)
        self.stack[-1].set_state(state)


def _nothing(machine: Machine, _: Any) -> None:
    """PROTO and FRAME only announce what follows."""


_STEPS: dict[str, Callable[[Machine, Any], None]] = {
    "PROTO": _nothing,
    "FRAME": _nothing,
    "MARK": Machine._mark,
    "TUPLE": Machine._tuple,
    "MEMOIZE": Machine._memoize,
    "BINPUT": Machine._memoize,
    "LONG_BINPUT": Machine._memoize,
    "BINGET": Machine._get,
    "LONG_BINGET": Machine._get,
    "SETITEM": Machine._set_item,
    "SETITEMS": Machine._set_items,
    "APPEND": Machine._append,
    "APPENDS": Machine._appends,
    "GLOBAL": Machine._global,
    "STACK_GLOBAL": Machine._stack_global,
    "REDUCE": Machine._reduce,
    "BUILD": Machine._build,
}
