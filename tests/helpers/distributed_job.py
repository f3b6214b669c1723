"""What the processes of tests/end_to_end/test_distributed.py and test_launched.py do.

``steps FILE [RECIPE …]``: compare updates, statistics and gathered values with those of one process, count what the
steps of the recipes wait for, write the findings.
``train RECIPE [-o …] [--resume]``: a recipe on a network without batch norm, as train.py would.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import paddle
from paddle import nn
from paddle.distributed.communication.group import _GroupManager

from tests.helpers.counted_steps import counted
from tests.helpers.overflows import Overflowing, scaling_allowed
from tests.helpers.programs import counts as programs_of
from tests.helpers.programs import programs
from urnet.config.duration import Duration
from urnet.config.recipe import Transform
from urnet.config.remedies import CoTeaching, Elr, Gate, Loss, Sop
from urnet.config.stage import Bags, Ema, Optimizer, Stage
from urnet.core.signals import Interrupted
from urnet.nn.ema import recompute_batch_norm
from urnet.nn.pair import Pair
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.run import run_recipe
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup, open_process_group
from urnet.training.elr_memory import ElrMemory
from urnet.training.noise_memory import NoiseMemory
from urnet.training.objective import StepInput
from urnet.training.pair_objective import PairInput
from urnet.training.step import TrainState, train_step

N_CLASSES, ROWS = 5, 24
CASES = {
    "plain": {},
    "accumulated": {"accumulate": 3},
    "smoothed": {"label_smoothing": 0.1},
    "soft targets": {"targets": "label"},
    "bags": {"bags": Bags(size=3, temperature=0.5)},
    "accumulated bags": {"bags": Bags(size=3), "accumulate": 2},
    "gated": {"gate": Gate(0.3)},
    "generalised": {"loss": Loss("generalised")},
    "early": {"elr": Elr(top_k=3)},
    "taught": {"elr": Elr(top_k=3, teacher="average"), "ema": Ema(0.9), "accumulate": 2},
    "noise": {"sop": Sop(lr_u=1e6, lr_v=1e6, top_k=3)},
    "clipped": {"optimizer": Optimizer(momentum=0.9, clip_norm=0.01)},
    "co-teaching": {"co_teaching": CoTeaching(0.0), "accumulate": 2},
    "overlapping": {},
    "overlapping, accumulated": {"accumulate": 2},
    "a program, overlapping": {"accumulate": 2},  # its exchange waits for it all the same
}


class Plain(nn.Layer):
    """A network without batch norm: a large batch and its parts have the same gradient."""

    recompute = False
    feature_width = 4

    def __init__(self, n_classes: int = N_CLASSES) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2D(3, 4, 3), nn.Linear(4, n_classes)

    def features(self, x: paddle.Tensor) -> paddle.Tensor:
        """(B, 3, S, S) -> (B, 4)."""
        return nn.functional.relu(self.conv(x)).mean([2, 3])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Logits."""
        return self.fc(self.features(x))


def make_input(settings: Stage, seed: int) -> StepInput:
    """The data of one step of all processes; two rows have no weight, as if they could not be read."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, N_CLASSES, ROWS)
    if settings.bags:
        labels = np.repeat(labels[:: settings.bags.size], settings.bags.size)
    weight = rng.random(ROWS).astype(np.float32)
    weight[[1, -1]] = 0
    soft = rng.integers(0, N_CLASSES, (ROWS, 2)), rng.random((ROWS, 2)).astype(np.float32)
    images = rng.integers(0, 256, (ROWS, 8, 8, 3)).astype(np.uint8)
    return StepInput(
        images,
        labels,
        weight,
        targets=soft if settings.targets == "label" else None,
        gate=settings.gate.threshold if settings.gate else None,
        pair=PairInput(0.0, None, rng) if settings.pair else None,
    )


def part_of(data: StepInput, group: ProcessGroup) -> StepInput:
    """This process's rows, and the weight of all."""
    size = ROWS // group.size
    own = slice(group.rank * size, (group.rank + 1) * size)
    targets = None if data.targets is None else tuple(values[own] for values in data.targets)
    total = group.all_reduce_(paddle.to_tensor([float(data.weight[own].sum())], dtype="float64"))
    return dataclasses.replace(
        data,
        images=data.images[own],
        labels=data.labels[own],
        weight=data.weight[own],
        targets=targets,
        total=total[0].astype("float32"),
    )


def outcome_of(
    settings: Stage, group: ProcessGroup, overlap: bool = False, compiled: bool = False
) -> dict[str, np.ndarray]:
    """Gradients, losses, notes, weights and memory of three steps."""
    paddle.seed(1)
    network = Pair(Plain(), Plain()) if settings.pair else Plain()
    made = TrainState(network, settings, Transform(size=8), group=group)
    made.overlap = overlap
    if compiled:
        made.compile()
    memory = ElrMemory(settings.elr, ROWS, N_CLASSES, group)
    noise = NoiseMemory(settings.sop, np.arange(ROWS) % N_CLASSES, N_CLASSES, group)
    found, apply = {}, made.apply_gradients
    for step in range(3):

        def spy(lr: float, step: int = step) -> None:
            for flat in made.flat.flats:
                parts = flat.split(flat.vector.grad.numpy()).items()
                found.update({f"gradient {step} {name}": part for name, part in parts})
            apply(lr)

        made.apply_gradients = spy  # type: ignore[method-assign]
        data = make_input(settings, step)
        rows = np.arange(ROWS).reshape(group.size, -1)[group.rank]
        if not group.is_single:
            data = part_of(data, group)
        data = dataclasses.replace(data, memory=memory.of(rows), noise=noise.of(rows))
        outcome = train_step(made, data, 0.5, step)
        found[f"loss {step}"] = np.float32(outcome.loss)
        memory.take(np.arange(ROWS), outcome.rows.memory_classes, outcome.rows.memory_values)
        noise.take(np.arange(ROWS), outcome.rows.noise_slope)
        if settings.gate:
            found[f"open {step}"] = np.float32(outcome.open_share)
    found.update({f"weight {name}": value for name, value in made.weights().items()})
    for name, values in {**memory.state().get("early", {}), **noise.state().get("noise", {})}.items():
        found[f"memory {name}"] = values.astype(np.float64)
    return found


