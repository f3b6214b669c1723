"""The method ``curriculum``: CurriculumNet's subsets of each class, from dense to sparse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from urnet.config.fields import Need, key, suffix_key
from urnet.config.stage import Stage
from urnet.pipeline.method import Column, Columns, Method, arguments

if TYPE_CHECKING:
    from urnet.pipeline.stage_rows import StageRows


@dataclass(frozen=True)
class Settings:
    """Inside each class, rows in dense places of feature space are taken for clean ones (CurriculumNet,
    [Baselines](baselines.md)). An image that cannot be read is in no subset (-1).
    """

    method: Literal["curriculum"] = "curriculum"
    quantile: float = key(0.6, "the radius: this quantile of all n² distances of the class", above=0, high=1)
    density: Literal["count", "gaussian"] = key(
        "count", "neighbours within the radius, or a sum of Gaussians of that width"
    )
    split: Literal["density", "distance"] = key(
        "density", "what k-means divides: the densities, or the distances to the densest row"
    )
    n_subsets: int = key(3, "number of subsets of each class; subset 0 is the cleanest", low=2, high=127)
    pca: int = key(256, "features are projected to this width first; 0: not projected", low=0)
    delta: bool = key(False, "also write each row's distance to the nearest denser row")
    jobs: int = key(1, "number of processes that share the classes; the result is the same", low=1, free=True)
    suffix: str = suffix_key()


def check_use(settings: Settings, stage: Stage, own: bool, need: Need) -> None:
    """Batches have parts of no more subsets than there are."""
    if stage.subsets is not None and stage.subsets.column == f"subset{settings.suffix}":
        n, parts = settings.n_subsets, stage.subsets.parts
        need(len(parts) <= n, "subsets.parts", parts, f"up to {n} parts, as the curriculum has n_subsets {n}")


def compute(data: StageRows, settings: Settings) -> Columns:
    """Columns of curriculum.arrow."""
    from urnet.baselines.curriculumnet import curriculum

    def of_classes(features: Any, labels: np.ndarray, own: Any) -> Columns:
        decided = None if data.decided is None else data.decided[own]
        return curriculum(features, labels, data.n_classes, seed=data.seed, decided=decided, **arguments(settings))

    return data.by_class(of_classes)


METHOD = Method(
    name="curriculum",
    settings=Settings,
    version=1,
    file="curriculum",
    columns={
        "subset": Column("int8", "subset", empty=-1),
        "density": Column("float32"),
        "delta": Column("float32", when=lambda settings: settings.delta),
    },
    compute=compute,
    score="density",
    usage="`subsets: {…}`",
    per_class=True,
    check_use=check_use,
)
