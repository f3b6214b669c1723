"""The method ``instance``: rows whose evidence speaks for their label are drawn more often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from urnet.config.fields import Need, key, suffix_key
from urnet.config.stage import Evidence, Stage
from urnet.pipeline.method import Column, Columns, Method

if TYPE_CHECKING:
    from urnet.pipeline.evidence import StageEvidence
    from urnet.pipeline.stage_rows import StageRows

TERMS = ("confidence", "text", "rank", "model")


@dataclass(frozen=True)
class Settings:
    """A row is drawn the more, the more its evidence speaks for its label."""

    method: Literal["instance"] = "instance"
    relevance: Literal["posterior", "ranks"] = key(
        "posterior",
        "posterior: the probability of the given label, all evidence joined; ranks: the row's place in its class by a "
        "weighted sum of terms",
    )
    evidence: Evidence = key(Evidence(), "what is known of each row")
    confidence_term: float = key(1.0, "ranks: weight of the head's p(given label)", low=0)
    text_term: float = key(1.0, "ranks: weight of the similarity of the row's text and its class's text", low=0)
    rank_term: float = key(0.5, "ranks: weight of the place in the query's results", low=0)
    model_term: float = key(0.0, "ranks: weight of the relevance model of image and text; not all four may be 0", low=0)
    reliable_rank: float = key(
        0.5, "ranks: Google's rows in this first share of their results train the relevance model", above=0, high=1
    )
    scale: Literal["rank", "rank_of_all", "probability"] = key(
        "rank",
        "value behind the weight: the relevance's rank in its class, from 0 to 1, its rank among all rows, or the "
        "relevance itself; with `relevance: ranks` they are the same",
    )
    power: float = key(1.0, "weight ∝ max(scaled relevance, floor)^power", low=0)
    floor: float = key(0.02, "smallest value, for all rows below it", above=0, high=1)
    suffix: str = suffix_key()


def check(settings: Settings, need: Need) -> None:
    """Settings that do not go together."""
    total = sum(getattr(settings, f"{term}_term") for term in TERMS)
    good = settings.relevance != "ranks" or total > 0
    need(good, "confidence_term", settings.confidence_term, "a term above 0")


def compute(data: StageRows, settings: Settings) -> Columns:
    """Columns of instance.arrow."""
    evidence = data.evidence(settings.evidence)
    first = evidence.head()
    found = evidence.joined(first)
    weigh = _weigh_by_posterior if settings.relevance == "posterior" else _weigh_by_terms
    inside = {"in_classes": data.in_classes} if settings.evidence.votes else {}
    return {
        **weigh(settings, evidence, first, found),
        **inside,
        "confidence": first["given"],
        "oof_index": first["index"],
        "oof_prob": first["prob"],
        "suggested": found["index"][:, 0],
        "suggested_prob": found["prob"][:, 0].astype(np.float32),
    }


def _weigh_by_posterior(settings: Settings, evidence: StageEvidence, first: Columns, found: Columns) -> Columns:
    from urnet.reweight.evidence.ranks import decided_ranks
    from urnet.reweight.sampling_weight import sampling_weight

    labels, relevance = evidence.labels, evidence.relevance(first, found)
    compared = {"rank": labels, "rank_of_all": np.zeros_like(labels)}.get(settings.scale)
    scaled = relevance if compared is None else decided_ranks(relevance, compared, evidence.certain)
    weighed = sampling_weight(labels, evidence.n_classes, relevance=scaled, power=settings.power, floor=settings.floor)
    return {**weighed, "relevance": relevance}


def _weigh_by_terms(settings: Settings, evidence: StageEvidence, first: Columns, _: Columns) -> Columns:
    from urnet.reweight.instance import instance

    weights = {term: getattr(settings, f"{term}_term") for term in TERMS}
    terms, known = evidence.terms(first, weights, settings.reliable_rank)
    return instance(
        evidence.labels,
        evidence.n_classes,
        evidence=terms,
        known=known,
        terms={name: weights[name] for name in terms},
        decided=evidence.decided,
        power=settings.power,
        floor=settings.floor,
    )


def _votes(settings: Settings) -> bool:
    return settings.evidence.votes


def _measured_top_k(stage: Stage) -> int:
    return stage.measure.top_k


METHOD = Method(
    name="instance",
    settings=Settings,
    version=1,
    file="instance",
    columns={
        "relevance": Column("float32", "weight"),
        "instance_weight": Column("float32", "weight"),
        "in_classes": Column("float32", "weight", when=_votes),
        "confidence": Column("float32", "weight"),
        "oof_index": Column("int32", width=_measured_top_k),
        "oof_prob": Column("float16", width=_measured_top_k),
        "suggested": Column("int32", empty=-1),
        "suggested_prob": Column("float32"),
    },
    compute=compute,
    score="instance_weight",
    usage="`sampling_weight: [instance_weight]`, with `votes` also `[instance_weight, in_classes]`",
    needs_texts=True,
    check=check,
)
