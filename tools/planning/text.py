"""A plan as aligned tables with units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from tools.planning.plan import Plan, StagePlan
from tools.speed.figures import aligned

STEPS_HEAD = ("stage", "epochs", "updates", "batch", "a process", "micro-batch", "warm-up", "learning rate")
IMAGES_HEAD = ("stage", "drawn", "evaluations", "x images", "+ batch norm", "measured rows", "batch", "shards")
FILES_HEAD = ("stage", "file", "holds", "bytes", "")


def text_of(plan: Plan, *, with_files: bool) -> Iterator[str]:
    """The plan as aligned tables with units, and what it assumes, section by section."""
    network, stages = plan.network, plan.stages
    what = f"{network.n_classes:,} classes: {network.parameters:,} parameters, {network.feature_width:,} features"
    head = [
        ("recipe", plan.recipe),
        ("network", f"{network.name}, {what}"),
        ("rows", f"{plan.rows.value:,} ({plan.rows.source})"),
        ("validation", f"{plan.evaluation_images.value:,} images ({plan.evaluation_images.source})"),
        ("processes", f"{plan.machines * plan.processes} ({plan.machines} x {plan.processes})"),
    ]
    updates = [STEPS_HEAD, *map(steps_cells, stages)]
    summed = ("images_drawn", "evaluations", "measured_rows")
    drawn, evaluations, measured = (f"{sum(getattr(s.counts, name) for s in stages):,}" for name in summed)
    images = [IMAGES_HEAD, *map(images_cells, stages), ("total", drawn, evaluations, "", "", measured, "", "")]
    files = [("", plan.base), *((stage.name, file) for stage in stages for file in stage.files)]
    listed = [(stage, file.path, file.what, size(file.bytes), file.note) for stage, file in files]
    columns, peak = (sum(s.disk["columns"] for s in stages), max(s.disk["peak of all files"] for s in stages))
    rates = f"{plan.training_rate:g} images/s a process in training, {plan.evaluation_rate:g}"
    total = {key: sum(stage.hours[key] for stage in stages) for key in stages[0].hours}
    hours = [*((stage.name, stage.hours) for stage in stages), ("total", total)]
    sections = {
        "Updates (of all processes together; warm-up is part of them)": aligned(updates, left=(0, 7)),
        "Images that pass the network": aligned(images),
        f"Files under {plan.folder}": aligned([FILES_HEAD, *listed], left=(0, 1, 2, 4)) if with_files else [],
        "Disk": [
            *table_text([(stage.name, stage.disk) for stage in stages], size),
            f"the whole table {size(plan.base.bytes + columns)}; peak {size(peak)}; images not counted",
        ],
        "Memory of a process (activations are not estimated: they are to be measured)": [
            *table_text([(stage.name, stage.device) for stage in stages], size),
            "",
            *table_text([(stage.name, stage.host) for stage in stages], size),
        ],
        f"Hours at {rates} in evaluation and measuring": table_text(hours, "{:,.2f}".format) if total else [],
        "Notes": plan.notes,
    }
    yield from aligned(head, left=(0, 1))
    for title, text in sections.items():
        if text:
            yield from ("", title, *text)


def steps_cells(stage: StagePlan) -> tuple[str, ...]:
    """Epochs, steps, batches and rates."""
    c = stage.counts
    numbers = (c.steps, c.batch_size, c.rows_a_process, c.micro_batch, c.warmup_steps)
    return (stage.name, f"{c.epochs:.4g}", *(f"{n:,}" for n in numbers), c.rate)


def images_cells(stage: StagePlan) -> tuple[str, ...]:
    """What passes the network."""
    c = stage.counts
    always = (c.images_drawn, c.evaluations, c.evaluation_images, c.bn_images)
    measuring = (c.measured_rows, c.measure_batch, c.shards)
    return (stage.name, *(f"{n:,}" for n in always), *(f"{n:,}" if n else "-" for n in measuring))


def table_text(lines: Sequence[tuple[str, Mapping[str, float]]], show: Callable[[float], str]) -> list[str]:
    """A line a stage, a column a title."""
    return aligned([("stage", *lines[0][1]), *((name, *map(show, line.values())) for name, line in lines)])


def size(n: float) -> str:
    """Bytes as 1.23 GiB, 45.6 MiB or 789 B: the largest unit of which there is a whole one."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n >= factor:
            return f"{n / factor:,.2f} {unit}"
    return f"{n:.0f} B"
