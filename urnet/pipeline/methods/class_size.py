"""The method ``class_size``: rows of large classes count less in the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from urnet.config.fields import key, suffix_key
from urnet.pipeline.method import Column, Columns, Method, arguments

if TYPE_CHECKING:
    from urnet.pipeline.stage_rows import StageRows


@dataclass(frozen=True)
class Settings:
    """A row's loss weight falls with the size of its class. Where `balance` or sampling weights even classes out
    already, the weight is computed from the classes as they are *drawn*: nothing is corrected twice, and with
    `balance: 1` all weights are 1. Nothing is measured.
    """

    method: Literal["class_size"] = "class_size"
    power: float = key(1.0, "weight ∝ (class size)^-power", low=0)
    cap: float = key(
        20.0, "no class weighs more than this many times the median class; `.inf`: no cap", low=1, infinite=True
    )
    beta: float | None = key(
        None, "set: the effective number of samples, weight ∝ 1 / (1 - beta^size), instead of the power", low=0, below=1
    )
    suffix: str = suffix_key()


def compute(data: StageRows, settings: Settings) -> Columns:
    """Columns of class.arrow, from the labels and the rows that the stage will draw."""
    from urnet.reweight.class_size import class_size

    return class_size(data.labels, data.n_classes, sampled_share=data.sampled_share(), **arguments(settings))


METHOD = Method(
    name="class_size",
    settings=Settings,
    version=1,
    file="class",
    columns={"class_weight": Column("float32", "class_weight")},
    compute=compute,
    score="class_weight",
    usage="`loss_weight: [class_weight]`",
    needs_features=False,
    sees_sampling=True,
)
