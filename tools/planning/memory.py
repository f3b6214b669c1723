"""Bytes that one process holds while a stage trains, on its device and on the host."""

from __future__ import annotations

from tools.planning.counts import Counts
from tools.planning.files import Sizes
from tools.planning.network import NetworkSize
from urnet.config.recipe import Recipe
from urnet.config.stage import Stage
from urnet.data.loading.worker_pool import CHUNK, CHUNKS_AHEAD

DRAWN, DRAWING = 4, 8  # bytes a row of an epoch's rows in order: a process's part, and all while they are drawn


def device_memory(stage: Stage, network: NetworkSize) -> Sizes:
    """Bytes of one process on its device while a stage trains, as far as they follow from sizes.

    Activations are not estimated: they depend on the network, the micro-batch, the number format and recomputation,
    and are to be measured. While a moving average is evaluated, the live weights are kept aside (its swap).
    """
    n = 2 if stage.pair else 1  # networks
    parameters, weights = n * 4 * network.parameters, n * 4 * network.weights
    parts = {
        "weights": weights,
        "gradients": parameters,
        "optimiser": n * network.optimizer_bytes(stage.optimizer),
        "EMA": parameters if stage.ema else 0,
        "EMA's swap": weights if stage.ema else 0,
    }
    return {**parts, "sum on the device": sum(parts.values())}


def host_memory(recipe: Recipe, stage: Stage, counts: Counts, rows: int, processes: int) -> Sizes:
    """Bytes of one process on the host, and of all ``processes`` of a machine, while a stage trains.

    What grows with the rows, held always and while an epoch's rows are drawn, and the uint8 images decoded ahead:
    batches that wait, one being filled and one in use, and workers' slots. The evaluation's loader is next to the
    training's; the measurement's comes before both. Neither the interpreter nor a reweighting's own work.
    """
    parts = 1 if stage.subsets else counts.batch_size // counts.rows_a_process  # of what was drawn
    always = 4 + 4 + (4 if stage.sampling_weight else 0)  # labels, loss weights, sampling weights
    always += 4 if stage.bags else 0  # attention
    always += 6 * min(stage.elr.top_k, recipe.data.n_classes) if stage.elr else 0
    always += 4 + 8 * min(stage.sop.top_k, recipe.data.n_classes) if stage.sop else 0
    always += 8 if stage.dividemix else 0
    slots, depth = recipe.data.workers * CHUNKS_AHEAD * CHUNK, recipe.data.prefetch + 2
    views = stage.dividemix.views if stage.dividemix else 1
    training = depth * (views * counts.rows_a_process + counts.view_batch) + 2 * slots
    measuring = depth * counts.measure_batch + slots if counts.measured_rows else 0
    most, images = rows * (always + DRAWING), 3 * recipe.transform.size**2 * max(training, measuring)
    return {
        "rows, held": rows * always + rows * DRAWN // parts,
        "rows, at most": most,
        "images ahead": images,
        "sum on the host": most + images,
        f"x {processes} a machine": processes * (most + images),
    }
