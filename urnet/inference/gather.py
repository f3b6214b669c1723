"""The predictions of several processes, each of every n-th batch, in the images' order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, TypeVar

from urnet.evaluation.loop import Ranked, Unreadable, check_unreadable
from urnet.runtime.process_group import ProcessGroup

ROUNDS = 32  # batches of each process between two exchanges
Item = TypeVar("Item")


def share(batches: Iterator[Item], group: ProcessGroup) -> Iterator[Item]:
    """This process's batches: number rank, rank + size, and so on."""
    return islice(batches, group.rank, None, group.size)


def gather_in_order(
    predictions: Iterator[Ranked], loader: Any, group: ProcessGroup, n_batches: int, max_bad: int
) -> Iterator[tuple[Ranked, Unreadable]]:
    """All processes' predictions, batch after batch, each with the unreadable images met so far.

    ``predictions``: this process's own, of ``share`` d batches; ``n_batches``: those of all processes. All must
    call this alike. Raises InputError for more than ``max_bad`` unreadable images of all processes.
    """
    if group.is_single:
        for batch in predictions:
            yield batch, loader.bad
        return
    bad: dict[int, tuple[str, str]] = {}
    for first in range(0, n_batches, ROUNDS * group.size):
        own = list(islice(predictions, ROUNDS))
        shares = group.all_gather((own, dict(loader.bad)))
        bad = dict(sorted(item for _, met in shares for item in met.items()))
        check_unreadable(bad, len(bad), max_bad)
        for number in range(min(ROUNDS * group.size, n_batches - first)):
            turn, rank = divmod(number, group.size)
            yield shares[rank][0][turn], bad
