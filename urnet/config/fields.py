"""The keys of a recipe: every field of a settings dataclass says its default, what it accepts and what it means.

``key`` declares one. The error messages (``check_values``) and the tables of docs/recipes.md
(``tools/recipe_docs.py``) are made from what it says, so both are right as long as the field is.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from urnet.config.duration import Duration
from urnet.core.checks import InputError

REQUIRED: Any = dataclasses.MISSING  # the default of a key that has none


@dataclass(frozen=True)
class Key:
    """What ``key`` says of a field."""

    text: str  # one line, Markdown: what the key means
    words: str  # what is accepted, "" where the type says it; {key} stands for the name
    accepts: Callable[[Any], bool] | None  # of a value that is not None; None: all that the type accepts
    added: bool  # came after recipes had been run: at its default it leaves ``recipe_hash`` as it was
    free: bool  # does not decide the outcome: a stage that is finished stays so when it changes
    by_method: bool  # a mapping whose ``method`` chooses the dataclass it is read into
    plain: Callable[[Any], Any] | None = None  # from other ways to write it in YAML to the usual one


def key(
    default: Any,
    text: str,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    infinite: bool = False,
    accepts: Callable[[Any], bool] | None = None,
    words: str = "",
    added: bool = False,
    free: bool = False,
    by_method: bool = False,
    plain: Callable[[Any], Any] | None = None,
) -> Any:
    """A dataclass field with its default (``REQUIRED``: none), a line of text and what it accepts.

    A number, or the amount of a Duration, is at least ``low`` or more than ``above``, at most ``high`` or less
    than ``below``, and finite unless ``infinite``. ``accepts`` (with ``words``) is for what a range cannot say.
    ``plain`` turns other ways to write a value into the usual one. Where the default is None null is accepted, also for
    a type without it: something fills it in before it is used.
    """
    bounds = _Bounds(low, above, high, below, infinite)
    if bounds.given:
        accepts, words = accepts or bounds, words or bounds.words
    return dataclasses.field(
        default=default, metadata={"key": Key(text, words, accepts, added, free, by_method, plain)}
    )


@dataclass(frozen=True)
class _Bounds:
    low: float | None
    above: float | None
    high: float | None
    below: float | None
    infinite: bool

    @property
    def given(self) -> bool:
        return any(end is not None for end in (self.low, self.above, self.high, self.below))

    def __call__(self, value: Any) -> bool:
        amount = value.amount if isinstance(value, Duration) else value
        return (
            (self.low is None or amount >= self.low)
            and (self.above is None or amount > self.above)
            and (self.high is None or amount <= self.high)
            and (self.below is None or amount < self.below)
            and (self.infinite or amount < math.inf)
        )

    @property
    def words(self) -> str:
        if self.below is not None:
            start = f"{self.above:g} <" if self.low is None else f"{self.low:g} <="
            return f"{start} {{key}} < {self.below:g}"
        if self.high is not None:
            return (
                f"more than {self.above:g}, up to {self.high:g}"
                if self.low is None
                else f"{self.low:g} to {self.high:g}"
            )
        return f"more than {self.above:g}" if self.low is None else f"{self.low:g} or more"


def suffix_key() -> Any:
    """The key ``suffix`` of a reweighting's settings."""
    return key(
        "",
        "of the file and its columns, where several stages use the method",
        accepts=lambda text: text == "" or bool(re.fullmatch(r"_[a-z0-9_]+", text)),
        words='"", or an underscore and lower-case letters, digits, underscores, such as _second',
    )


def key_of(field: dataclasses.Field) -> Key:
    """What was said of a field; a field that was not made by ``key`` has no text and accepts everything."""
    return field.metadata.get("key") or Key("", "", None, False, False, False)


@cache
def hints_of(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields."""
    return get_type_hints(kind)


def accepted(kind: type, field: dataclasses.Field) -> str:
    """What a field accepts, in words: for an error message and for the documentation."""
    hint, optional = without_none(hints_of(kind)[field.name])
    said = key_of(field)
    if said.words:
        return said.words.format(key=field.name) + (", or null" if optional and said.accepts else "")
    if hint is bool:
        return "true, false"
    if get_origin(hint) is Literal:
        return ", ".join(map(str, get_args(hint)))
    return "see below" if dataclasses.is_dataclass(hint) else hint.__name__


def without_none(hint: Any) -> tuple[Any, bool]:
    """The type without ``| None``, and whether it had that."""
    if get_origin(hint) is not UnionType:
        return hint, False
    return next(option for option in get_args(hint) if option is not type(None)), True


@dataclass(frozen=True)
class Need:
    """``need(good, key, found, accepted)`` raises the InputError of a key that is not ``good``.

    ``at``: the mapping that keys are in, such as ``stages.class``.
    """

    source: str
    at: str = ""

    def __call__(self, good: bool, key: str, found: Any, accepted: str) -> None:
        if not good:
            raise InputError(f"{self.source}: {self._full(key)}: found {plain(found)!r}; accepted: {accepted}")

    def under(self, key: str) -> Need:
        """The same for the keys of a mapping."""
        return Need(self.source, self._full(key))

    def _full(self, key: str) -> str:
        return f"{self.at}.{key}" if self.at else key


def plain(value: Any) -> Any:
    """A value as it is written in a recipe; a mapping only as these words."""
    if isinstance(value, Duration):
        return str(value)
    if dataclasses.is_dataclass(value):
        return "a mapping"
    return list(value) if isinstance(value, tuple) else value


def check_values(settings: Any, need: Need) -> None:
    """Raise InputError for the first value of a settings dataclass, or of one inside it, that is not accepted."""
    kind: Any = type(settings)
    for field in dataclasses.fields(kind):
        value, accepts = getattr(settings, field.name), key_of(field).accepts
        hint, _ = without_none(hints_of(kind)[field.name])
        if value is None:
            continue
        if get_origin(hint) is Literal:
            need(value in get_args(hint), field.name, value, accepted(kind, field))
        if accepts is not None:
            need(accepts(value), field.name, value, accepted(kind, field) + _of_percent(value, accepts))
        for name, part in _parts(field.name, value):
            check_values(part, need.under(name))


def _of_percent(value: Any, accepts: Callable[[Any], bool]) -> str:
    """What a number, or numbers, would be that were meant in percent; "" where that would not be accepted either."""
    several = isinstance(value, tuple)
    numbers = value if several else (value,)
    if not numbers or not all(isinstance(number, float) and 0 <= number <= 1000 for number in numbers):
        return ""
    shares = tuple(number / 100 for number in numbers)
    if max(numbers) <= 1 or not accepts(shares if several else shares[0]):
        return ""
    text = ", ".join(f"{share:g}" for share in shares)
    return f" (in percent? then {f'[{text}]' if several else text})"


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The settings inside a value: itself, or the named items of a tuple."""
    if isinstance(value, Duration):
        return
    if dataclasses.is_dataclass(value):
        yield name, value
    elif isinstance(value, tuple):
        yield from (
            (f"{name}.{item.name}", item) for item in value if dataclasses.is_dataclass(item) and hasattr(item, "name")
        )
