"""What a recipe will take - steps, files, memory, hours - counted before anything runs.

    python tools/plan.py -c recipes/webvision2018/urnet_resnet50.yaml --processes 8 --images-per-second 800

Everything follows from the recipe, the number of rows and the network, which is built and counted; neither images nor
a table are needed. docs/scaling.md shows the output beside the commands it is for. The rules are those of the training
itself (``StageJob``, the samplers, ``schedule.plan``, ``shards.Description``); the bytes of files are formulas that
tests compare with the files of a run. Formulas leave out what grows with neither rows nor parameters: headers,
state.json, recipe.yaml, classes.txt (kilobytes each), log.txt and the curves.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

import models
from tools.speed.figures import aligned
from urnet.config.duration import Duration
from urnet.config.recipe import Data, Recipe, active_stages
from urnet.config.stage import Optimizer, Schedule, Stage
from urnet.core import cli
from urnet.core.atomic_files import atomic_file
from urnet.core.checks import InputError, check_choice
from urnet.data.lists.build_table import build_table, read_validation, training_rows
from urnet.data.loading.worker_pool import CHUNK, CHUNKS_AHEAD
from urnet.data.table.table import Table
from urnet.features.shards import Description
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.registry import column_files, measures

FORWARD = 3.0  # a training step is taken for three forwards: one, and a backward of two
MEASURED_STEPS, WARM_UP = 20, 3  # of --measure; the first ones do not count
PUBLISHED = {"webvision2": (16_076_665, 294_099), "imagenet": (1_281_167, 50_000)}  # training, validation
# Mean bytes of a row's path and text: for WebVision as tools/speed/table.py makes its lists and metadata
# (47.0 and 181.1 at a million rows), for the others paths of a usual length and no text.
WEB, PLAIN = (47, 181), (40, 0)
TEXTS = {"webvision2": WEB, "webvision1": WEB, "imagenet": PLAIN, "list": PLAIN, "folder": PLAIN}
BASE_ROW = 21  # bytes a row of base.arrow: label, source, query, rank, and the offsets of path and text
CLASSES = 10  # where they cannot be counted: a few more or less change no sum that matters
HEADER = 128  # bytes of a .npy file's header
DRAWN, DRAWING = 4, 8  # bytes a row of an epoch's rows in order: a process's part, and all while they are drawn
STAYS = "stays in all"
Sizes = dict[str, int]  # title of a column of the text -> bytes
STEPS_HEAD = ("stage", "epochs", "updates", "batch", "a process", "micro-batch", "warm-up", "learning rate")
IMAGES_HEAD = ("stage", "drawn", "evaluations", "x images", "+ batch norm", "measured rows", "batch", "shards")
FILES_HEAD = ("stage", "file", "holds", "bytes", "")
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
EPILOG = """\
Rows are --rows, else those of the run's table if it is built, else those of the recipe's lists or folders if they are
there, else the published number of the data set. Validation images likewise: --evaluation-images, the recipe's list,
the published number. A rate is what ONE process does; without --images-per-second or --measure no hours are printed.

example:
  python tools/plan.py -c recipes/webvision2018/urnet_resnet50.yaml --processes 8 --machines 4 \\
      -o stages.class.batch_size=4096 -o stages.class.schedule.lr=1.6 --images-per-second 800 --json plan.json
