"""The method ``label``: rows are trained towards what is known of them, not towards their label alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from urnet.config.fields import Need, key, suffix_key
from urnet.config.stage import Evidence, Stage
from urnet.pipeline.method import Column, Columns, Method

if TYPE_CHECKING:
    from urnet.pipeline.evidence import StageEvidence
    from urnet.pipeline.stage_rows import StageRows


@dataclass(frozen=True)
class Settings:
    """A row's target becomes a distribution over classes."""

    method: Literal["label"] = "label"
    evidence: Evidence = key(Evidence(), "what is known of each row")
    teacher: Literal["out_of_fold", "network"] = key(
        "out_of_fold",
        "source of the probabilities that the evidence starts from; network: the one that measures, once, without "
        "`folds`, `rounds` and `shrinkage`",
    )
    sharpness: float = key(
        1.0, "the posterior is raised to this power and rescaled to sum to 1; above 1: surer targets", above=0
    )
    rho: float = key(
        1.0,
        "the given label keeps (its probability)^rho of the target; `.inf`: the target is the joined evidence itself",
        low=0,
        infinite=True,
    )
    similarity: float = key(0.0, "share of classes like the given one in the rest of the target", low=0, high=1)
    certainty: float = key(
        0.0,
        "`label_weight` ∝ (largest probability of the target)^certainty, 0: all ones; with `votes` multiplied by how "
        "likely the row shows any class",
        low=0,
    )
    top_k: int = key(10, "number of classes in a target", low=1, high=32767)
    suffix: str = suffix_key()


def check_use(settings: Settings, stage: Stage, own: bool, need: Need) -> None:
    """A stage does not draw its rows by a weight that is made of what it draws."""
    name = f"target_weight{settings.suffix}"
    good = not own or name not in stage.sampling_weight
    need(good, "sampling_weight", name, "a loss_weight, as it is made of what is drawn")


def compute(data: StageRows, settings: Settings) -> Columns:
    """Columns of label.arrow."""
    from urnet.reweight.class_size import target_size
    from urnet.reweight.label import label

    evidence = data.evidence(settings.evidence)
    first, found = _posterior(data, settings, evidence)
    targets = label(
        data.labels,
        data.n_classes,
        index=found["index"],
        prob=found["prob"],
        given=found["given"],
        rho=settings.rho,
        sharpness=settings.sharpness,
        similarity=evidence.similarity(first) if settings.similarity > 0 else None,
        similarity_share=settings.similarity,
        k=min(settings.top_k, data.n_classes),
    )
    targets["label_weight"] = _label_weight(data, settings, targets["topk_prob"].max(axis=1))
    drawn = data.expected_draws({name: targets[name] for name in ("keep", "label_weight")})
    sizes = target_size(targets["topk_index"], targets["topk_prob"], data.n_classes, drawn=drawn)
    return {**targets, **sizes}


def _label_weight(data: StageRows, settings: Settings, largest: np.ndarray) -> np.ndarray:
    """(n,) float32, of mean 1 in each class; what fits no class weighs little where that is known."""
    from urnet.reweight.sampling_weight import sampling_weight

    power = settings.certainty
    if settings.evidence.votes:
        largest, power = largest**power * data.in_classes, 1.0
    return sampling_weight(data.labels, data.n_classes, relevance=largest, power=power)["instance_weight"]


def _posterior(data: StageRows, settings: Settings, evidence: StageEvidence) -> tuple[dict[str, Any], Columns]:
    """The teacher's probabilities, and those of all evidence joined."""
    if settings.teacher == "out_of_fold":
        first = evidence.head()
        return first, evidence.joined(first)
    k = evidence.top_k
    teacher = {"index": np.asarray(data.index[:])[:, :k], "given": data.given, "prob": np.asarray(data.prob[:])[:, :k]}
    return teacher, evidence.posterior(teacher)


def _top_k(stage: Stage) -> int:
    assert isinstance(stage.reweight, Settings)
    return stage.reweight.top_k


METHOD = Method(
    name="label",
    settings=Settings,
    version=1,
    file="label",
    columns={
        "topk_index": Column("int32", "target_index", width=_top_k),
        "topk_prob": Column("float16", "target_prob", width=_top_k),
        "keep": Column("float32", "weight"),
        "label_weight": Column("float32", "weight"),
        "target_weight": Column("float32", "weight"),
    },
    compute=compute,
    score="topk_prob",
    usage="`targets: label` (the file), `sampling_weight: [label_weight]`, `loss_weight: [target_weight]`",
    reads_classes=lambda settings: settings.teacher == "network",
    needs_texts=True,
    sees_sampling=True,
    check_use=check_use,
)
