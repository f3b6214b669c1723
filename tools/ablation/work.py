"""Several runs of the benchmark at once, stopped together in good order."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass

from tools.ablation.children import Children
from tools.ablation.methods import Run
from tools.ablation.results import Results
from tools.ablation.runs import ChildFailed, Record, perform, tell
from urnet.core.checks import InputError
from urnet.core.cli import BAD_INPUT


@dataclass(frozen=True)
class Work:
    """A run and the last of its stages that is wanted."""

    run: Run
    until: str


def carry_out(work: Sequence[Work], results: Results, children: Children, jobs: int) -> None:
    """Do all work, ``jobs`` runs at a time. A run that fails does not keep the others from going on.

    At Ctrl-C, SIGTERM or an error of this process the children save and end, then it is raised; a second
    signal ends them at once. Runs that failed are raised at the end: InputError or RuntimeError.
    """

    def one(item: Work) -> None:
        record = Record(item.run, results.lists, results.truth)
        perform(item.run, item.until, record, children, results.truth, results.add)

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        futures = [pool.submit(one, item) for item in work]
        try:
            failed = _failures(futures)
        except BaseException:
            tell("stopping: the trainings at work save first")
            _stop(futures, children)
            raise
    if failed:
        kind = InputError if all(failure.code == BAD_INPUT for failure in failed) else RuntimeError
        raise kind(f"{len(failed)} of {len(work)} runs failed: {failed[0]}")


def _failures(futures: Sequence[Future]) -> list[ChildFailed]:
    """Wait for all; what children failed of is returned, any other error is raised."""
    failed = []
    for future in as_completed(futures):
        error = future.exception()
        if isinstance(error, ChildFailed):
            tell(f"failed: {error}")
            failed.append(error)
        elif error is not None:
            raise error
    return failed


def _stop(futures: Sequence[Future], children: Children) -> None:
    for future in futures:
        future.cancel()
    children.stop()
    try:
        wait(futures)
    except BaseException:
        children.stop()
        raise
