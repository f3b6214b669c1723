"""What the frozen parts of a run's networks make of its images: computed once, kept by content, found again."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from urnet.config.stage import Stage
from urnet.core.checks import InputError
from urnet.core.signals import GracefulStop
from urnet.data.kept.kept_features import difference, fingerprint, record_type
from urnet.data.kept.kept_rows import KeptRows, KeptView
from urnet.data.kept.pictures import EVALUATION, views_of
from urnet.data.lists.image_list import ImageList
from urnet.data.table.table import Table
from urnet.evaluation.loop import BY_KEY, check_some_readable, check_unreadable
from urnet.features.kept import BATCH, Contents, KeepJob, Work, kept_rows
from urnet.features.kept_measurement import KeptMeasurement, measured
from urnet.inference.feature_network import FeatureNetwork
from urnet.nn.network import Network
from urnet.nn.trained_part import kept_shape
from urnet.pipeline.fingerprints import Fingerprints
from urnet.pipeline.kept_passes import KeptPasses
from urnet.pipeline.registry import measures
from urnet.pipeline.stage_network import BuildNetwork, frozen_source
from urnet.runtime.process_group import ProcessGroup
from urnet.training.stage_job import KeptImages

FOLDER = "kept.features"  # of a run; a stage's name has no dot
OUTPUTS = {"classifier": "features", "top": "front"}  # what a stage of each kind is trained on
ON_GPU = 64  # images at once


class KeptActivations:
    """The kept activations of a run's training and validation images."""

    def __init__(
        self, inputs: Fingerprints, table: Table, validation: ImageList, build: BuildNetwork, group: ProcessGroup
    ) -> None:
        self._recipe, self._home, self._group = inputs.recipe, inputs.home, group
        self._table, self._validation, self._build = table, validation, build
        self._contents = Contents()  # of the training images, then the validation's; read once a run
        self._files: list[str] = []
        self._passes = KeptPasses(inputs.home, writes=group.is_main)
        self._announced: set[str] = set()  # stages of which it was said what they keep

    def images(self, stage: Stage, network: Network) -> KeptImages:
        """What a stage that trains a part of ``network``, which has its first weights, is trained on.

        Computes what is missing; all processes call this. Raises InputError for images that cannot be read, a disk
        that is too small, or a file of kept features that is another one's; Interrupted after SIGTERM or Ctrl-C.
        """
        output, t = OUTPUTS[stage.train], self._recipe.transform
        computing = self._network(stage, stage.start, output, network)
        shape = kept_shape(network, stage.train, t.size)
        views = [dataclasses.replace(computing, shown=view) for view in views_of(stage.views, t, self._recipe.seed)]
        found, made = self._kept(stage, stage.name, views, shape)
        n, reasons = self._table.n_rows, self._contents.unreadable
        train = KeptRows(
            [view.part(0, n) for view in found],
            {i: why for i, why in reasons.items() if i < n},
            self._table.path,
            self._recipe.seed,
        )
        held = KeptRows(
            [found[0].part(n, len(self._files))],
            {i - n: why for i, why in reasons.items() if i >= n},
            self._validation.path,
            self._recipe.seed,
        )
        return KeptImages(train, held, made)

    def measurement(self, stage: Stage, network: Network) -> KeptMeasurement:
        """What ``network``, which measures for a stage, says of the training images."""
        computing = self._network(stage, stage.measure.network, "features", network)
        (found,), made = self._kept(
            stage, f"measure/{stage.name}", [computing], kept_shape(network, "classifier", self._recipe.transform.size)
        )
        n = self._table.n_rows
        features = found.part(0, n)
        said = measured(features, features.readable, self._table.column("label"), network, stage.measure.top_k)
        return dataclasses.replace(said, passes=made)

    def _network(self, stage: Stage, source: str, output: str, network: Network) -> FeatureNetwork:
        recipe = self._recipe
        return FeatureNetwork(
            lambda *_: self._build(),
            recipe.model.name,
            frozen_source(recipe, stage, source, self._home, output),
            recipe.data.n_classes,
            recipe.transform,
            recipe.data.exif,
            recipe.data.max_pixels,
            output=output,
            device=recipe.device,
            code=Path(inspect.getfile(type(network))).parent,
        )

    def _kept(
        self, stage: Stage, asker: str, views: Sequence[FeatureNetwork], shape: Sequence[int]
    ) -> tuple[list[KeptView], int]:
        """Each view's activations, the first one's of all images, the others' of the training images; and how many
        training images passed a network for them, for ``asker`` (the stage, or its measuring)."""
        n = self._table.n_rows
        if not self._files:
            held = self._validation
            self._files = [*map(self._table.path, range(n)), *map(held.path, range(len(held)))]
        places = [self._place(stage, view) for view in views]
        size, found, made = record_type(math.prod(shape)).itemsize, [], 0
        with GracefulStop() as stop:
            for number, (view, place) in enumerate(zip(views, places, strict=True)):
                files = self._files[: None if number == 0 else n]
                to_come = sum(_missing(later, n * size) for later in places[number + 1 :])
                part = f", view {number + 1} of {len(views)}" if len(views) > 1 else ""
                job = KeepJob(
                    files,
                    view,
                    place,
                    Work(self._batch_size(), workers=self._recipe.data.workers, show=self._group.is_main),
                    title=f"stage {stage.name}: {'maps' if view.output == 'front' else view.output}{part}",
                    check=self._check_unreadable,
                    announce=functools.partial(self._announce, stage, place, size, to_come),
                    begun=functools.partial(self._passes.begin, asker, place),
                    group=self._group,
                    stop=stop,
                )
                kept, _ = job.run(self._contents)
                rows = kept_rows(kept, len(files), self._contents)
                found.append(KeptView(kept, rows, shape))
                made += self._passes.made(asker, place, rows[:n])
        return found, made

    def _batch_size(self) -> int:
        from urnet.runtime.precision import choose_device

        return ON_GPU if choose_device(self._recipe.device) == "gpu" else BATCH

    def _place(self, stage: Stage, network: FeatureNetwork) -> Path:
        """The file of what ``network`` computes: ``data.features`` where it is that, else one of the run's own."""
        identity, given = network.identity(), self._recipe.data.features
        own = self._home / FOLDER / f"{network.output}-{fingerprint(identity)[:12]}"
        if given is None or network.output != "features" or network.shown != EVALUATION:
            return own
        said = difference(Path(given), identity)
        if not said:
            return Path(given)
        if self._group.is_main:
            print(
                f"note: data.features: {given}: its features are {said}; those of stage {stage.name} are in {own}",
                file=sys.stderr,
            )
        return own

    def _announce(self, stage: Stage, place: Path, size: int, to_come: int, n: int) -> None:
        """Say how many bytes will be kept, and raise InputError where the disk has no room for them.

        ``n`` images of ``size`` bytes each, and those ``to_come`` in other views.
        """
        if not self._group.is_main:
            return
        needed = n * size + to_come
        free = shutil.disk_usage(next(folder for folder in place.absolute().parents if folder.exists())).free
        given = self._recipe.data.features
        where = f"{_bytes(needed)} in {place if given and place == Path(given) else place.parent}"
        text = f"stage {stage.name}: the output of its frozen part is kept: {where}"
        if needed > free:
            raise InputError(f"{text}; but {_bytes(free)} are free there; use fewer views, or set another output")
        if stage.name not in self._announced:
            print(text, file=sys.stderr)
            self._announced.add(stage.name)

    def _check_unreadable(self, unreadable: Mapping[int, str]) -> None:
        n, most = self._table.n_rows, self._recipe.data.max_bad
        for begin, end, what in ((0, n, "training images"), (n, len(self._files), "validation images")):
            bad = {i: (self._files[i], why) for i, why in sorted(unreadable.items()) if begin <= i < end}
            check_unreadable(bad, len(bad), most, BY_KEY)
            check_some_readable(bad, end - begin - len(bad), what)


