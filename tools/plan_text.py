"""The plan as aligned tables, with units, and what it assumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tools.plan_bytes import Artefact, StageFiles, disk_use
from tools.plan_given import Given
from tools.plan_memory import Memory
from tools.plan_network import NetworkSize
from tools.plan_stages import Hours, Processes, StagePlan

UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


@dataclass(frozen=True)
class Plan:
    """All that was counted. Rates, in images a second of one process, are 0 and ``hours`` [] without one."""

    recipe: str
    folder: str
    network: NetworkSize
    rows: Given
    evaluation_images: Given
    processes: Processes
    stages: list[StagePlan]
    base: Artefact
    files: list[StageFiles]
    memory: list[Memory]
    training_rate: float
    evaluation_rate: float
    hours: list[Hours]
    assumed_forward: bool


def lines(plan: Plan, *, with_files: bool) -> Iterator[str]:
    """The plan, section by section."""
    yield from head_text(plan)
    sections = [
        ("Updates (of all processes together; warm-up is part of them)", updates_text(plan.stages)),
        ("Images that pass the network", images_text(plan.stages)),
        (f"Files under {plan.folder}", files_text(plan.base, plan.files) if with_files else []),
        ("Disk", disk_text(plan.base, plan.files)),
        (
            "Memory of a process (activations are not estimated: they are to be measured)",
            memory_text(plan.memory, plan.processes.each),
        ),
        (
            f"Hours at {plan.training_rate:g} images/s a process in training, "
            f"{plan.evaluation_rate:g} in evaluation and measuring",
            hours_text(plan.hours) if plan.hours else [],
        ),
        ("Notes", notes(plan)),
    ]
    for title, text in sections:
        if text:
            yield from ("", title, *text)


def head_text(plan: Plan) -> list[str]:
    """What the plan is of."""
    network, processes = plan.network, plan.processes
    rows = [
        ("recipe", plan.recipe),
        (
            "network",
            f"{network.name}, {network.n_classes:,} classes: {network.parameters:,} parameters, "
            f"{network.feature_width:,} features",
        ),
        ("rows", f"{plan.rows.value:,} ({plan.rows.source})"),
        ("validation", f"{plan.evaluation_images.value:,} images ({plan.evaluation_images.source})"),
        ("processes", f"{processes.world_size} ({processes.machines} x {processes.each})"),
    ]
    return aligned(rows, left=(0, 1))


def size(n: float) -> str:
    """Bytes as 1.23 GiB, 45.6 MiB or 789 B: the largest unit of which there is a whole one."""
    for unit, factor in UNITS:
        if n >= factor:
            return f"{n / factor:,.2f} {unit}"
    return f"{n:.0f} B"


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Lines of cells in columns, two spaces between; the columns ``left`` begin, the others end flush."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def updates_text(plans: Sequence[StagePlan]) -> list[str]:
    """Epochs, updates, batches and rates."""
    head = ("stage", "epochs", "updates", "batch", "a process", "micro-batch", "warm-up", "learning rate")
    rows = [
        (
            p.name,
            f"{p.epochs:.4g}",
            f"{p.updates:,}",
            f"{p.batch_size:,}",
            f"{p.rows_a_process:,}",
            f"{p.micro_batch:,}",
            f"{p.warmup_updates:,}",
            p.rate,
        )
        for p in plans
    ]
    return aligned([head, *rows], left=(0, len(head) - 1))


def images_text(plans: Sequence[StagePlan]) -> list[str]:
    """What passes the network."""
    head = ("stage", "drawn", "evaluations", "x images", "+ batch norm", "measured rows", "batch", "shards")
    rows = [
        (
            p.name,
            f"{p.images_drawn:,}",
            f"{p.evaluations:,}",
            f"{p.evaluation_images:,}",
            f"{p.bn_images:,}",
            *(f"{n:,}" if n else "-" for n in (p.measured_rows, p.measure_batch, p.shards)),
        )
        for p in plans
    ]
    total = ("total", f"{sum(p.images_drawn for p in plans):,}", f"{sum(p.evaluations for p in plans):,}")
    measured = f"{sum(p.measured_rows for p in plans):,}"
    return aligned([head, *rows, (*total, "", "", measured, "", "")])


def files_text(base: Artefact, files: Sequence[StageFiles]) -> list[str]:
    """Every file, and how many of it there are."""
    rows = [("stage", "file", "holds", "bytes", "")]
    rows.append(("", base.path, base.what, size(base.bytes), ""))
    for stage in files:
        kept = f"x {stage.kept} kept of {stage.written:,}"
        measured = "stays" if stage.measurement_stays else "until the columns are written"
        rows += [_line(item, "") for item in stage.columns]
        rows += [_line(item, measured) for item in stage.measurement]
        rows += [_line(item, kept) for item in stage.checkpoint]
        best = f"{stage.name}/best, final/model.safetensors"
        rows.append((stage.name, best, "weights and statistics", size(stage.for_use), "x 2"))
    return aligned(rows, left=(0, 1, 2, 4))


def _line(item: Artefact, note: str) -> tuple[str, str, str, str, str]:
    return item.stage, item.path, item.what, size(item.bytes), note


def disk_text(base: Artefact, files: Sequence[StageFiles]) -> list[str]:
    """How full the disk is, stage after stage."""
    uses = disk_use(base.bytes, files)
    head = ("stage", "columns", "measurement", "checkpoints, best, final", "peak of all files", "stays in all")
    rows = [
        (
            stage.name,
            size(stage.column_bytes),
            size(stage.measured_bytes),
            size(stage.kept * stage.checkpoint_bytes + 2 * stage.for_use),
            size(most),
            size(there),
        )
        for stage, (_, most, there) in zip(files, uses, strict=True)
    ]
    table = base.bytes + sum(stage.column_bytes for stage in files)
    return [
        *aligned([head, *rows]),
        f"the whole table {size(table)}; peak {size(max(most for _, most, _ in uses))}; images not counted",
    ]


def memory_text(memory: Sequence[Memory], each: int) -> list[str]:
    """Of one process, and on the host of all processes of a machine."""
    device = ("stage", "weights", "gradients", "optimiser", "EMA", "EMA's swap", "sum on the device")
    host = ("stage", "rows, held", "rows, at most", "images ahead", "sum on the host", f"x {each} a machine")
    names = ("weights", "gradients", "optimizer", "ema", "ema_copy", "device")
    on_device = [(m.name, *(size(getattr(m, name)) for name in names)) for m in memory]
    names = ("rows_held", "rows_most", "images", "host")
    on_host = [(m.name, *(size(getattr(m, name)) for name in names), size(each * m.host)) for m in memory]
    return [*aligned([device, *on_device]), "", *aligned([host, *on_host])]


def hours_text(hours: Sequence[Hours]) -> list[str]:
    """Hours by stage and in total."""
    names = ("training", "evaluation", "measuring", "total")
    rows = [(h.name, *(f"{getattr(h, name):,.2f}" for name in names)) for h in hours]
    sums = [f"{sum(getattr(h, name) for h in hours):,.2f}" for name in names]
    return aligned([("stage", *names), *rows, ("total", *sums)])


def notes(plan: Plan) -> list[str]:
    """What the numbers rest on."""
    found = [
        "Learning rate: for the global batch; it stays as it is with any number of processes. Whoever",
        "  changes batch_size scales lr with it (linear scaling, Goyal et al. 2017).",
        "Batch norm: sees the rows of a process's micro-batch, unless model.sync_batch_norm is true.",
        "Files: headers, state.json, recipe.yaml, classes.txt, log.txt and curves are not counted.",
        "Memory: rows are at most while an epoch's order is drawn. Not counted: what a reweighting computes",
        "  with, the interpreter, and the copies in which processes exchange gradients.",
    ]
    if plan.base.what != "as it is":
        found.append("base.arrow: the lengths of paths and texts are given or assumed (--path-bytes, --text-bytes).")
    if plan.hours and plan.assumed_forward:
        found.append("Hours: a forward alone is assumed to take a third of a training step.")
    if plan.hours:
        found += [
            "Hours: of what passes the network, at a constant rate; evaluations and measurements last as",
            "  long as the busiest process. Not counted: reweightings on the CPU, start-up, saving.",
        ]
    return found
