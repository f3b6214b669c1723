"""What every command line shares: words for booleans, the argument block, stdout, exit codes."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import io
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from urnet.core.checks import InputError

DONE, FAILED, BAD_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


def boolean_word(text: str) -> bool:
    """Read the words True and False (any case; also yes/no, 1/0), as the 2018 release's flags take them."""
    word = text.strip().lower()
    if word in ("true", "yes", "1"):
        return True
    if word in ("false", "no", "0"):
        return False
    raise argparse.ArgumentTypeError(f"found {text!r}; True or False is accepted")


def number(kind: type[int] | type[float], least: float, *, above: bool = False) -> Callable[[str], Any]:
    """An argparse type: a finite number of ``least`` or more; with ``above``, more than ``least``."""

    def read(text: str) -> float:
        value = kind(text)
        if not (value > least if above else value >= least) or math.isinf(value):
            accepted = f"more than {least}" if above else f"{least} or more"
            raise argparse.ArgumentTypeError(f"found {text}; {accepted} is accepted")
        return value

    read.__name__ = "number"  # argparse names it where the text is none
    return read


def print_arguments(args: argparse.Namespace, stream: TextIO | None = None) -> None:
    """Print the 2018 release's block of arguments, sorted by name, right-aligned to 25 columns."""
    print("-------------  Configuration Arguments -------------", file=stream)
    for name, value in sorted(vars(args).items()):
        text = str(value).encode(errors="backslashreplace").decode()  # a file's name need not be UTF-8
        print(f"{name:>25} : {text}", file=stream)
    print("-" * 52, file=stream)


def is_main() -> bool:
    """Whether this is the process that speaks: the only one, or number 0 of those the launcher started."""
    return os.environ.get("PADDLE_TRAINER_ID") in (None, "", "0")


def several_processes() -> bool:
    """Whether the launcher started this process and others."""
    return os.environ.get("PADDLE_TRAINERS_NUM") not in (None, "", "1") and bool(os.environ.get("PADDLE_TRAINER_ID"))


def is_first_here() -> bool:
    """Whether the launcher shows what this process says: it is the first one on its machine, or the only one."""
    return os.environ.get("PADDLE_LOCAL_RANK") in (None, "", "0")


def _let_others_end_first(seconds: float = 5.0) -> None:
    """Wait to be ended, where the launcher started several processes.

    It shows all of the first one's words, and again those of the first that has ended.
    """
    if several_processes() and is_first_here():
        _wait(seconds)


def _wait(seconds: float) -> None:
    """Sleep, until SIGTERM."""
    with contextlib.suppress(Terminated), _sigterm_as_exception(anyway=True):
        time.sleep(seconds)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it comes more than once, and what is left is to end


class _Results(io.FileIO):
    """stdout, whose errors name it: a file that is written at the same time may be on another full disk."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, "standard output") from None


@contextlib.contextmanager
def results_only() -> Iterator[TextIO]:
    """Yield a stream that goes to stdout, while all else that is written there goes to stderr.

    Of several processes only process 0 has results; the stream of the others goes nowhere. Paddle's C++ code
    logs to file descriptor 1, past ``sys.stdout``. Where ``sys.stdout`` is not a file of that descriptor (a test
    that captures it), it is yielded as it is.
    """
    if not is_main():
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            yield nowhere
        return
    try:
        direct = sys.stdout.fileno() == 1
    except (OSError, ValueError):
        direct = False
    if not direct:
        yield sys.stdout
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    raw = io.BufferedWriter(_Results(kept, "w"))
    results = io.TextIOWrapper(raw, encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    try:
        yield results
        results.flush()
    finally:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
        os.dup2(kept, 1)
        with contextlib.suppress(BrokenPipeError):
            results.close()


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line on stderr and exit code 2.

    An argument that it does not know is named with the flags most like it; where none is, ``explain`` is asked what
    the argument, as typed, was meant to be ("" where it cannot tell).
    """

    explain: Callable[[str], str] = staticmethod(lambda argument: "")

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flag = next((word for word in unknown if word.startswith("-")), unknown[0])
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._meant(flag)}")
        return found

    def _meant(self, argument: str) -> str:
        flags = {_folded(flag): flag for flag in self._option_string_actions if flag.startswith("--")}
        word = _folded(argument.partition("=")[0])
        alike = difflib.get_close_matches(word, flags, cutoff=0.85) if argument.startswith("-") else []
        explained = "" if alike else self.explain(argument)
        if not alike and not explained and argument.startswith("-"):
            alike = difflib.get_close_matches(word, flags, cutoff=0.6)
        near = "nearest: " + ", ".join(flags[name] for name in alike) if alike else explained
        return f"; {near}" if near else ""

    def error(self, message: str) -> None:  # type: ignore[override]
        if is_first_here():  # the others were given the same words
            print(f"error: {self.prog}: {message} (see --help)", file=sys.stderr, flush=True)
            _let_others_end_first()
        else:
            _wait(3.0)  # for the first one to say it
        self.exit(BAD_INPUT)


def _folded(flag: str) -> str:
    return flag.strip("-").casefold().replace("-", "_")


class Terminated(BaseException):
    """SIGTERM came. Like KeyboardInterrupt it passes by `except Exception`, and files in work are removed."""


@contextlib.contextmanager
def _sigterm_as_exception(*, anyway: bool = False) -> Iterator[None]:
    """Raise Terminated at SIGTERM, where nobody else listens to it (or ``anyway``) and Python takes signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL and not anyway:
        yield
        return

    def terminate(number: int, frame: object) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _open_closed_streams() -> None:
    """Where the caller closed stdout or stderr (`>&-`), what is written there goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115


def run(main: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None = None) -> int:
    """Run ``main(argv)`` and turn its outcome into an exit code.

    0 done, 1 failed, 2 bad input (also a place that may not be read or written), 130 Ctrl-C, 143 SIGTERM.
    Errors are one line on stderr; a traceback appears only when ``--debug`` is among the arguments.
    """
    argv = sys.argv[1:] if argv is None else argv
    _open_closed_streams()
    try:
        with _sigterm_as_exception():
            return main(argv) or DONE
    except Terminated:
        print("terminated", file=sys.stderr)
        return TERMINATED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of stdout left (`| head`); nothing more can be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if "--debug" in argv:
            raise
        bad = isinstance(error, (InputError, PermissionError)) or getattr(error, "errno", 0) == errno.EROFS
        text = " ".join(str(error).split()) or type(error).__name__
        if bad and isinstance(error, OSError) and error.filename is not None:
            text = f"{os.fsdecode(error.filename)}: no permission to read or write it ({error.strerror})"
        kind = "error" if bad else f"failed: {type(error).__name__}"
        try:
            print(f"{kind}: {text}", file=sys.stderr, flush=True)
        except OSError:  # stderr is on the full disk; Python would try again at its end, and leave with 120
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        if bad:
            _let_others_end_first()
        return BAD_INPUT if bad else FAILED
