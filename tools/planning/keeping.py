"""Stages that train a part of the network: what its frozen part makes of the images is computed once, and kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import models
from tools.planning.pace import Pass, timed_pass
from urnet.config.recipe import Recipe, active_stages
from urnet.config.stage import Stage
from urnet.core.checks import InputError
from urnet.data.kept.kept_features import record_type
from urnet.data.kept.pictures import EVALUATION, View, views_of
from urnet.pipeline.fingerprints import measures_kept
from urnet.pipeline.kept_activations import OUTPUTS
from urnet.pipeline.registry import measures
from urnet.pipeline.run_folder import home_of
from urnet.pipeline.stage_network import frozen_source

BATCHES = 10  # timed, of the few images that are computed at once


def measured_from_kept(recipe: Recipe, stage: Stage) -> bool:
    """Whether a stage's reweighting measures with features that are kept."""
    stages = active_stages(recipe)
    number = [each.name for each in stages].index(stage.name)
    return measures(stage) and measures_kept(stage, stages[number - 1] if number else None)


def kept_images(recipe: Recipe, rows: int, images: int) -> dict[str, dict[str, int]]:
    """Stage -> output -> how many images are computed for it; those that a stage before computed are there.

    ``rows`` training and ``images`` validation images; the latter in the evaluation's view only.
    """
    home, found = home_of(recipe), dict[str, dict[str, int]]()
    there: set[tuple[str, str, View]] = set()
    for stage in active_stages(recipe):
        wanted = []
        if measured_from_kept(recipe, stage):
            wanted.append(("features", stage.measure.network, EVALUATION))
        if stage.train != "all":
            views = views_of(stage.views, recipe.transform, recipe.seed)
            wanted += [(OUTPUTS[stage.train], stage.start, view) for view in views]
        found[stage.name] = {}
        for output, start, view in wanted:
            key = (frozen_source(recipe, stage, start, home, output), output, view)
            if key not in there:
                there.add(key)
                n = rows + images if view == EVALUATION else rows
                found[stage.name][output] = found[stage.name].get(output, 0) + n
    return found


def record_bytes(recipe: Recipe, output: str, feature_width: int) -> int:
    """Bytes that are kept of one image in one view. Builds the network where its maps are kept."""
    if output == "features":
        return record_type(feature_width).itemsize
    from urnet.nn.trained_part import kept_shape

    network = models.build(recipe.model.name, recipe.data.n_classes)
    return record_type(math.prod(kept_shape(network, "top", recipe.transform.size))).itemsize


def measured_width(recipe: Recipe, stage: Stage, feature_width: int) -> int:
    """Values of a row's features that a stage measures. Builds the network where the maps in front count as well."""
    if not stage.measure.front:
        return feature_width
    from urnet.features.forward import FRONT_PARTS
    from urnet.nn.trained_part import kept_shape

    network = models.build(recipe.model.name, recipe.data.n_classes)
    return feature_width + kept_shape(network, "top", recipe.transform.size)[0] * FRONT_PARTS**2


class _Timed:
    """A network of random weights that notes when it is asked: ``urnet.features.kept.KeptNetwork``."""

    shown = EVALUATION

    def __init__(self, recipe: Recipe, network: Any, output: str, device: str) -> None:
        from urnet.inference.predictor import FeatureExtractor, FrontExtractor
        from urnet.nn.normalise import Normalise

        self.transform, self.exif, self.max_pixels = recipe.transform, recipe.data.exif, recipe.data.max_pixels
        self.moments: list[float] = []
        self._device, self._output = device, output
        self._kind = FrontExtractor if output == "front" else FeatureExtractor
        self._normalised = Normalise(network, self.transform.mean, self.transform.std)

    def identity(self) -> dict[str, Any]:
        return {"timed": self._output}

    def extractor(self, batch_size: int, threads: int | None = None) -> _Timed:
        self._normalised.eval()
        how: dict[str, Any] = {"batch_size": batch_size, "threads": threads, "device": self._device}
        self._engine = self._kind(self._normalised, self.transform.size, **how)  # nothing goes to the program cache
        return self

    def launch(self, images: np.ndarray) -> Callable[[], np.ndarray]:
        self.moments.append(time.perf_counter())
        return self._engine.launch(images)


@dataclass(frozen=True)
class Kept:
    """Activations of a few images: how long a pass takes, and the records of those that could be read."""

    timed: Pass
    file: Any  # KeptFeatures
    records: np.ndarray
    shape: tuple[int, ...]

    def images(self, n: int, held: int, views: int, path_of: Callable[[int], str]) -> Any:
        """``KeptImages`` of ``n`` training and ``held`` validation images that all look like these few."""
        from urnet.data.kept.kept_rows import KeptRows, KeptView
        from urnet.training.stage_job import KeptImages

        def of(count: int, n_views: int) -> Any:
            view = KeptView(self.file, self.records[np.arange(count) % len(self.records)], self.shape)
            return KeptRows([view] * n_views, {}, path_of, 0)

        return KeptImages(of(n, views), of(held, 1))


def keep_some(recipe: Recipe, network: Any, output: str, files: Sequence[str], place: Path, device: str) -> Kept:
    """Compute and keep what ``network`` makes of some of ``files`` at ``output``. InputError where none can be read."""
    from urnet.features.kept import BATCH, Contents, KeepJob, Work, kept_rows
    from urnet.nn.trained_part import kept_shape
    from urnet.pipeline.kept_activations import ON_GPU

    size = ON_GPU if device == "gpu" else BATCH
    chosen = np.unique(np.linspace(0, len(files) - 1, min(BATCHES * size, len(files))).round().astype(np.int64))
    some, timed, contents = [files[i] for i in chosen.tolist()], _Timed(recipe, network, output, device), Contents()
    start = time.perf_counter()
    file, n = KeepJob(some, timed, place, Work(size, workers=recipe.data.workers, show=False)).run(contents)
    if not n:
        first = min(contents.unreadable)
        raise InputError(
            f"none of {len(some)} images can be read; the first: {some[first]}: {contents.unreadable[first]}"
        )
    sizes = [min(size, n - i) for i in range(0, n, size)]
    moments = timed.moments[: len(sizes)]
    records = kept_rows(file, len(some), contents)
    train = next(train for train, known in OUTPUTS.items() if known == output)
    return Kept(
        timed_pass(start, moments, time.perf_counter(), sizes[: len(moments)]),
        file,
        records[records >= 0],
        tuple(kept_shape(network, train, recipe.transform.size)),
    )
