"""A rehearsal of a run on its own images: each kind of stage is timed once, each measuring, and the loader.

By the parts that the training itself is made of (``Trainer``, ``evaluated``, ``FeatureJob``), on random weights, with
all row weights 1. What is written goes to a temporary folder.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import models
from tools.planning.given import STEPS
from tools.planning.keeping import Kept, keep_some, kept_images, measured_from_kept
from tools.planning.pace import Pace, Pass
from tools.planning.timing import BATCHES, Display, Timed, decoding_pace, measuring_pass, timed_stage, warm_up
from urnet.config.duration import Duration
from urnet.config.recipe import Recipe, active_stages
from urnet.config.stage import Measure, Schedule, Stage
from urnet.data.lists.image_list import ImageList
from urnet.data.table.table import Table
from urnet.pipeline.kept_activations import OUTPUTS
from urnet.pipeline.registry import measures


@dataclass(frozen=True)
class Rehearsal:
    """All that was timed. ``measuring``: by the name of each stage that measures with a pass of its own."""

    kinds: tuple[Timed, ...]
    measuring: dict[str, Pass]
    keeping: dict[str, Pass]  # of what frozen parts make of images, by output
    decoding: Pace  # training images by the loader alone

    def of(self, stage: str) -> Timed:
        """The kind of a stage."""
        return next(kind for kind in self.kinds if stage in kind.stages)


@dataclass(frozen=True)
class Scene:
    """What is rehearsed: a recipe on the rows of a table, ``steps`` of each kind of stage; ``folder`` is written to."""

    recipe: Recipe
    table: Table
    validation: ImageList
    folder: Path
    steps: int = STEPS


def rehearse(scene: Scene, n_processes: int) -> Rehearsal:
    """Time one of ``n_processes`` on each kind of stage; progress is on stderr."""
    from urnet.runtime.threads import import_paddle

    import_paddle()
    from urnet.runtime.precision import choose_amp, choose_device, tune_gpu

    device = choose_device(scene.recipe.device)
    if device == "gpu":
        half = any(choose_amp(stage.amp, device) for stage in active_stages(scene.recipe))
        tune_gpu(half=half, channels_last=scene.recipe.model.data_format == "NHWC")
    scene = dataclasses.replace(scene, recipe=_to_measure(scene.recipe, scene.table.n_rows))
    recipe, kinds = scene.recipe, dict[Stage, list[str]]()
    features: dict[tuple[Measure, str | None], list[str]] = {}
    for stage in active_stages(recipe):
        kinds.setdefault(kind_of(stage, n_processes), []).append(stage.name)
        if measures(stage) and not measured_from_kept(recipe, stage):
            measure = dataclasses.replace(stage.measure, network="previous", keep=False)
            features.setdefault((measure, choose_amp(stage.amp, device)), []).append(stage.name)
    total = sum(warm_up(recipe, kind.batch_size) + scene.steps + 2 * BATCHES for kind in kinds)
    timed, measuring, kept = [], {}, dict[str, Kept]()
    outputs = sorted({output for found in kept_images(recipe, 1, 1).values() for output in found})
    with Display(total + BATCHES * (1 + len(features) + len(outputs))) as shown:
        files = [scene.table.path(row) for row in some_rows(scene.table.n_rows)]
        for output in outputs:
            network = models.build(recipe.model.name, recipe.data.n_classes)
            kept[output] = keep_some(recipe, network, output, files, scene.folder / f"{output}.features", device)
            shown.update(BATCHES)
        for kind, names in kinds.items():
            start = time.perf_counter()
            job = _job(scene, kind, choose_amp(kind.amp, device), names[0])
            if kind.train != "all":
                about = kept[OUTPUTS[kind.train]]
                rows = about.images(scene.table.n_rows, len(scene.validation), kind.views, scene.table.path)
                job = dataclasses.replace(job, kept=rows)
            timed.append(timed_stage(job, tuple(names), start, scene.steps, shown))
        for (measure, amp), names in features.items():
            found = measuring_pass(recipe, measure, amp, scene.table, scene.folder / f"{names[0]}-measured")
            measuring.update(dict.fromkeys(names, found))
            shown.update(BATCHES)
        decoding = decoding_pace(dataclasses.replace(job, kept=None))
        shown.update(BATCHES)
    return Rehearsal(tuple(timed), measuring, {name: found.timed for name, found in kept.items()}, decoding)


def some_rows(n: int, most: int = 1000) -> list[int]:
    """At most ``most`` of ``n`` rows, from all of them."""
    return np.unique(np.linspace(0, n - 1, min(most, n)).round().astype(np.int64)).tolist()


def with_evaluation_rate(timed: Rehearsal, rate: float) -> Rehearsal:
    """As timed, but evaluation and measuring at ``rate`` images a second."""
    fixed = Pass(0.0, Pace(1 / rate, 1 / rate, 1 / rate, 0))
    kinds = (dataclasses.replace(kind, bn=kind.bn and fixed, view=fixed) for kind in timed.kinds)
    return dataclasses.replace(
        timed,
        kinds=tuple(kinds),
        measuring=dict.fromkeys(timed.measuring, fixed),
        keeping=dict.fromkeys(timed.keeping, fixed),
    )


def _to_measure(recipe: Recipe, n_rows: int) -> Recipe:
    """The recipe with unreadable images counted, not refused, and without what is written at a stage's end."""
    model = dataclasses.replace(recipe.model, in_classes=False)
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, max_bad=n_rows), model=model)