"""


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(
        prog="tools/plan.py",
        description="Count what a recipe will take, before it runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, rate = p.add_argument, p.add_mutually_exclusive_group().add_argument
    count, length, positive = cli.number(int, 1), cli.number(float, 0), cli.number(float, 0, above=True)
    add("-c", "--config", required=True, metavar="RECIPE", help="the recipe, a YAML file")
    add("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="set a key, as for train.py")
    add("--rows", type=count, metavar="N", help="training images [the table's, else counted, else published]")
    add("--evaluation-images", type=count, metavar="N", help="validation images [counted, else published]")
    add("--processes", type=count, default=1, metavar="P", help="processes on each machine [1]")
    add("--machines", type=count, default=1, metavar="M", help="machines [1]")
    rate("--images-per-second", type=positive, metavar="R", help="that one process trains on [no hours]")
    about = f"that one process evaluates or measures, beside a rate in training [{FORWARD:g} times that]"
    add("--evaluation-images-per-second", type=positive, metavar="R", help=about)
    text = f"time {MEASURED_STEPS} steps of the first stage here, with the recipe's own images, for that rate"
    rate("--measure", action="store_true", help=text)
    add("--path-bytes", type=length, metavar="B", help="mean length of the images' paths [by format]")
    add("--text-bytes", type=length, metavar="B", help="mean length of the rows' texts [by format]")
    add("--no-files", action="store_true", help="leave out the list of files, not their sums")
    add("--json", type=Path, metavar="FILE", help="also write everything there, numbers and bytes unrounded")
    add("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> None:
    """Read the recipe, count, print, write the JSON file if one is asked for."""
    args = parser().parse_args(argv)
    recipe = with_classes(load_recipe(args.config, args.override))
    check_choice(f"{args.config}: model.name", recipe.model.name, models.NAMES)
    models.check_size(recipe.model.name, recipe.transform.size, f"{args.config}: transform.size")
    with cli.results_only() as stream:
        plan = make_plan(args, recipe)
        for line in text_of(plan, with_files=not args.no_files):
            print(line, file=stream)
    if args.json:
        with atomic_file(args.json, replace=True) as part:
            part.write_text(json.dumps(asdict(plan), indent=1) + "\n", encoding="utf-8")


# --- what a plan starts from


@dataclass(frozen=True)
class Given:
    """A number and where it is from."""

    value: int
    source: str


def with_classes(recipe: Recipe) -> Recipe:
    """The recipe with a number of classes, also where they were to be counted in data that are not here."""
    if recipe.data.n_classes is not None:
        return recipe
    root = recipe.data.root
    print(f"note: {root} is not here to count classes in; {CLASSES} are taken, or -o data.n_classes=N", file=sys.stderr)
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, n_classes=CLASSES))


def given(flag: str, asked: int | None, count: Callable[[], int], published: int | None) -> Given:
    """The number of the flag > the counted one > the published one. Raises InputError where none is known."""
    if asked is not None:
        return Given(asked, flag)
    try:
        return Given(count(), "listed")
    except InputError as error:  # the data need not be on this machine
        if published is None:
            raise InputError(f"{flag}: is needed, as the images cannot be counted here ({error})") from None
    return Given(published, "published")


def listed_rows(data: Data) -> int:
    """The training images of the recipe's lists or folders. Raises InputError where they cannot be read."""
    return sum(len(labels) for _, labels in training_rows(data))


@dataclass(frozen=True)
class NetworkSize:
    """Numbers of values of a network, all of which are float32, and of tensors that are trained."""

    name: str
    n_classes: int
    parameters: int  # values that are trained
    trained_tensors: int
    weights: int  # values of a checkpoint: parameters and batch-norm statistics
    feature_width: int

    def optimizer_bytes(self, settings: Optimizer) -> int:
        """Momentum keeps a velocity of each parameter; AdamW two moments, and two powers of each tensor."""
        if settings.name == "momentum":
            return 4 * self.parameters
        return 2 * 4 * self.parameters + 2 * 4 * self.trained_tensors


def network_size(name: str, n_classes: int) -> NetworkSize:
    """Build the network without memory for its values, and count. Raises InputError as models.build."""
    from urnet.runtime.threads import import_paddle

    import_paddle()
    import paddle

    from urnet.nn.optimizer import trainable

    with paddle.LazyGuard():
        network = models.build(name, n_classes)
    trained, state = trainable(network), network.state_dict()
    for key, value in state.items():
        if value.dtype != paddle.float32:
            raise TypeError(f"{name}: {key} is not float32; its bytes would be counted wrong")
    parameters, weights = (sum(value.size for value in values.values()) for values in (trained, state))
    return NetworkSize(name, n_classes, parameters, len(trained), weights, network.fc.weight.shape[0])


# --- what the stages do


@dataclass(frozen=True)
class Counts:
    """What one stage does, of all processes together unless the name says otherwise."""

    epochs: float
    steps: int
    batch_size: int
    rows_a_process: int
    micro_batch: int  # rows that pass a process's network at once
    warmup_steps: int
    rate: str
    images_drawn: int
    evaluations: int
    evaluation_images: int  # of each evaluation
    bn_images: int  # of each evaluation, for the batch-norm statistics of a moving average
    view_batch: int  # images at once in an evaluation
    evaluated_by_busiest: int  # images, of each evaluation, of the process that has most of them
    checkpoints_kept: int
    checkpoints_written: int
    measured_rows: int  # 0: the stage measures nothing
    measured_by_busiest: int  # rows of the process that has most of them
    shards: int
    measure_batch: int  # images at once


