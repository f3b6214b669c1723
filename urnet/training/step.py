"""One step of training: the state it changes, its outcome, and the function itself."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle

from urnet.config.recipe import Transform
from urnet.config.stage import Stage
from urnet.nn.compiled import compile_forward
from urnet.nn.ema import Ema
from urnet.nn.flat_parameters import FlatParameters
from urnet.nn.network import Network
from urnet.nn.normalise import Normalise
from urnet.nn.optimizer import clip_gradients, load_optimizer, make_optimizer, optimizer_arrays
from urnet.nn.trained_part import TrainedPart
from urnet.runtime.device_to_host import Download, Downloads
from urnet.runtime.host_to_device import Uploads, on_gpu
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from urnet.training.loss_scaler import LossScaler
from urnet.training.objective import RowNotes, StepInput, loss_of, mixed_images
from urnet.training.pair_objective import pair_loss
from urnet.training.passes import Passes, step_passes
from urnet.training.sender import Sender
from urnet.training.teacher import taught_memory


@dataclass(frozen=True)
class StepOutcome:
    """What a step came to, over all processes, and the notes on this one's rows.

    ``figures`` float32 (3,) are on their way to the host: the loss, in how many processes some gradient was not finite,
    and the share of rows that the gate let through (0 without one). Asking for one waits for the step; whoever
    launches the next one first keeps the device at work.
    """

    figures: Download
    rows: RowNotes = field(default_factory=RowNotes)
    passes: Passes = Passes()  # that this process's images made

    @property
    def loss(self) -> float:
        """Σ w l / Σ w of all rows; with a gate, of those that it let through."""
        return float(self.figures.value()[0])

    @property
    def not_finite(self) -> bool:
        """Whether some gradient was not finite."""
        return bool(self.figures.value()[1] > 0)

    @property
    def open_share(self) -> float:
        """Of the rows, those that the gate let through."""
        return float(self.figures.value()[2])


class TrainState:
    """All that training changes: network, optimiser, loss scaling and moving average.

    ``network`` is the bare one (of a stage of two networks their ``Pair``); ``model`` is the same behind the
    normalisation of uint8 images, or the part of it that the stage trains, which takes kept activations. ``amp`` is
    None, "float16" or "bfloat16". With several processes in ``group`` all of them hold the same: gradients are summed.
    Only batch norm's running statistics differ until ``average_statistics``.
    """

    def __init__(
        self,
        network: Network,
        stage: Stage,
        transform: Transform,
        amp: str | None = None,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self.network, self.stage, self.amp, self.group = network, stage, amp, group
        whole = stage.train == "all"
        self.model: Any = Normalise(network, transform.mean, transform.std)
        if not whole:
            self.model = TrainedPart(network, stage.train)
        self.parallel = self.model if group.is_single else group.data_parallel(self.model)
        # after the processes have been given the same weights
        self.flat = FlatParameters(network, pair=bool(stage.pair), classifier_apart=stage.optimizer.classifier_lr != 1)
        self.optimizer = make_optimizer(self.flat, stage.optimizer)
        self.scaler = LossScaler(f"stage {stage.name}", Downloads(group), enable=amp == "float16")
        self.ema = Ema(self.flat, stage.ema.decay) if stage.ema else None
        self._statistics = [value for value in network.state_dict().values() if value.stop_gradient] if whole else []
        self._one, self.uploads, self.downloads = paddle.ones([1]), Uploads(), Downloads(group)
        self._statistics_differ = False  # between the processes
        # gloo would abort the process when another ends during the backward pass, and has nothing to overlap
        alone = group.is_single or getattr(network, "recompute", False)
        self.overlap = on_gpu() and not alone

    def compile(self) -> None:
        """From now on the model computes as one program, whose backward pass is one operation: there is nothing that an
        exchange of gradients could overlap with."""
        compile_forward(self.model)
        self.overlap = False

    def autocast(self) -> Any:
        """The context in which the network runs in the chosen number format."""
        if self.amp is None:
            return contextlib.nullcontext()
        return paddle.amp.auto_cast(dtype=self.amp, level="O1")

    def backward(self, loss: paddle.Tensor, *, last: bool) -> None:
        """Add the gradient of a micro-batch's loss; after the ``last`` the vectors of ``flat`` have that of all rows.

        Only that one exchanges anything: while it is still computing (``overlap``), or afterwards, on the CPU, of a
        program, and with recomputation, whose own backward pass Paddle's overlap does not follow.
        """
        if not self.overlap:
            self.scaler.scale(loss).backward()
        else:  # Paddle takes the mean over processes where the sum is wanted
            self.scaler.scale(loss * self.group.size).backward()
        if last:
            self.flat.gather_gradients()
            if not self.overlap:
                for vector in self.flat.vectors:
                    self.group.all_reduce_(vector.grad_)

    def exchanging(self, *, last: bool) -> Any:
        """The context of a micro-batch's forward and backward pass."""
        if self.group.is_single or (last and self.overlap):
            return contextlib.nullcontext()
        return self.parallel.no_sync()

    @paddle.no_grad()
    def average_statistics(self) -> None:
        """Batch norm's running statistics become their means over all processes, which all call this.

        Before evaluation and saving that is enough: they are linear in what the batches give, and training itself does
        not look at them. (DivideMix's guesses do; it has them averaged after every step.)
        """
        if self._statistics_differ:
            self.group.all_mean_(self._statistics)
        self._statistics_differ = False

    def step_done(self) -> None:
        """Another batch has moved the running statistics, in each process one of its own."""
        self._statistics_differ = not self.group.is_single
        if self.stage.dividemix is not None:
            self.average_statistics()

    @paddle.no_grad()
    def figures(self, loss: paddle.Tensor, not_finite: paddle.Tensor, opened: paddle.Tensor | None) -> Download:
        """A StepOutcome's, from this process's share of the loss and of the open rows (B,), in one exchange."""
        share = paddle.zeros([]) if opened is None else opened.mean() / self.group.size
        return self.downloads(self.group.all_reduce_(paddle.stack([loss, not_finite, share])))

    @paddle.no_grad()
    def gradients_not_finite(self) -> paddle.Tensor:
        """1 where some gradient is not finite, else 0: a float32 scalar on the device."""
        gradients = [vector.grad_ for vector in self.flat.vectors]
        _, found = paddle._C_ops.check_finite_and_unscale_(gradients, self._one, paddle.zeros([1], "bool"))
        return found.astype("float32").squeeze()

    @paddle.no_grad()
    def scale_gradients(self, weights: paddle.Tensor, opened: paddle.Tensor) -> paddle.Tensor:
        """Divide by the weight of the ``opened`` rows (B,) instead of all rows' ``weights`` (B,); the factor.

        Which rows are open is known only when every micro-batch has been seen. Without any, all stays 0.
        """
        total, kept = self.group.all_reduce_(paddle.stack([weights.sum(), (weights * opened).sum()]))
        factor = total / paddle.where(kept > 0, kept, paddle.ones([]))
        for vector in self.flat.vectors:
            vector.grad_.multiply_(factor)
        return factor

    def apply_gradients(self, lr: float) -> None:
        """Unscale and clip the gradients, move the weights, forget the gradients."""
        self.optimizer.set_lr(lr)
        if self.stage.optimizer.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            for vectors in self.flat.of_networks():
                clip_gradients(vectors, self.stage.optimizer.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update(self.optimizer)
        self.optimizer.clear_grad(set_to_zero=False)

    def weights(self) -> dict[str, np.ndarray]:
        """The network's weights and buffers as they are now, by state-dict key."""
        return {name: value.numpy() for name, value in self.network.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """What ``checkpoint.save`` keeps next to the weights: optimizer, extra, and scaler for state.json."""
        scaler = {key: np.asarray(value).tolist() for key, value in self.scaler.state_dict().items()}
        return {
            "optimizer": optimizer_arrays(self.optimizer, self.flat),
            "extra": {"ema": self.ema.weights()} if self.ema else {},
            "scaler": scaler,
        }

    def load_state(self, optimizer: dict, extra: dict, scaler: dict) -> None:
        """Restore what ``state`` returned (the weights are the caller's)."""
        load_optimizer(self.optimizer, self.flat, optimizer)
        if self.ema is not None:
            self.ema.load(extra.get("ema", {}))
        if scaler:
            self.scaler.load_state_dict({**scaler, "scale": np.array(scaler["scale"], np.float32)})


def train_step(state: TrainState, data: StepInput, lr: float, step: int) -> StepOutcome:
    """Step ``step`` (from 0) of training: moves the weights in ``state``.

    The gradient is that of Σ w l / Σ w over the whole step, summed over its micro-batches and processes; with
    a gate both sums are over the rows that it lets through.
    """
    state.parallel.train()
    state.uploads.begin()
    data = dataclasses.replace(data, send=Sender(state.uploads))
    stage, found = state.stage, []
    total = float(data.weight.sum(dtype=np.float64)) if data.total is None else data.total
    passes, loss, auxiliary_weight = Passes(), paddle.zeros([]), getattr(state.network, "auxiliary_weight", 0.0)
    unit = stage.bags.size if stage.bags else 1
    parts = list(micro_batches(len(data.labels), stage.accumulate, unit))
    if stage.elr is not None and stage.elr.teacher == "average":
        data = dataclasses.replace(data, taught=taught_memory(state, data, parts))
        passes += Passes(forward=len(data.labels))
    for number, part in enumerate(parts, 1):
        last = number == len(parts)
        with state.exchanging(last=last):
            if data.pair is not None:
                part_loss, notes = pair_loss(state, data, part, total), RowNotes()
            else:
                with state.autocast():
                    output = state.parallel(mixed_images(data, part))
                part_loss, notes = loss_of(stage, output, data, part, total, auxiliary_weight)
            state.backward(part_loss, last=last)
        divided = data.pair is not None and data.pair.clean is not None
        passes += step_passes(stage, divided) * (part.stop - part.start)
        loss = loss + part_loss.detach()
        found.append(notes)
    rows = RowNotes.joined(found)
    if rows.opened is not None:
        loss = loss * state.scale_gradients(data.send.rows(data.weight, slice(0, len(data.weight))), rows.opened)
    figures = state.figures(loss, state.gradients_not_finite(), rows.opened)
    state.apply_gradients(lr)
    state.step_done()
    if state.ema is not None:
        state.ema.update(step + 1)
    return StepOutcome(figures, rows, passes)


def micro_batches(n_rows: int, parts: int, unit: int = 1) -> Iterator[slice]:
    """Cut ``n_rows`` into at most ``parts`` slices of equal length (the last may be shorter), never inside a
    group of ``unit`` rows."""
    size = -(-n_rows // (parts * unit)) * unit
    return (slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size))
