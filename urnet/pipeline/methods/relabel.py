"""The method ``relabel``: PCI's cleaning, image weights and other labels by what a network predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from urnet.config.fields import Need, key, suffix_key
from urnet.config.stage import Stage
from urnet.pipeline.method import Column, Columns, Method, arguments

if TYPE_CHECKING:
    from urnet.pipeline.stage_rows import StageRows


@dataclass(frozen=True)
class Settings:
    """A row is drawn the more, the surer the network that measures is of its label; on request the rows of the lowest
    probability are left out, and what the network is very sure of becomes the label (PCI in our reading,
    [Baselines](baselines.md)).
    """

    method: Literal["relabel"] = "relabel"
    power: float = key(1.0, "`image_weight` ∝ max(p(label), floor)^power inside a class", low=0)
    floor: float = key(0.02, "smallest value, for all rows below it", above=0, high=1)
    drop: float = key(
        0.0, "share of a class's rows, those of the lowest p(given label), that get weight 0", low=0, high=0.999
    )
    adopt: float = key(
        math.inf,
        "another class at least as probable becomes the label, `clean_label`; `.inf`: no label changes. Below it, a "
        "stage that names `image_weight` must have `targets: relabel`",
        above=0,
        infinite=True,
        words="more than 0; .inf: no label changes",
    )
    suffix: str = suffix_key()


def check_use(settings: Settings, stage: Stage, own: bool, need: Need) -> None:
    """Rows that were given another label are not drawn as such and trained on the old one."""
    name, file = f"image_weight{settings.suffix}", f"relabel{settings.suffix}"
    if settings.adopt < math.inf and name in (*stage.sampling_weight, *stage.loss_weight):
        words = f"{file}, as {name} weighs rows by the labels that it gave them"
        need(stage.targets == file, "targets", stage.targets, words)


def compute(data: StageRows, settings: Settings) -> Columns:
    """Columns of relabel.arrow."""
    from urnet.baselines.relabel import relabel

    network = {"given": data.given, "index": data.index, "prob": data.prob}
    return relabel(data.labels, data.n_classes, **network, **arguments(settings))


METHOD = Method(
    name="relabel",
    settings=Settings,
    version=1,
    file="relabel",
    columns={"image_weight": Column("float32", "weight"), "clean_label": Column("int32", "target_label")},
    compute=compute,
    score="image_weight",
    usage="`sampling_weight: [image_weight]`, `targets: relabel`",
    reads_classes=lambda settings: True,
    check_use=check_use,
)
