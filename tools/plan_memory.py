"""Memory that a stage's training holds, on device and host, as far as it follows from sizes.

On the device: weights, gradients, optimiser, moving average. Activations are not estimated: they depend on
the network, the micro-batch, the number format and recomputation, and are to be measured. On the host: what
grows with the rows, and the images decoded ahead; neither the interpreter nor a reweighting's own work.
"""

from __future__ import annotations

from dataclasses import dataclass

from tools.plan_network import NetworkSize
from tools.plan_stages import StagePlan
from urnet.config.recipe import Recipe, active_stages
from urnet.config.stage import Stage
from urnet.data.loading.worker_pool import CHUNK, CHUNKS_AHEAD

DRAWN, DRAWING = 4, 8  # bytes a row of an epoch's order: a process's part of it, and all while it is drawn


@dataclass(frozen=True)
class Memory:
    """Bytes of one process."""

    name: str
    weights: int
    gradients: int
    optimizer: int
    ema: int
    ema_copy: int  # while the moving average is evaluated: the live weights, kept aside
    rows_held: int  # labels, weights, order, attention, early-learning memory
    rows_most: int  # the same while an epoch's order is drawn
    images: int  # decoded ahead

    @property
    def device(self) -> int:
        """On the device, without activations."""
        return self.weights + self.gradients + self.optimizer + self.ema + self.ema_copy

    @property
    def host(self) -> int:
        """On the host, at most."""
        return self.rows_most + self.images


def memory_of(recipe: Recipe, plans: list[StagePlan], rows: int, network: NetworkSize) -> list[Memory]:
    """Of every stage that is switched on."""
    return [
        stage_memory(recipe, stage, plan, rows, network)
        for stage, plan in zip(active_stages(recipe), plans, strict=True)
    ]


def stage_memory(recipe: Recipe, stage: Stage, plan: StagePlan, rows: int, network: NetworkSize) -> Memory:
    """Of one stage."""
    parts = 1 if stage.subsets else plan.batch_size // plan.rows_a_process  # of what was drawn
    always = 4 + 4 + (4 if stage.sampling_weight else 0)  # labels, loss weights, sampling weights
    if stage.bags is not None:
        always += 4
    if stage.elr is not None:
        always += 6 * min(stage.elr.top_k, recipe.data.n_classes)
    averaged = stage.ema is not None
    return Memory(
        stage.name,
        network.weight_bytes,
        network.parameter_bytes,
        network.optimizer_bytes(stage.optimizer),
        network.parameter_bytes if averaged else 0,
        network.weight_bytes if averaged else 0,
        rows * always + rows * DRAWN // parts,
        rows * (always + DRAWING),
        decoded_bytes(recipe, plan),
    )


def decoded_bytes(recipe: Recipe, plan: StagePlan) -> int:
    """uint8 images of the loaders: batches that wait, one being filled and one in use, and workers' slots.

    The evaluation's loader stands beside the training's; the measurement's comes before both.
    """
    image, depth = 3 * recipe.transform.size**2, recipe.data.prefetch + 2
    slots = recipe.data.workers * CHUNKS_AHEAD * CHUNK
    training = depth * (plan.rows_a_process + plan.view_batch) + 2 * slots
    measuring = depth * plan.measure_batch + slots if plan.measured_rows else 0
    return image * max(training, measuring)