def counts_of(recipe: Recipe, stage: Stage, rows: int, images: int, n_processes: int) -> Counts:
    """Of one stage with ``rows`` rows and ``images`` validation images.

    Raises InputError for what cannot be trained, or not be divided among the processes.
    """
    from urnet.nn.schedule import gate_plan, plan
    from urnet.training.stage_job import check_division

    check_division(stage, n_processes, rows)
    job = job_of(recipe, stage, rows)
    batch, per_epoch, view = stage.batch_size, job.steps_per_epoch, job.view_batch
    steps, _ = plan(stage, per_epoch)
    gate_plan(stage, per_epoch)  # refuses one that is too long
    written = steps // max(job.steps(stage.checkpoint_every), 1)
    about, extra = description(recipe, stage, rows), 0
    if stage.ema is not None:
        extra = min(stage.ema.bn_batches, job.sampler.steps_per_epoch(view)) * rows_at_once(job, view)
    return Counts(
        epochs=steps / per_epoch,
        steps=steps,
        batch_size=batch,
        rows_a_process=batch // n_processes,
        micro_batch=batch // n_processes // stage.accumulate,
        warmup_steps=job.steps(stage.schedule.warmup),
        rate=rate_text(stage.schedule),
        images_drawn=steps * rows_at_once(job, batch),
        evaluations=-(-steps // max(job.steps(stage.eval_every), 1)),
        evaluation_images=images,
        bn_images=extra,
        view_batch=view,
        evaluated_by_busiest=busiest(images, view, n_processes) + busiest(extra, view, n_processes),
        checkpoints_kept=min(stage.keep, written),
        checkpoints_written=written,
        measured_rows=about.n_rows if about else 0,
        shards=about.n_shards if about else 0,
        measured_by_busiest=busiest(about.n_rows, about.shard, n_processes) if about else 0,
        measure_batch=about.batch_size if about else 0,
    )


def job_of(recipe: Recipe, stage: Stage, rows: int) -> Any:
    """A StageJob that knows lengths and batches, without what it would train."""
    from urnet.training.stage_job import StageJob, make_sampler

    labels = np.zeros(rows, np.int32)  # how long an epoch is does not depend on them
    sampler = make_sampler(recipe, dataclasses.replace(stage, balance=0.0), labels)
    nothing: dict[str, Any] = dict.fromkeys(("network", "amp", "table", "loss_weight", "validation"))
    return StageJob(recipe=recipe, stage=stage, labels=labels, sampler=sampler, folder=Path(), curves=Path(), **nothing)


def rows_at_once(job: Any, batch_size: int) -> int:
    """Rows of a batch: ``batch_size``, or fewer where the whole epoch is one short batch."""
    if job.stage.subsets is not None or job.sampler.steps_per_epoch(batch_size) > 1:
        return batch_size
    return len(next(job.sampler.batches(0, batch_size)))


def description(recipe: Recipe, stage: Stage, rows: int, width: int = 1) -> Description | None:
    """Of the stage's measurement with a network of ``width`` features; None for a stage that measures nothing."""
    if not measures(stage):
        return None
    k = min(stage.measure.top_k, recipe.data.n_classes)
    return Description("", "", rows, width, k, stage.measure.batch_size)


def busiest(n: int, size: int, n_processes: int) -> int:
    """Of ``n`` rows dealt out in turn, ``size`` at once, those of process 0, which has the most."""
    return sum(min(size, n - start) for start in range(0, n, size * n_processes))


def rate_text(schedule: Schedule) -> str:
    """The learning rate as the recipe writes it."""
    s = schedule
    if s.name == "cosine":
        return f"cosine, {s.lr:g} to {s.final_lr:g}"
    if s.name == "step":
        return f"{s.lr:g}, x {s.gamma:g} every {s.every}"
    if s.name == "piecewise":
        return f"{s.lr:g}, x {s.gamma:g} at " + ", ".join(str(milestone) for milestone in s.milestones)
    return f"constant {s.lr:g}"


# --- the bytes of files


@dataclass(frozen=True)
class Artefact:
    """A file of a run, or one array of it: where it is, what it holds, its bytes, and how many of it there are."""

    kind: Literal["base", "column", "measurement", "checkpoint", "result"]
    path: str
    what: str
    bytes: int
    note: str = ""


def base_of(args: argparse.Namespace, recipe: Recipe, rows: int, table: Table | None) -> Artefact:
    """base.arrow: as it is on the disk, else by the formula."""
    given = (args.path_bytes, args.text_bytes)
    if table is not None and (args.rows, *given) == (None, None, None):
        return Artefact("base", "table/base.arrow", "as it is", (table.folder / "base.arrow").stat().st_size)
    path, text = (b if a is None else a for a, b in zip(given, TEXTS[recipe.data.format], strict=True))
    what = f"{BASE_ROW} + path {path:g} + text {text:g} B a row"
    return Artefact("base", "table/base.arrow", what, round(rows * (BASE_ROW + path + text)))


def files_of(recipe: Recipe, stage: Stage, counts: Counts, rows: int, network: NetworkSize) -> list[Artefact]:
    """What one stage writes under OUTPUT/NAME: columns of the table, its measurement, checkpoints, best and final."""
    found, n_classes = [], recipe.data.n_classes
    for file, columns in column_files(stage).items():
        for name, column in columns.items():
            k = 1 if column.width is None else min(column.width(stage), n_classes)
            what = f"{name} {column.kind}" + (f" x {k}" if k > 1 else "")
            found.append(Artefact("column", f"table/{file}.arrow", what, rows * k * np.dtype(column.kind).itemsize))
    found += measurement_of(stage, description(recipe, stage, rows, network.feature_width))
    parts = [
        ("model", "weights and statistics", 4 * network.weights),
        ("optimizer", stage.optimizer.name, network.optimizer_bytes(stage.optimizer)),
    ]
    if stage.ema is not None:
        parts.append(("ema", "moving average", 4 * network.parameters))
    if stage.bags is not None:
        parts.append(("bags", "attention of the rows", 4 * rows))
    if stage.elr is not None:
        k = min(stage.elr.top_k, n_classes)
        parts.append(("early", f"memory of the rows, {k} classes", 6 * k * rows))
    note, place = f"x {counts.checkpoints_kept} kept of {counts.checkpoints_written:,}", f"{stage.name}/step-*"
    found += [Artefact("checkpoint", f"{place}/{name}.safetensors", what, n, note) for name, what, n in parts]
    results = [("model", "weights and statistics", 4 * network.weights)]
    if recipe.model.in_classes:
        results.append(("in_classes", "where the classes are", 4 * (n_classes * network.feature_width + 2)))
    best = f"{stage.name}/best, final"
    return found + [Artefact("result", f"{best}/{name}.safetensors", what, n, "x 2") for name, what, n in results]


def measurement_of(stage: Stage, about: Description | None) -> list[Artefact]:
    """The arrays of a stage's measurement, all shards together, a header a file."""
    if about is None:
        return []
    note, found = "stays" if stage.measure.keep else "until the columns are written", []
    for name, (kind, shape) in about.arrays(about.n_rows).items():
        what = " x ".join([np.dtype(kind).name, *map(str, shape[1:])])
        n_bytes = int(np.prod(shape)) * np.dtype(kind).itemsize + HEADER * about.n_shards
        found.append(Artefact("measurement", f"measure/{stage.name}/shard-*/{name}.npy", what, n_bytes, note))
    return found


def disk_of(stage: Stage, counts: Counts, files: Sequence[Artefact], there: int) -> Sizes:
    """Bytes on the disk of a stage that begins with ``there``: its own files, then those of the whole run.

    It is fullest with measurement and columns, or with its checkpoints while one more, or best/, is written.
    """
    kinds = ("column", "measurement", "checkpoint", "result")
    columns, measurement, checkpoint, result = (sum(f.bytes for f in files if f.kind == kind) for kind in kinds)
    trained = counts.checkpoints_kept * checkpoint + 2 * result
    stays = there + columns + trained + (measurement if stage.measure.keep else 0)
    one_more = checkpoint if counts.checkpoints_written > counts.checkpoints_kept else result
    return {
        "columns": columns,
        "measurement": measurement,
        "checkpoints, best, final": trained,
        "peak of all files": max(there + columns + measurement, stays + one_more),
        STAYS: stays,
    }


# --- memory and hours


def device_memory(stage: Stage, network: NetworkSize) -> Sizes:
    """Bytes of one process on its device while a stage trains, as far as they follow from sizes.

    Activations are not estimated: they depend on the network, the micro-batch, the number format and recomputation,
    and are to be measured. While a moving average is evaluated, the live weights are kept aside (its swap).
    """
    parameters, weights = 4 * network.parameters, 4 * network.weights
    parts = {
        "weights": weights,
        "gradients": parameters,
        "optimiser": network.optimizer_bytes(stage.optimizer),
        "EMA": parameters if stage.ema else 0,
        "EMA's swap": weights if stage.ema else 0,
    }
    return {**parts, "sum on the device": sum(parts.values())}


def host_memory(recipe: Recipe, stage: Stage, counts: Counts, rows: int, processes: int) -> Sizes:
    """Bytes of one process on the host, and of all ``processes`` of a machine, while a stage trains.

    What grows with the rows, held always and while an epoch's rows are drawn, and the uint8 images decoded ahead:
    batches that wait, one being filled and one in use, and workers' slots. The evaluation's loader is there beside the
    training's; the measurement's comes before both. Neither the interpreter nor a reweighting's own work.
    """
    parts = 1 if stage.subsets else counts.batch_size // counts.rows_a_process  # of what was drawn
    always = 4 + 4 + (4 if stage.sampling_weight else 0)  # labels, loss weights, sampling weights
    always += 4 if stage.bags else 0  # attention
    always += 6 * min(stage.elr.top_k, recipe.data.n_classes) if stage.elr else 0
    slots, depth = recipe.data.workers * CHUNKS_AHEAD * CHUNK, recipe.data.prefetch + 2
    training = depth * (counts.rows_a_process + counts.view_batch) + 2 * slots
    measuring = depth * counts.measure_batch + slots if counts.measured_rows else 0
    most, images = rows * (always + DRAWING), 3 * recipe.transform.size**2 * max(training, measuring)
    return {
        "rows, held": rows * always + rows * DRAWN // parts,
        "rows, at most": most,
        "images ahead": images,
        "sum on the host": most + images,
        f"x {processes} a machine": processes * (most + images),
    }


def hours_of(counts: Counts, n_processes: int, rate: float, evaluation_rate: float) -> dict[str, float]:
    """Hours of what passes the network in one stage; rates: images a second that ONE process trains on, and evaluates.

    Evaluation and measuring last as long as the busiest process, which has whole batches or shards.
    """
    hours = {
        "training": counts.images_drawn / (rate * n_processes) / 3600,
        "evaluation": counts.evaluations * counts.evaluated_by_busiest / evaluation_rate / 3600,
        "measuring": counts.measured_by_busiest / evaluation_rate / 3600,
    }
    return {**hours, "total": sum(hours.values())}


def measured_rate(recipe: Recipe, table: Table | None, n_processes: int, n_steps: int = MEASURED_STEPS) -> float:
    """Images a second that one process trains on here, three digits: its part of ``n_steps`` steps of the first stage.

    On the recipe's own images, with random weights and all rows alike. Raises InputError where the images are not
    there, or are too few.
    """
    from tools.speed.train import seconds_of, training_steps

    first = active_stages(recipe)[0]
    duration, size = Duration(WARM_UP + n_steps, "steps"), first.batch_size // n_processes
    plain: dict[str, Any] = {"schedule": Schedule(lr=1e-3), "gate": None, "subsets": None, "targets": "given"}
    stage = dataclasses.replace(first, duration=duration, batch_size=size, **plain)
    with tempfile.TemporaryDirectory(prefix="urnet-plan-") as name:
        table = table or build_table(recipe.data, Path(name, "table"))
        images = n_steps * rows_at_once(job_of(recipe, stage, table.n_rows), stage.batch_size)
        with training_steps(recipe, stage, table, Path(name)) as steps:
            seconds_of(lambda: next(steps), WARM_UP)
            return float(f"{images / seconds_of(lambda: next(steps), n_steps):.3g}")


# --- the whole plan, and its text


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


if __name__ == "__main__":
    sys.exit(cli.run(main))