def statistics(group: ProcessGroup) -> list[np.ndarray]:
    """Batch norm's statistics over seven batches that the processes share."""
    paddle.seed(2)
    network = nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4), nn.ReLU(), nn.Conv2D(4, 2, 3), nn.BatchNorm2D(2))
    batches = [paddle.randn([4, 3, 8, 8]) for _ in range(7)]
    recompute_batch_norm(network, batches[group.rank :: group.size], group)
    return [value.numpy() for value in network.state_dict().values()]


def running_mean(group: ProcessGroup) -> list[float]:
    """A batch norm's running mean in each process after a step on different rows."""
    network = nn.Sequential(
        nn.Conv2D(3, 2, 3), nn.BatchNorm2D(2), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(2, 5)
    )
    made = TrainState(network, Stage("a", Duration(1, "epochs"), batch_size=ROWS), Transform(size=8), group=group)
    train_step(made, part_of(make_input(made.stage, 0), group), 0.1, 0)
    made.average_statistics()
    return [float(value) for value in group.all_gather(float(network[1]._mean[0]))]


def overflows(group: ProcessGroup) -> list[object]:
    """Loss scale, skipped steps and a sum of the weights of three steps, the second of which overflows in process 1."""
    with scaling_allowed():
        paddle.seed(3)
        network = Overflowing()
        stage = Stage("a", Duration(1, "epochs"), batch_size=ROWS)
        made = TrainState(network, stage, Transform(size=8), "float16", group)
        skipped, sums = [], []
        for step in range(3):
            network.overflows = step == 1 and group.rank == 1
            outcome = train_step(made, part_of(make_input(stage, step), group), 0.1, step)
            skipped.append(bool(outcome.not_finite > 0))
            sums.append(sum(float(value.sum()) for value in made.weights().values()))
    return [made.scaler.state_dict()["scale"].tolist(), skipped, sums]


def off(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a share of the largest expected value."""
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))


def compare(group: ProcessGroup) -> dict[str, object]:
    """Relative differences between all processes together and a single one, by case."""
    findings: dict[str, object] = {}
    for name, keys in CASES.items():
        settings = Stage("a", Duration(1, "epochs"), batch_size=ROWS, **{"optimizer": Optimizer(), **keys})
        ours = outcome_of(settings, group, overlap="overlapping" in name, compiled="program" in name)
        single = outcome_of(settings, SINGLE_PROCESS)
        findings[name] = {
            key: float(np.abs(ours[key] - single[key]).max() / max(np.abs(single[key]).max(), 1e-12)) for key in single
        }
    findings["statistics"] = [
        bool((a == b).all()) for a, b in zip(statistics(group), statistics(SINGLE_PROCESS), strict=True)
    ]
    findings["running mean"] = running_mean(group)
    findings["overflows"] = overflows(group)
    findings["groups"] = sorted(_GroupManager.group_map_by_id)
    findings["gathered"] = group.all_gather({"rank": group.rank})
    findings["shared"] = group.broadcast(group.rank + 10)
    findings["sum"] = group.all_sum(np.array([group.rank, 1 << 60 if group.rank else 3])).tolist()
    findings["concatenated"] = group.all_concat(paddle.full([2], group.rank)).tolist()
    return findings


def counts(group: ProcessGroup, recipes: Sequence[str]) -> dict[str, list]:
    """Of every step of each recipe, by its folder's name, but the first and the last: other reads than downloads, those
    of the step just launched, collective operations, uploads."""
    found = {}
    for path in recipes:
        recipe = load_recipe(path)
        with counted() as steps:
            run_recipe(recipe, functools.partial(Plain, recipe.data.n_classes), group=group)
        own = [(one.reads, one.newest, one.collectives, len(one.uploads)) for one in steps.counts[1:-1]]
        found[Path(path).parent.name] = own
    return found


def main(what: str, *arguments: str) -> int:
    """Do as the module says."""
    with open_process_group("cpu") as group:
        if what == "steps":
            findings = group.all_gather({**compare(group), "counts": counts(group, arguments[1:])})
            if group.is_main:
                Path(arguments[0]).write_text(json.dumps(findings))
        else:
            return trained(group, *arguments)
    if group.is_main:
        os._exit(0)  # at once, with the store that the others may still want to look into
    return 0


def trained(group: ProcessGroup, *arguments: str) -> int:
    """A recipe's stages; the exit code."""
    overrides = [argument for argument in arguments[1:] if "=" in argument]
    recipe = load_recipe(arguments[0], overrides)
    try:
        network = functools.partial(Plain, recipe.data.n_classes)
        with programs() as made:
            run_recipe(recipe, network, resume="--resume" in arguments, group=group)
        print(f"programs: {programs_of(made)}")
    except Interrupted as stopped:
        return stopped.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
