"""Plain YAML to frozen dataclasses; every key and type checked, every error names the full key."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import re
import reprlib
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from urnet.config.duration import Duration, parse_duration
from urnet.config.fields import hints_of, key_of, without_none
from urnet.config.suggest import key_paths, suggested
from urnet.core.checks import InputError

MOST_BYTES = 256 << 10  # of a recipe; those of this repository have 2 to 6 KiB


def shown(value: Any) -> str:
    """A value for a message, shortened: a few nested aliases (`*a`) can stand for billions of items."""
    brief = reprlib.Repr()
    brief.maxlevel, brief.maxstring, brief.maxother = 3, 200, 200
    return brief.repr(value)


def read_yaml(path: Path) -> dict:
    """Read one YAML mapping from a UTF-8 file. Raises InputError; a key written twice is one."""
    if path.is_dir():
        inside = f": {path / 'recipe.yaml'}" if (path / "recipe.yaml").is_file() else ""
        raise InputError(f"{path}: cannot be read, as it is a folder; a recipe is a YAML file{inside}")
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise InputError(f"{path}: has more than {MOST_BYTES >> 10} KiB; is this a recipe?")
        tree = parse_yaml(data.decode("utf-8-sig"))
    except OSError as error:
        shipped = Path("recipes") / path.name
        hint = f"; perhaps {shipped} is meant" if shipped.is_file() else ""
        raise InputError(f"{path}: cannot be read ({error.strerror}){hint}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: a mapping of keys is needed, found {type(tree).__name__}")
    return tree


def parse_yaml(text: str) -> Any:
    """Plain data out of YAML text. Raises yaml.YAMLError, and nothing else.

    The library's own readers fail in their own ways where a value does not fit its tag (`!!int x`,
    2001-99-99), and for lists a thousand deep.
    """
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise yaml.YAMLError(f"{type(error).__name__}: {error}") from None


class _UniqueKeyLoader(yaml.SafeLoader):
    """A SafeLoader that refuses a key written twice (YAML itself would keep the last in silence)."""


def _unique_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):  # a list or mapping: refused below
            continue
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {shown(key)} is given twice", node.start_mark)
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


def _bounded_integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    value = loader.construct_yaml_int(node)
    if value.bit_length() > 64:  # Python could not even print some of them
        raise yaml.constructor.ConstructorError(
            None, None, f"a whole number of {value.bit_length()} bits; up to 64 are accepted", node.start_mark
        )
    return value


def _whole_characters(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    """Text in which a character beyond 16 bits is one, as well where JSON wrote it as two escaped halves."""
    return re.sub(
        "[\ud800-\udbff][\udc00-\udfff]",
        lambda halves: halves[0].encode("utf-16", "surrogatepass").decode("utf-16"),
        loader.construct_scalar(node),
    )


_UniqueKeyLoader.add_constructor("tag:yaml.org,2002:int", _bounded_integer)
_UniqueKeyLoader.add_constructor("tag:yaml.org,2002:str", _whole_characters)
_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def override(tree: dict, text: str) -> None:
    """Apply one ``key.sub=value`` to the tree, in place; ``value`` is read as YAML.

    An item of a list is addressed by its ``name``, its number, or several at once by a pattern (``stages.*.keep``).
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"-o {text}: key.sub=value is accepted, such as -o seed=1")
    try:
        parse_yaml(value)
    except yaml.YAMLError:
        raise InputError(f"-o {text}: the value is not valid YAML") from None
    nodes: list[Any] = [tree]
    *parents, last = key.split(".")
    for depth, part in enumerate(parents):
        where = ".".join(parents[: depth + 1])
        nodes = [inner for node in nodes for inner in _below(node, part, where)]
        for node in nodes:
            if not isinstance(node, (dict, list)):
                raise InputError(f"-o {text}: {where} holds {shown(node)}, which has no keys")
    for node in nodes:
        for place in _positions(node, last, key) if isinstance(node, list) else [last]:
            node[place] = parse_yaml(value)  # anew, so that no two places share a list


def _below(node: Any, part: str, where: str) -> list[Any]:
    if isinstance(node, list):
        return [node[place] for place in _positions(node, part, where)]
    return [node.setdefault(part, {})]


def _positions(items: list, part: str, where: str) -> list[int]:
    """Places of a list's items, addressed by ``name``, by number, or by a pattern of names."""
    names = [str(item.get("name")) if isinstance(item, dict) else "" for item in items]
    if part in names:
        return [names.index(part)]
    if part.isascii() and part.isdigit() and int(part) < len(items):
        return [int(part)]
    matching = [place for place, name in enumerate(names) if fnmatch.fnmatchcase(name, part)]
    if matching:
        return matching
    accepted = f"accepted: {', '.join(n for n in names if n)}, a number, or * for all"
    raise InputError(f"{where}: {part!r} does not exist; {accepted}")


