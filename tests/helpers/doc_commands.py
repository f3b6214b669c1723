"""The commands of README.md, docs/ and the recipes' heads: place, program, flags, and the program's real parser."""

import argparse
import importlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = r"(python|sh|pip|visualdl|curl|docker|paddle2onnx|\.|export|[A-Z_]+=\S+)"
STARTS = re.compile(rf"(\$ )?{PROGRAMS} ")
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
INLINE = re.compile(r"`((?:[A-Z_]+=\S+ )*(?:python|sh|pip) [^`]*)`")
LAUNCHER = "paddle.distributed.launch"


@dataclass(frozen=True)
class Command:
    """``words`` of a command line, without environment variables and comments.

    A synopsis (``[--flag]``, ``…``, ``a | b``, or a command named inside a sentence) has no whole command
    line: it is only told what flags it names.
    """

    page: str
    line: int
    words: tuple[str, ...]
    synopsis: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {' '.join(self.words)}"

    @property
    def program(self) -> str:
        """``train.py``, ``tools/bench.py``, ``sh run.sh``, ``pip`` …; of the launcher, what it launches."""
        words = self.words
        if words[0] != "python":
            return " ".join(words[:2]) if words[0] in ("sh", ".") else words[0]
        if words[1:3] == ("-m", LAUNCHER):
            return next((word for word in words if word.endswith(".py")), LAUNCHER)
        return words[2] if words[1] == "-m" else words[1]

    @property
    def arguments(self) -> list[str]:
        """What the program is given."""
        first = {"python": self.program, "sh": self.words[1:2], "pip": "pip"}.get(self.words[0], self.words[0])
        place = self.words.index(first if isinstance(first, str) else first[0])
        return list(self.words[place + 1 :])

    @property
    def flags(self) -> list[str]:
        """The flags, each once, sorted; values are dropped."""
        found = (re.match(r"(--[\w-]+|-[a-zA-Z])(?==|$)", word.strip("[]")) for word in self.arguments)
        return sorted({match[1] for match in found if match})

    @property
    def shape(self) -> str:
        """What decides which test runs it: launcher, program and flags; of others than Python all words."""
        if self.words[0] != "python":
            return " ".join(self.words)
        launched = "launch " if LAUNCHER in self.words else ""
        first = self.arguments[:1] if self.program == "tools/bench.py" else []
        return launched + " ".join([self.program, *first, *self.flags])


def commands() -> list[Command]:
    """All of them: in fenced and indented blocks, and those named inside sentences."""
    return [command for page in PAGES for command in _of_page(page)]


def head_of(recipe: Path) -> list[str]:
    """The lines of a recipe's first comment, without `#` and without the names of its parts (`command:`)."""
    lines = recipe.read_text(encoding="utf-8").split("\n\nname: ")[0].splitlines()
    return [re.sub(r"^# ?(source|data|cost|expected|command):", "", line).lstrip("# ") for line in lines]


def head_commands(recipe: Path) -> Iterator[Command]:
    """Those of a recipe's head: a line of their own, or after a colon."""
    lines, open_line = head_of(recipe), 0
    for number, line in enumerate(lines, 1):
        found = re.search(r"(?:^|: )(?:[A-Z_]+=\S+ )*(?:python|sh) ", line)
        if found and number > open_line:
            text, open_line = _whole(lines, number)
            yield read_command(recipe.relative_to(ROOT).as_posix(), number, text[found.start() :].lstrip(": "))


def _of_page(page: Path) -> Iterator[Command]:
    name, language, open_line = page.relative_to(ROOT).as_posix(), None, 0
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if line.startswith("```"):
            language = None if language is not None else line[3:].strip()
            continue
        code = (language is not None and language != "python") or line.startswith("    ")
        if not code:
            for text in INLINE.findall(line):
                yield read_command(name, number, text, inline=True)
        elif number > open_line:
            text, open_line = _whole(lines, number)
            shell = language in ("sh", "bash") and text.strip() and not text.lstrip().startswith("#")
            if shell or STARTS.match(text.lstrip()):
                yield read_command(name, number, text)


def _whole(lines: list[str], number: int) -> tuple[str, int]:
    """A command from line ``number`` (from 1) on with its continuation lines, and the last one's number."""
    text = lines[number - 1]
    while number < len(lines) and (text.endswith("\\") or re.match(r" +\[-", lines[number])):
        text, number = f"{text.rstrip(chr(92))} {lines[number].strip()}", number + 1
    return text, number


def read_command(page: str, line: int, text: str, inline: bool = False) -> Command:
    """One command line, joined; ``inline``: named inside a sentence."""
    text = text.strip().removeprefix("$ ").replace("$(hostname)", "HOST")
    synopsis = inline or bool(re.search(r"\[[-A-Zt]|…|\.\.\.| \| ", text))
    words = text.split("  #")[0].split() if synopsis else shlex.split(text, comments=True)
    while re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return Command(page, line, tuple(words), synopsis)


class _Captured(Exception):
    pass


def parser_of(command: Command) -> argparse.ArgumentParser:
    """The real parser of a Python program: the one its ``main`` asks, which gets no farther."""
    file = ROOT / command.program
    with pytest.MonkeyPatch.context() as patch:
        captured: list[argparse.ArgumentParser] = []

        def parse_known_args(self: argparse.ArgumentParser, *_: object) -> None:
            captured.append(self)
            raise _Captured

        patch.syspath_prepend(str(file.parent))  # as Python does for a script
        patch.setattr(argparse.ArgumentParser, "parse_known_args", parse_known_args)  # every way to parse ends there
        module = importlib.import_module(command.program.removesuffix(".py").replace("/", "."))
        with pytest.raises(_Captured):
            module.main(command.arguments)
    return captured[0]


def parsed(command: Command) -> argparse.Namespace | None:
    """The arguments as the program's own parser reads them; None for ``--help``. SystemExit: it refuses."""
    try:
        return parser_of(command).parse_args(command.arguments)
    except SystemExit as end:
        if end.code == 0:
            return None
        raise
