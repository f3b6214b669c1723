"""The whole plan of a recipe: everything that is printed, counted."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from tools.planning.counts import Counts, counts_of
from tools.planning.feeding import Feeding, feeding
from tools.planning.files import STAYS, Artefact, Sizes, base_of, disk_of, files_of
from tools.planning.given import FORWARD, PUBLISHED, STEPS, Given, given, listed_rows
from tools.planning.hours import SPREAD, forecast, hours_of
from tools.planning.measure import Measured, measure
from tools.planning.memory import device_memory, host_memory
from tools.planning.network import NetworkSize, network_size
from tools.planning.rehearsal import with_evaluation_rate
from urnet.config.recipe import Recipe, active_stages
from urnet.core.checks import InputError
from urnet.data.lists.build_table import read_validation
from urnet.data.table.table import Table
from urnet.pipeline.run_table import table_folder

ALWAYS_NOTED = """\
Learning rate: for the global batch; it is the same with any number of processes. If you change
  batch_size, scale lr with it (linear scaling, Goyal et al. 2017).
Batch norm: sees the rows of a process's micro-batch, unless model.sync_batch_norm is true.
Files: headers, state.json, recipe.yaml, classes.txt, log.txt and curves are not counted.
Memory: rows need most while an epoch's order is drawn. Not counted: the working memory of a
  reweighting, the interpreter, and the copies that processes exchange gradients with.""".splitlines()
NO_HOURS_NOTED = f"""\
No hours, as no rate is known. --measure times {STEPS} steps here, with the recipe's own images;
  for another machine give --images-per-second R, which the log.txt of a run there shows.""".splitlines()
HOURS_NOTED = """\
Hours: a forward pass is assumed to take a third of a training step.
Hours: for the images through the network, at a constant rate; evaluations and measurements last
  as long as the busiest process. Not counted: reweightings on the CPU, start-up, saving.""".splitlines()
KEPT_NOTED = """\
Measuring: includes one pass of all images through the frozen parts; the run skips what is kept
  already (data.features, an earlier run's), which is not taken into account here.""".splitlines()
TIMED_NOTED = f"""\
Time: one process was timed, on random weights: {STEPS} steps of each kind of stage (fewer where they are
  long) and a few more batches. The range assumes that everything runs like the slowest or the
  fastest fifth of them. CPU time: of this process, extrapolated from the timed steps; it leaves
  out other programs. Not counted: reweightings on the CPU, start-up.""".splitlines()


@dataclass(frozen=True)
class StagePlan:
    """One stage; ``hours`` is empty where no rate is known. Where timed: ``range_hours``, least and most in total,
    and ``cpu_hours``, what of the total this process computes."""

    name: str
    counts: Counts
    files: list[Artefact]
    disk: Sizes
    device: Sizes
    host: Sizes
    hours: dict[str, float]
    range_hours: tuple[float, ...]
    cpu_hours: float


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
    measured: Measured | None
    feeding: Feeding | None  # None: not asked for
    notes: list[str]


def make_plan(args: argparse.Namespace, recipe: Recipe) -> Plan:
    """Count everything that is printed, and with --measure time it. Raises InputError for what cannot be trained."""
    if args.evaluation_images_per_second and not (args.measure or args.images_per_second):
        raise InputError("--evaluation-images-per-second: needs --images-per-second or --measure")
    if args.cores is not None and not (args.measure or args.images_per_second):
        raise InputError("--cores: needs a rate, --images-per-second or --measure")
    if args.views_per_core is not None and args.cores is None:
        raise InputError("--views-per-core: needs --cores, the cores of each machine")
    network, n_processes = network_size(recipe.model.name, recipe.data.n_classes), args.processes * args.machines
    measured = measure(recipe, n_processes) if args.measure else None
    rows, images, base = _counted(args, recipe) if measured is None else _measured(args, recipe, measured)
    rate, evaluation_rate = args.images_per_second or 0.0, args.evaluation_images_per_second
    timed = None if measured is None else measured.timed
    if timed is not None:
        timed = timed if evaluation_rate is None else with_evaluation_rate(timed, evaluation_rate)
        rate, evaluation_rate = (1 / pace.seconds for pace in (timed.kinds[0].step, timed.kinds[0].view.pace))
    evaluation_rate = evaluation_rate or FORWARD * rate
    fed = None
    if args.cores is not None:
        rates = {"training": rate, "evaluation": evaluation_rate}
        fed = feeding(recipe, args.cores, args.processes, rates, args.views_per_core)
    stages: list[StagePlan] = []
    sizes = {"all": network}
    for stage in active_stages(recipe):
        trained = sizes.get(stage.train) or network_size(recipe.model.name, recipe.data.n_classes, stage.train)
        sizes[stage.train] = trained
        counts = counts_of(recipe, stage, rows.value, images.value, n_processes)
        files = files_of(recipe, stage, counts, rows.value, trained)
        hours = hours_of(counts, n_processes, rate, evaluation_rate, part=stage.train != "all") if rate else {}
        spread, busy = tuple[float, ...](), 0.0
        if timed is not None:
            busy = timed.of(stage.name).busy
            hours = forecast(stage.name, counts, recipe, timed, n_processes)
            spread = tuple(forecast(stage.name, counts, recipe, timed, n_processes, how)["total"] for how in SPREAD)
        stages.append(
            StagePlan(
                name=stage.name,
                counts=counts,
                files=files,
                disk=disk_of(stage, counts, files, stages[-1].disk[STAYS] if stages else base.bytes),
                device=device_memory(stage, trained),
                host=host_memory(recipe, stage, counts, rows.value, args.processes),
                hours=hours,
                range_hours=spread,
                cpu_hours=busy * hours.get("total", 0.0),
            )
        )
    notes = list(ALWAYS_NOTED)
    if any(stage.counts.kept_images for stage in stages):
        notes += KEPT_NOTED
    if base.what not in ("as it is", "as built to be read"):
        notes.append("base.arrow: the lengths of paths and texts are given or assumed (--path-bytes, --text-bytes).")
    assumed = HOURS_NOTED[bool(args.evaluation_images_per_second) :] if rate else NO_HOURS_NOTED
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
        measured=measured,
        feeding=fed,
        notes=notes + (assumed if timed is None else TIMED_NOTED),
    )


def _counted(args: argparse.Namespace, recipe: Recipe) -> tuple[Given, Given, Artefact]:
    """Rows and validation images, given, counted or published, and base.arrow."""
    folder, data = table_folder(recipe), recipe.data
    table = Table.open(folder) if (folder / "base.arrow").is_file() else None
    published = PUBLISHED.get(data.format, (None, None)) if data.classes is None else (None, None)
    if table is not None and args.rows is None:
        rows = Given(table.n_rows, f"in {table.folder}")
    else:
        rows = given("--rows", args.rows, lambda: listed_rows(data), published[0])
    images = given(
        "--evaluation-images", args.evaluation_images, lambda: len(read_validation(data, table)), published[1]
    )
    return rows, images, base_of(args, recipe, rows.value, table)


def _measured(args: argparse.Namespace, recipe: Recipe, found: Measured) -> tuple[Given, Given, Artefact]:
    """As counted to be timed, unless flags say otherwise."""
    rows = found.rows if args.rows is None else Given(args.rows, "--rows")
    images = found.images if args.evaluation_images is None else Given(args.evaluation_images, "--evaluation-images")
    if (args.rows, args.path_bytes, args.text_bytes) == (None, None, None):
        return rows, images, found.base
    return rows, images, base_of(args, recipe, rows.value, None)
