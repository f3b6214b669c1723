"""The whole plan of a recipe: everything that is printed, counted."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from tools.planning.counts import Counts, counts_of
from tools.planning.files import STAYS, Artefact, Sizes, base_of, disk_of, files_of
from tools.planning.given import PUBLISHED, Given, given, listed_rows
from tools.planning.hours import FORWARD, MEASURED_STEPS, hours_of, measured_rate
from tools.planning.memory import device_memory, host_memory
from tools.planning.network import NetworkSize, network_size
from urnet.config.recipe import Recipe, active_stages
from urnet.core.checks import InputError
from urnet.data.lists.build_table import read_validation
from urnet.data.table.table import Table

ALWAYS_NOTED = """\
Learning rate: for the global batch; it stays as it is with any number of processes. Whoever
  changes batch_size scales lr with it (linear scaling, Goyal et al. 2017).
Batch norm: sees the rows of a process's micro-batch, unless model.sync_batch_norm is true.
Files: headers, state.json, recipe.yaml, classes.txt, log.txt and curves are not counted.
Memory: rows are at most while an epoch's order is drawn. Not counted: what a reweighting computes
  with, the interpreter, and the copies in which processes exchange gradients.""".splitlines()
NO_HOURS_NOTED = f"""\
No hours, as no rate is known. --measure times {MEASURED_STEPS} steps here, with the recipe's own images;
  --images-per-second R is another machine's: a run's log.txt there says it.""".splitlines()
HOURS_NOTED = """\
Hours: a forward alone is assumed to take a third of a training step.
Hours: of what passes the network, at a constant rate; evaluations and measurements last as
  long as the busiest process. Not counted: reweightings on the CPU, start-up, saving.""".splitlines()


@dataclass(frozen=True)
class StagePlan:
    """One stage; ``hours`` is empty where no rate is known."""

    name: str
    counts: Counts
    files: list[Artefact]
    disk: Sizes
    device: Sizes
    host: Sizes
    hours: dict[str, float]


@dataclass(frozen=True)
class Plan:
    """All that was counted. Rates are those of one process, in images a second; 0: not known."""

    recipe: str
    folder: str
    network: NetworkSize
    rows: Given
    evaluation_images: Given
    processes: int  # on each machine
    machines: int
    base: Artefact
    stages: list[StagePlan]
    training_rate: float
    evaluation_rate: float
    notes: list[str]


def make_plan(args: argparse.Namespace, recipe: Recipe) -> Plan:
    """Count everything that is printed. Raises InputError for what cannot be trained."""
    network = network_size(recipe.model.name, recipe.data.n_classes)
    folder = Path(recipe.data.table or Path(recipe.output, recipe.name, "table"))
    table = Table.open(folder) if (folder / "base.arrow").is_file() else None
    data = recipe.data
    published = PUBLISHED.get(data.format, (None, None)) if data.classes is None else (None, None)
    if table is not None and args.rows is None:
        rows = Given(table.n_rows, f"in {table.folder}")
    else:
        rows = given("--rows", args.rows, lambda: listed_rows(data), published[0])
    images = given(
        "--evaluation-images", args.evaluation_images, lambda: len(read_validation(data, table)), published[1]
    )
    n, n_processes = rows.value, args.processes * args.machines
    counted = [(stage, counts_of(recipe, stage, n, images.value, n_processes)) for stage in active_stages(recipe)]
    if args.evaluation_images_per_second and not (args.measure or args.images_per_second):
        raise InputError("--evaluation-images-per-second: needs --images-per-second or --measure beside it")
    rate = measured_rate(recipe, table, n_processes) if args.measure else args.images_per_second or 0.0
    evaluation_rate = args.evaluation_images_per_second or FORWARD * rate
    base = base_of(args, recipe, n, table)
    stages: list[StagePlan] = []
    for stage, counts in counted:
        files = files_of(recipe, stage, counts, n, network)
        stages.append(
            StagePlan(
                name=stage.name,
                counts=counts,
                files=files,
                disk=disk_of(stage, counts, files, stages[-1].disk[STAYS] if stages else base.bytes),
                device=device_memory(stage, network),
                host=host_memory(recipe, stage, counts, n, args.processes),
                hours=hours_of(counts, n_processes, rate, evaluation_rate) if rate else {},
            )
        )
    notes = list(ALWAYS_NOTED)
    if base.what != "as it is":
        notes.append("base.arrow: the lengths of paths and texts are given or assumed (--path-bytes, --text-bytes).")
    if args.measure:
        notes.append(f"Hours: the rate is that of {MEASURED_STEPS} steps of stage {stages[0].name} on this machine.")
    return Plan(
        recipe=" ".join([args.config, *(f"-o '{text}'" for text in args.override)]),
        folder=f"{recipe.output}/{recipe.name}",
        network=network,
        rows=rows,
        evaluation_images=images,
        processes=args.processes,
        machines=args.machines,
        base=base,
        stages=stages,
        training_rate=rate,
        evaluation_rate=evaluation_rate,
        notes=notes + (HOURS_NOTED[bool(args.evaluation_images_per_second) :] if rate else NO_HOURS_NOTED),
    )
