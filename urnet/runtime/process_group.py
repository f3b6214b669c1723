"""The processes of a run, started by ``python -m paddle.distributed.launch``, and how they communicate.

Paddle's collective communication carries everything: NCCL between GPUs, gloo between CPUs. In a run of one
process every operation returns its argument and Paddle's communication is never set up.
"""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from urnet.core import cli
from urnet.core.checks import InputError
from urnet.core.cli import Terminated
from urnet.core.signals import Interrupted
from urnet.runtime import refusals
from urnet.runtime.watchdog import Watchdog

if TYPE_CHECKING:
    import paddle

REFUSED_SECONDS = 3.0  # how long a refused process waits to learn whether the main one says the same
VERDICT_SECONDS = 10.0  # how long a failed operation waits to learn which process ended
LAUNCHER = ("PADDLE_TRAINER_ID", "PADDLE_TRAINER_ENDPOINTS", "PADDLE_MASTER")  # variables it sets
GRADIENTS_MB = 32, 1  # exchanged at once: usually, and in the last exchange, which nothing hides (fleet's values)
PARTING_SECONDS = 5.0  # how long process 0 stays for the others' last look
POLL_SECONDS = 0.02, 0.25  # between two looks at a process that is waited for: at first, and after a while


class PeerLost(SystemExit):
    """Another process of the run has ended, which ends this one; the Watchdog printed which and why."""


class ProcessGroup:
    """``rank`` 0..size - 1 of ``size`` processes; the main one (rank 0) writes files and reports.

    Every operation must be called by all processes, in the same order. ``store``: Paddle's key-value store,
    which the processes of a run share; gloo's own waiting ends after 30 s, and columns may take hours.
    """

    def __init__(self, rank: int = 0, size: int = 1, store: Any = None) -> None:
        self.rank, self.size, self.is_main, self.is_single = rank, size, rank == 0, size == 1
        self._store, self._waits = store, 0
        self.watchdog: Watchdog | None = None

    def barrier(self) -> None:
        """Wait until all processes are here, however long that takes."""
        if self.is_single:
            return
        self._waits += 1
        key, pause = f"urnet/wait/{self._waits}", POLL_SECONDS[0]
        here = self._store.add(key, 1)
        while here < self.size:
            time.sleep(pause)
            self.check_peers()
            pause = min(2 * pause, POLL_SECONDS[1])
            here = self._store.add(key, 0)

    def part(self, seconds: float = PARTING_SECONDS) -> None:
        """Wait for all as ``barrier`` does, for the last time: no process may use the store afterwards.

        It ends with process 0, which therefore stays until all have seen that all are here, ``seconds`` at most.
        """
        if self.is_single:
            return
        self.barrier()
        key, give_up = "urnet/parted", time.monotonic() + seconds
        if not self.is_main:
            with contextlib.suppress(RuntimeError):  # process 0 may be gone before it has answered
                self._store.add(key, 1)
            return
        while self._store.add(key, 0) < self.size - 1 and time.monotonic() < give_up:
            time.sleep(POLL_SECONDS[0])

    def _device_done(self) -> None:
        """Wait until the device has done what was launched, looking at the watchdog: Paddle's exchange of objects
        begins with an upload that would wait for it with Python's lock held."""
        import paddle

        from urnet.runtime.device_to_host import Downloads

        Downloads(self)(paddle.zeros([1])).value()

    def check_peers(self) -> None:
        """Raise PeerLost if another process of the run is known to have ended; never waits."""
        if self.watchdog is not None and self.watchdog.lost():
            raise PeerLost(self.watchdog.exit_code)

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """The block runs in process 0, then in the others: they find what it has written."""
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()

    @staticmethod
    def data_parallel(model: paddle.nn.Layer) -> paddle.nn.Layer:
        """The model, whose gradients Paddle exchanges while it still computes others: in the group of all exchanges."""
        import paddle

        return paddle.DataParallel(model, comm_buffer_size=GRADIENTS_MB[0], last_comm_buffer_size=GRADIENTS_MB[1])

    def all_reduce_(self, tensor: paddle.Tensor) -> paddle.Tensor:
        """The tensor, which becomes the sum over all processes; on the device, without waiting for it."""
        if not self.is_single:
            import paddle

            paddle.distributed.all_reduce(tensor)
        return tensor

    def all_mean_(self, tensors: Sequence[paddle.Tensor]) -> None:
        """Every tensor (float32) becomes its mean over all processes, in one exchange."""
        if self.is_single or not tensors:
            return
        import paddle

        flat = self.all_reduce_(paddle.concat([tensor.flatten() for tensor in tensors])) / self.size
        sizes = [int(np.prod(tensor.shape)) for tensor in tensors]
        for tensor, mean in zip(tensors, paddle.split(flat, sizes), strict=True):
            tensor.set_value(mean.reshape(tensor.shape))

    def all_concat(self, tensor: paddle.Tensor) -> paddle.Tensor:
        """The tensors of all processes, of one shape (n, …), one after the other by rank: (size n, …)."""
        if self.is_single:
            return tensor
        import paddle

        parts: list[Any] = []
        paddle.distributed.all_gather(parts, tensor)
        return paddle.concat(parts)

    def all_sum(self, array: np.ndarray) -> np.ndarray:
        """Integers: the exact sum over all processes, int64."""
        if self.is_single:
            return array
        from urnet.runtime.device_to_host import Downloads
        from urnet.runtime.host_to_device import to_tensor

        self.barrier()
        return Downloads(self)(self.all_reduce_(to_tensor(np.asarray(array, np.int64)))).value()

    def all_gather(self, value: Any) -> list[Any]:
        """Every process's value, by rank: arrays, or whatever can be pickled."""
        if self.is_single:
            return [value]
        import paddle

        self._device_done()
        self.barrier()
        values: list[Any] = []
        paddle.distributed.all_gather_object(values, value)
        return values

    def broadcast(self, value: Any) -> Any:
        """Process 0's value."""
        if self.is_single:
            return value
        import paddle

        self._device_done()
        self.barrier()
        box = [value]
        paddle.distributed.broadcast_object_list(box, src=0)
        return box[0]


