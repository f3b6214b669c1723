"""A plan as aligned tables with units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

from tools.planning.feeding import feeding_lines
from tools.planning.measure import Measured
from tools.planning.pace import shown
from tools.planning.plan import Plan, StagePlan
from tools.planning.rehearsal import Rehearsal
from tools.planning.timing import Timed
from tools.speed.figures import aligned
from urnet.core.counted import plural

STEPS_HEAD = ("stage", "epochs", "steps", "batch", "per process", "micro-batch", "warm-up", "learning rate")
IMAGES_HEAD = ("stage", "drawn", "evaluations", "x images", "+ batch norm", "measured rows", "batch", "shards")
RATES_HEAD = ("images/s (slowest to fastest part)", "steps", "training", "evaluation", "measuring", "waits", "CPU")
WAITS = 0.1  # share of a step from which on the loader holds the network up
BUSY = 0.5  # processes at work before anything was timed
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
    timed = plan.measured is not None
    rates = f"{plan.training_rate:g} images/s per process in training, {plan.evaluation_rate:g}"
    total = {key: sum(stage.hours[key] for stage in stages) for key in stages[0].hours}
    hours = [*((stage.name, stage.hours) for stage in stages), ("total", total)]
    sections = {
        "Steps (of all processes together, including the warm-up)": aligned(updates, left=(0, 7)),
        "Images through the network": aligned(images),
        f"Files under {plan.folder}": aligned([FILES_HEAD, *listed], left=(0, 1, 2, 4)) if with_files else [],
        "Disk": [
            *table_text([(stage.name, stage.disk) for stage in stages], size),
            f"the complete table {size(plan.base.bytes + columns)}; peak {size(peak)}; images not counted",
        ],
        "Memory of a process (without activations, which have to be measured)": [
            *table_text([(stage.name, stage.device) for stage in stages], size),
            "",
            *table_text([(stage.name, stage.host) for stage in stages], size),
        ],
        f"Hours at {rates} in evaluation and measuring": table_text(hours, "{:,.2f}".format)
        if total and not timed
        else [],
        "Time on this machine": list(time_lines(plan)) if timed else [],
        "Images that the cores decode, per second and machine": list(feeding_lines(plan.feeding))
        if plan.feeding
        else [],
        "Notes": plan.notes,
    }
    yield from aligned(head, left=(0, 1))
    for title, text in sections.items():
        if text:
            yield from ("", title, *text)


def time_lines(plan: Plan) -> Iterator[str]:
    """How long it takes, what it is made of, the rates that were timed, and what holds them up."""
    assert plan.measured is not None
    found, names = plan.measured, list(plan.stages[0].hours)
    hours = {stage.name: (*stage.hours.values(), *stage.range_hours, stage.cpu_hours) for stage in plan.stages}
    hours["total"] = tuple(sum(column) for column in zip(*hours.values(), strict=True))
    head = ("stage", *names, "fastest", "slowest", "CPU time")
    yield from aligned([head, *((name, *(duration(3600 * part) for part in row)) for name, row in hours.items())])
    yield ""
    yield from aligned([RATES_HEAD, *(rates_cells(kind, found.timed) for kind in found.timed.kinds)])
    yield bottleneck(found)
    if found.unreadable:
        accepted = f"data.max_bad accepts {found.max_bad:,}"
        accepted += ", so train.py stops" if found.unreadable > found.max_bad else ""
        yield f"{plural(found.unreadable, 'image')} could not be read here; {accepted} (tools/check.py finds them all)."
    yield machine_text(found)


def rates_cells(kind: Timed, timed: Rehearsal) -> tuple[str, ...]:
    """The rates of one kind of stage."""
    measuring = next((timed.measuring[name].pace.text() for name in kind.stages if name in timed.measuring), "-")
    rates = (kind.step.text(), kind.view.pace.text(), measuring)
    return (", ".join(kind.stages), str(kind.steps), *rates, f"{kind.waits:.1%}", f"{kind.busy:.2f}")


def bottleneck(found: Measured) -> str:
    """Whether the network waits for images, or they for it."""
    kinds = found.timed.kinds
    waits = sum(kind.waits * kind.step.seconds for kind in kinds) / sum(kind.step.seconds for kind in kinds)
    alone = f"the loader alone reaches {shown(1 / found.timed.decoding.seconds)} images/s"
    if waits < WAITS:
        return f"The network is the bottleneck: it waits for images for {waits:.1%} of the time; {alone}."
    return (
        f"The loader is the bottleneck: the network waits for images for {waits:.1%} of the time; {alone}. "
        "More data.workers, or smaller image files, would help."
    )


def machine_text(found: Measured) -> str:
    """The machine, and what else it had to do."""
    about = found.machine
    said = f"{about['processor']}, {about['cores in use']} cores, OMP_NUM_THREADS {about['OMP_NUM_THREADS']}"
    if not found.load:
        return said
    before, after = found.load
    said += f"; load average {before:g} before, {after:g} after"
    return said + (": other programs were running, so it is faster on an idle machine" if before > BUSY else "")


def duration(seconds: float) -> str:
    """A time in its two largest units: 45 s, 6 min 12 s, 3 h 20 min, 5 d 3 h."""
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds else "0 s"
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for (unit, size), (less, part) in pairwise(units):
        if seconds >= size:
            whole, rest = divmod(round(seconds / part), size // part)
            return f"{whole} {unit}" + (f" {rest} {less}" if rest else "")
    return f"{seconds:.0f} s"


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
    """A line per stage, a column a title."""
    return aligned([("stage", *lines[0][1]), *((name, *map(show, line.values())) for name, line in lines)])


def size(n: float) -> str:
    """Bytes as 1.23 GiB, 45.6 MiB or 789 B: the largest unit of which there is a whole one."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n >= factor:
            return f"{n / factor:,.2f} {unit}"
    return f"{n:.0f} B"
