"""A refusal is told once: of several processes that are refused for the same reason only the main one says so.

What is refused before the processes have met is compared over the launcher's key-value store; afterwards
``open_process_group`` and the Watchdog do it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from urnet.core import cli
from urnet.core.checks import InputError

KEY = "urnet/refused"  # in the store: why process 0 was refused, "" where it was not


def told_once(main: Callable[[Sequence[str]], int | None]) -> Callable[[Sequence[str]], int | None]:
    """``main``, of whose InputErrors those that process 0 tells as well end quietly, with the same exit code."""

    @functools.wraps(main)
    def run(argv: Sequence[str]) -> int | None:
        try:
            return main(argv)
        except InputError as error:
            if cli.several_processes() and not getattr(error, "met", False):
                if cli.is_main():
                    say(str(error))
                elif not cli.is_first_here() and _main_says() == str(error):
                    raise SystemExit(cli.BAD_INPUT) from None
            raise

    return run


def say(text: str) -> None:
    """Tell the others why process 0 is refused; "" that it is not, so far."""
    _store().set(KEY, text)


def _main_says() -> str:
    """Why process 0 is refused, as soon as it is known; "" where it has ended already, and its store with it."""
    try:
        return str(_store().get(KEY).decode())
    except RuntimeError:
        return ""


def _store():  # type: ignore[no-untyped-def]
    """Paddle's store, which process 0 holds and the others reach."""
    from urnet.runtime.threads import import_paddle

    import_paddle()
    import paddle

    return paddle.base.core.create_or_get_global_tcp_store()
