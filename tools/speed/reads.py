"""How often a piece of work reads a tensor so that it waits for all that the device was given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

WAYS = ("numpy", "item", "tolist", "__float__", "__int__", "__bool__", "__index__", "__array__", "cpu", "cuda")


@contextlib.contextmanager
def reads() -> Iterator[list[str]]:
    """The ways in which tensors are read inside the block, in order.

    Not counted is what waits for an event alone, as ``Downloads`` do: on a GPU by its pinned memory, on a CPU, where
    all is there at once, by their call.
    """
    import paddle

    from urnet.runtime.device_to_host import Downloads

    found, plain, begin, inside = (
        list[str](),
        {way: getattr(paddle.Tensor, way) for way in WAYS},
        Downloads.__call__,
        [0],
    )

    def counted(way: str) -> Any:
        def read(tensor: Any, *arguments: Any, **named: Any) -> Any:
            if not inside[0] and not tensor.place.is_cuda_pinned_place():
                found.append(way)
            inside[0] += 1  # of a way that uses another one, the outer counts
            try:
                return plain[way](tensor, *arguments, **named)
            finally:
                inside[0] -= 1

        return read

    def download(downloads: Any, tensor: Any) -> Any:
        inside[0] += 1
        try:
            return begin(downloads, tensor)
        finally:
            inside[0] -= 1

    for way in WAYS:
        setattr(paddle.Tensor, way, counted(way))
    Downloads.__call__ = download  # type: ignore[assignment,method-assign]
    try:
        yield found
    finally:
        for way, function in plain.items():
            setattr(paddle.Tensor, way, function)
        Downloads.__call__ = begin  # type: ignore[method-assign]
