"""Work that is begun one item before its results are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

Item = TypeVar("Item")


def one_behind(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each when the one after it has been made.

    Where making an item only begins work on a device, the device has the next one to do while the caller waits for and
    uses the last. An error in making an item is raised after the item before it has been given out.
    """
    last: list[Item] = []
    try:
        for item in items:
            if last:
                yield last.pop()
            last.append(item)
    except Exception:
        yield from last
        raise
    yield from last