def kind_of(stage: Stage, n_processes: int = 1) -> Stage:
    """A stage that takes as long a step: what only decides how long it is, or which rows weigh what, left aside."""
    return dataclasses.replace(
        stage,
        name="timed",
        duration=Duration(1, "steps"),
        batch_size=stage.batch_size // n_processes,
        start="scratch",
        finetune=False,
        measure=Measure(),
        reweight=None,
        loss_weight=(),
        sampling_weight=(),
        balance=0.0,
        targets="given" if stage.targets == "given" else "label",
        subsets=None,
        gate=None if stage.gate is None else dataclasses.replace(stage.gate, until=None),
        dividemix=None
        if stage.dividemix is None
        else dataclasses.replace(stage.dividemix, warmup=Duration(0, "steps")),
        schedule=Schedule(lr=1e-4),
        label_smoothing=0.0,
        eval_every=Duration(1, "epochs"),
        checkpoint_every=Duration(1, "epochs"),
        log_every=20,
        keep=1,
        ema=None if stage.ema is None else dataclasses.replace(stage.ema, bn_batches=BATCHES),
    )


def _job(scene: Scene, kind: Stage, amp: str | None, name: str) -> Any:
    from urnet.nn.pair import Pair
    from urnet.training.stage_job import SoftTargets, StageJob, make_sampler

    recipe, table = scene.recipe, scene.table
    labels = table.column("label")
    n_steps = warm_up(recipe, kind.batch_size) + scene.steps
    stage = dataclasses.replace(kind, duration=Duration(n_steps, "steps"), targets="given")
    network = functools.partial(
        models.build,
        recipe.model.name,
        recipe.data.n_classes,
        recompute=recipe.model.recompute,
        data_format=recipe.model.data_format,
    )
    soft = SoftTargets(labels[:, None], np.broadcast_to(np.float32(1), (len(labels), 1)))
    return StageJob(
        recipe=recipe,
        stage=stage,
        network=Pair(network(), network()) if stage.pair else network(),
        amp=amp,
        table=table,
        labels=labels,
        loss_weight=np.ones(len(labels), np.float32),
        sampler=make_sampler(recipe, stage, labels),
        validation=scene.validation,
        folder=scene.folder / name / "run",
        curves=scene.folder / name / "curves",
        targets=None if kind.targets == "given" else soft,
    )