def _missing(place: Path, whole: int) -> int:
    """Bytes that a file has not yet of a ``whole``."""
    return max(whole - (place.stat().st_size if place.exists() else 0), 0)


def _bytes(n: int) -> str:
    size, unit = next((size, unit) for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (0, "bytes")) if n >= size)
    return f"{n / size:.1f} {unit}" if size > 1e3 else f"{n / (size or 1):.0f} {unit}"


def check_parts(stages: Sequence[Stage], build_network: BuildNetwork, name: str) -> None:
    """Raise InputError for a stage that trains, or measures, a part of a network that has none."""
    parts: dict[str, Any] = {stage.train: stage for stage in stages if stage.train != "all"}
    front = next((stage for stage in stages if measures(stage) and stage.measure.front), None)
    if not parts and front is None:
        return
    network = build_network()
    if front is not None and not hasattr(network, "front"):
        raise InputError(
            f"stages.{front.name}.measure.front: found true, but network {name} has no `front`: it cannot be cut "
            "before its last part; accepted: false"
        )
    for train, stage in parts.items():
        if not hasattr(network, OUTPUTS[train]):
            instead = "all or classifier" if train == "top" and hasattr(network, "features") else "all"
            raise InputError(
                f"stages.{stage.name}.train: found {train}, but network {name} has no `{OUTPUTS[train]}`, "
                f"so nothing before its last part can be kept; accepted: {instead}"
            )