@dataclass(frozen=True)
class Reader:
    """Plain YAML data to dataclasses. ``source`` names the file in errors.

    ``methods``: the dataclass of each ``method`` of a key that is chosen by one; None: such a key stays plain data.
    ``root``: the dataclass of the whole file, whose keys an unknown one is compared with.
    """

    source: str
    methods: Mapping[str, type] | None = None
    root: type | None = None

    def build(self, kind: Any, value: Any, key: str) -> Any:
        """Turn data into ``kind``: a dataclass, Duration, scalar, Optional, Tuple, Literal, or number with words."""
        where = self._where(key)
        if kind is Duration:
            return parse_duration(value if isinstance(value, (str, int, float)) else shown(value), where)
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind, value, key)
        kind, optional = without_none(kind)
        if optional:
            return None if value is None else self.build(kind, value, key)
        options = get_args(kind)
        if get_origin(kind) is Union:  # float | Literal["auto"]: a number, or one of the words
            number, words = options[0], get_args(options[1])
            with contextlib.suppress(InputError):
                return value if value in words else self.build(number, value, key)
            raise InputError(f"{where}: found {shown(value)}; accepted: a number, or {', '.join(words)}")
        if get_origin(kind) is Literal:
            if value is False and "off" in options:  # YAML 1.1 reads a bare `off` as false
                value = "off"
            if value not in options:
                raise InputError(f"{where}: found {shown(value)}; accepted: {', '.join(map(str, options))}")
            return value
        if get_origin(kind) is tuple:
            return self._tuple(options, value, key)
        return _scalar(kind, value, where)

    def check(self, kind: type, value: Any, key: str) -> None:
        """Check keys and types as ``build`` does for a dataclass, of which some required keys may be missing."""
        hints = self._known(kind, value, key)
        for name, item in value.items():
            inner, full = without_none(hints[name])[0], f"{key}.{name}"
            if dataclasses.is_dataclass(inner) and inner is not Duration and isinstance(item, dict):
                self.check(inner, item, full)  # type: ignore[arg-type]
            else:
                self.build(hints[name], item, full)

    def _dataclass(self, kind: Any, value: Any, key: str) -> Any:
        prefix = f"{key}." if key else ""
        hints = self._known(kind, value, key)
        fields = {field.name: field for field in dataclasses.fields(kind)}
        for name, field in fields.items():
            if field.default is dataclasses.MISSING and name not in value:
                raise InputError(f"{self.source}: key {prefix}{name} is missing")
        made = {}
        for name, item in value.items():
            said = key_of(fields[name])
            if said.by_method:
                made[name] = self._chosen(item, f"{prefix}{name}")
            elif item is None and fields[name].default is None:
                made[name] = None
            else:
                made[name] = self.build(hints[name], said.plain(item) if said.plain else item, f"{prefix}{name}")
        return kind(**made)

    def _chosen(self, value: Any, key: str) -> Any:
        """The dataclass that ``method`` names, None for null."""
        if value is None or self.methods is None:
            return value if value is None else self._mapping(value, key, "method")
        self._mapping(value, key, "method")
        if not isinstance(value.get("method"), str) or value["method"] not in self.methods:
            found = f"found {shown(value['method'])}" if "method" in value else "is missing"
            raise InputError(f"{self._where(key)}.method: {found}; accepted: {', '.join(self.methods)}")
        return self.build(self.methods[value["method"]], value, key)

    def _where(self, key: str) -> str:
        return f"{self.source}: {key}" if key else self.source

    def _known(self, kind: type, value: Any, key: str) -> dict[str, Any]:
        """The types of the keys of ``kind``; ``value`` must be a mapping of some of them."""
        hints = hints_of(kind)
        self.refuse_unknown(self._mapping(value, key, next(iter(hints))), hints, key)
        return hints

    def refuse_unknown(self, tree: Mapping[Any, Any], known: Iterable[str], key: str = "") -> None:
        """Raise InputError for a key of ``tree`` that is not among the ``known`` ones; it names what may be meant."""
        known = list(known)
        for name, value in tree.items():
            if name not in known:
                full = f"{key}.{str(name)[:80]}" if key else str(name)[:80]
                paths = [f"{key}.{other}" if key else other for other in known]
                paths += [] if self.root is None else key_paths(self.root, self.methods)
                raise InputError(f"{self.source}: unknown key {full}; {suggested(full, value, paths)}")

    def _mapping(self, value: Any, key: str, first: str) -> dict:
        if not isinstance(value, dict):
            such = f"{key}.{first}" if key else first
            raise InputError(f"{self._where(key)}: a mapping of keys is needed, found {shown(value)}; such as {such}")
        return value

    def _tuple(self, options: tuple, value: Any, key: str) -> tuple:
        variable = len(options) == 2 and options[1] is Ellipsis
        if not isinstance(value, list) or not (variable or len(value) == len(options)):
            wanted = "a list" if variable else f"a list of {len(options)}"
            raise InputError(f"{self._where(key)}: {wanted} is needed, found {shown(value)}")
        kinds = [options[0]] * len(value) if variable else options
        names = [_name_of(item) or str(place) for place, item in enumerate(value)]
        places = [name if names.count(name) == 1 else str(place) for place, name in enumerate(names)]
        return tuple(
            self.build(kind, item, f"{key}.{place}") for kind, item, place in zip(kinds, value, places, strict=True)
        )


def _name_of(item: Any) -> str:
    """The name of a list's item, "" where it has none."""
    name = item.get("name") if isinstance(item, dict) else None
    return name if isinstance(name, str) and len(name) <= 80 else ""


def _scalar(kind: Any, value: Any, where: str) -> Any:
    """bool, int, float or str; 1e-3 without a dot, which YAML reads as text, is a float here."""
    if kind is float and isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        hint = (
            " (put text in quotes that YAML would read as something else: 'no')"
            if kind is str and value is not None
            else ""
        )
        raise InputError(f"{where}: {kind.__name__} is needed, found {shown(value)}{hint}")
    if kind is str and re.search("[\0\ud800-\udfff]", value):
        raise InputError(f"{where}: found {shown(value)}; zero bytes and half characters are not accepted")
    if kind is float and value != value:
        raise InputError(f"{where}: a number is needed, found nan")
    return value
