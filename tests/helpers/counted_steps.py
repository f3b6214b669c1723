"""What the host does in each step of a training: reads of the device, uploads, collective operations.

On the CPU every value is there at once. So downloads are replaced by ones that say which step they were begun in, and
every other way to read a tensor is counted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle
import pytest

from tools.speed.reads import WAYS
from urnet.runtime import device_to_host
from urnet.runtime.process_group import ProcessGroup
from urnet.training import trainer

COLLECTIVES = ("all_reduce", "all_gather", "all_gather_object", "broadcast_object_list", "broadcast")


@dataclass
class Counts:
    """Of one step: from the end of the launch before it to the end of its own."""

    reads: list[str] = field(default_factory=list)  # other ways than downloads, which wait for all that was launched
    newest: int = 0  # downloads of the step just launched that were waited for
    uploads: list[tuple[str, int]] = field(default_factory=list)  # types and bytes
    collectives: list[str] = field(default_factory=list)


class Steps:
    """The counts of all steps, in ``counts``; the last one is under way."""

    def __init__(self) -> None:
        self.counts, self.launching = [Counts()], False

    @property
    def launched(self) -> int:
        """Steps that have been launched."""
        return len(self.counts) - 1


class Late:
    """A download that is there when the next step has been launched."""

    def __init__(self, steps: Steps, array: np.ndarray) -> None:
        self.steps, self.array, self.begun = steps, array, steps.launched + steps.launching

    def ready(self) -> bool:
        return self.steps.launched > self.begun

    def value(self) -> np.ndarray:
        self.steps.counts[-1].newest += self.steps.launched <= self.begun
        return self.array


@contextlib.contextmanager
def counted() -> Iterator[Steps]:
    """Counts the steps of a ``Trainer`` inside the block."""
    steps, plain = Steps(), {name: getattr(paddle.Tensor, name) for name in (*WAYS, "set_value", "copy_")}

    def count(name: str) -> Any:
        def read(tensor: Any, *arguments: Any, **named: Any) -> Any:
            steps.counts[-1].reads.append(name)
            return plain[name](tensor, *arguments, **named)

        return read

    def set_value(tensor: Any, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            steps.counts[-1].uploads.append((str(value.dtype), value.nbytes))
        return plain["set_value"](tensor, value)

    def copy_(tensor: Any, other: Any, blocking: bool) -> Any:
        if blocking:
            steps.counts[-1].reads.append("copy_")
        return plain["copy_"](tensor, other, blocking)

    def collective(name: str, function: Any) -> Any:
        def run(*arguments: Any, **named: Any) -> Any:
            steps.counts[-1].collectives.append(name)
            return function(*arguments, **named)

        return run

    def launch(*arguments: Any, real: Any = trainer.train_step) -> Any:
        steps.launching = True
        outcome = real(*arguments)
        steps.launching = False
        steps.counts.append(Counts())
        return outcome

    def download(_: Any, tensor: Any) -> Late:
        return Late(steps, plain["numpy"](tensor).copy())

    with pytest.MonkeyPatch.context() as patch:
        for name in WAYS:
            patch.setattr(paddle.Tensor, name, count(name))
        patch.setattr(paddle.Tensor, "set_value", set_value)
        patch.setattr(paddle.Tensor, "copy_", copy_)
        for name in COLLECTIVES:
            patch.setattr(paddle.distributed, name, collective(name, getattr(paddle.distributed, name)))
        patch.setattr(ProcessGroup, "barrier", collective("barrier", ProcessGroup.barrier))
        patch.setattr(device_to_host.Downloads, "__call__", download)
        patch.setattr(trainer, "train_step", launch)
        yield steps