SINGLE_PROCESS = ProcessGroup()


def launched() -> int:
    """How many processes the launcher started (1 without it). Raises InputError for half of its variables."""
    text = os.environ.get("PADDLE_TRAINERS_NUM") or "1"
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"PADDLE_TRAINERS_NUM: found {text!r}; the launcher sets it to a number above 0")
    missing = [name for name in LAUNCHER if not os.environ.get(name)]
    if int(text) > 1 and missing:
        raise InputError(
            f"PADDLE_TRAINERS_NUM: found {text}, but {missing[0]} is not set; start several processes with python "
            "-m paddle.distributed.launch"
        )
    return int(text)


@contextlib.contextmanager
def open_process_group(device: str) -> Iterator[ProcessGroup]:
    """The group of this process, for the time of the block; ``device``: "cpu" or "gpu".

    The other processes learn of an error that leaves the block and end as well: with PeerLost, after a line on
    stderr that names the process and the reason.
    """
    if launched() == 1:
        yield SINGLE_PROCESS
        return
    group = _join(device)
    watchdog = group.watchdog = Watchdog(group.rank, group.size, _main_host(), group.broadcast)
    try:
        yield group
        group.part()
    except BaseException as error:
        refused = isinstance(error, InputError)
        patience = REFUSED_SECONDS if refused and not group.is_main else _patience(error)
        lost = watchdog.lost(patience) if patience else None
        watchdog.leave(lost or _one_line(error), refused=refused)
        if lost is not None and (not refused or lost.endswith(f": {_one_line(error)}")):
            raise PeerLost(watchdog.exit_code) from None
        error.met = True  # type: ignore[attr-defined]  # the others know of it (urnet.runtime.refusals)
        raise
    watchdog.leave()


def _join(device: str) -> ProcessGroup:
    """Set up Paddle's communication between the processes, without its warnings."""
    if device == "cpu":
        os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"
    if cli.is_main():
        refusals.say("")
    import paddle

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # not fleet.init: it makes further groups, each of them a communicator of its own, whose kernels NCCL may let
        # wait for each other for ever; with this one alone all exchange in one order
        paddle.distributed.init_parallel_env()
    distributed, store = paddle.distributed, paddle.base.core.create_or_get_global_tcp_store()
    return ProcessGroup(distributed.get_rank(), distributed.get_world_size(), store)


def _main_host() -> str:
    """The address of process 0's machine, as the launcher gave it to all processes."""
    return os.environ["PADDLE_TRAINER_ENDPOINTS"].split(",")[0].rpartition(":")[0]


def _patience(error: BaseException) -> float:
    """Seconds to wait for the report of another process's end, which may have caused this error; 0: it did not."""
    if isinstance(error, InputError):
        return 0.0
    if isinstance(error, (RuntimeError, ValueError, PeerLost)):  # what Paddle raises when its communication fails
        return VERDICT_SECONDS
    return 1.0 if isinstance(error, (Terminated, Interrupted)) else 0.0  # the launcher ends all then


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
