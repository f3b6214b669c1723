"""The method ``cluster``: rows in clusters that are recognised as their class are drawn more often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from urnet.config.fields import Need, key, suffix_key
from urnet.config.stage import Evidence
from urnet.pipeline.method import Column, Columns, Method, arguments

if TYPE_CHECKING:
    from urnet.pipeline.stage_rows import StageRows

MOST_CLUSTERS = (1 << 15) - 1  # of a class, as they are numbered in int16


@dataclass(frozen=True)
class Settings:
    """Inside each class, rows are clustered in feature space; a cluster is drawn the more, the better its rows are
    recognised as their class. With `confidence: out_of_fold` only `folds` and `shrinkage` of the evidence count, with
    `network` none of it.
    """

    method: Literal["cluster"] = "cluster"
    evidence: Evidence = key(Evidence(), "what is known of each row")
    confidence: Literal["posterior", "out_of_fold", "network"] = key(
        "posterior",
        "source of p(given label), whose average is a cluster's quality: all evidence joined, a head that was not "
        "trained on the row, or the network that measures",
    )
    pca: int = key(256, "features are projected to this width first", low=1)
    rows_per_cluster: float = key(50.0, "a class of n rows has round(sqrt(n / this)) clusters", above=0)
    min_clusters: int = key(2, "smallest number of clusters, up to max_clusters", low=1, high=MOST_CLUSTERS)
    max_clusters: int = key(16, "largest number of clusters", low=1, high=MOST_CLUSTERS)
    shrink: float = key(10.0, "weight, in rows, of the class's mean that is mixed into each cluster's quality", low=0)
    power: float = key(1.0, "weight ∝ quality^power", low=0)
    jobs: int = key(1, "number of processes that share the classes; the result is the same", low=1, free=True)
    suffix: str = suffix_key()


def check(settings: Settings, need: Need) -> None:
    """Settings that do not go together."""
    low, high = settings.min_clusters, settings.max_clusters
    need(low <= high, "min_clusters", low, f"up to max_clusters {high}")


def compute(data: StageRows, settings: Settings) -> Columns:
    """Columns of cluster.arrow.

    The main process says how sure each label is and fits the PCA; all of them cluster their classes.
    """
    from urnet.reweight.cluster import cluster
    from urnet.reweight.evidence.projection import fit_projection

    given, projection, chosen = None, None, arguments(settings, but=("evidence", "confidence", "pca"))
    if data.group.is_main:
        given = _given(data, settings)
        projection = fit_projection(data.features, pca=settings.pca, seed=data.seed)
    given, projection = data.group.broadcast((given, projection))

    def of_classes(features: Any, labels: np.ndarray, own: Any) -> Columns:
        known = {"decided": None if data.decided is None else data.decided[own], "projection": projection}
        return cluster(features, labels, given[own], data.n_classes, seed=data.seed, **known, **chosen)

    return data.by_class(of_classes)


def _given(data: StageRows, settings: Settings) -> np.ndarray:
    """p_i(y_i) of the rows, by the network, an out-of-fold head or the joined evidence."""
    if settings.confidence == "network":
        return data.given
    evidence = data.evidence(settings.evidence)
    head = evidence.head()
    if settings.confidence == "posterior":
        relevance = evidence.relevance(head, evidence.joined(head))
        return relevance * data.in_classes if settings.evidence.votes else relevance
    return head["given"]


METHOD = Method(
    name="cluster",
    settings=Settings,
    version=1,
    file="cluster",
    columns={"cluster": Column("int16", empty=-1), "cluster_weight": Column("float32", "weight")},
    compute=compute,
    score="cluster_weight",
    usage="`sampling_weight: [cluster_weight]`",
    reads_classes=lambda settings: settings.confidence == "network",
    needs_texts=True,
    per_class=True,
    check=check,
)
