"""The settings of a recipe's reweightings, measurements and bags, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from urnet.config.baselines import Curriculum, Relabel


@dataclass(frozen=True)
class ClassSize:
    """Settings of ``urnet.reweight.class_size``; writes class.arrow."""

    method: Literal["class_size"] = "class_size"
    power: float = 1.0
    cap: float = 20.0
    beta: float | None = None  # set: effective number of samples instead of the power law
    suffix: str = ""  # of the file and its columns, where a method is used by several stages


@dataclass(frozen=True)
class Evidence:
    """What is known of each row's class, and how it is joined to one distribution (docs/method.md)."""

    folds: int = 5  # of the out-of-fold head on frozen features
    rounds: int = 3  # the head learns from the labels, then so often from the distribution found with it
    shrinkage: float = 0.1  # of the head's covariance toward its diagonal
    noise: float = 1.0  # exponent of P(given label | true class); 0: not used
    text: float = 1.0  # exponent of P(class the row's text names | true class); 0: texts are not read
    rank_bins: int = 5  # rows are as reliable as others of their source and rank, in so many bins; 0: not used
    word_vectors: str | None = None  # a word2vec or GloVe text file; None: TF-IDF
    least_cosine: float = 0.0  # a text names the class whose text is nearest, if it is nearer than this


@dataclass(frozen=True)
class Cluster:
    """Settings of ``urnet.reweight.cluster``; writes cluster.arrow."""

    method: Literal["cluster"] = "cluster"
    evidence: Evidence = field(default_factory=Evidence)
    confidence: Literal["posterior", "out_of_fold", "network"] = "posterior"  # whose p(given) is the quality
    pca: int = 256
    rows_per_cluster: float = 50.0
    min_clusters: int = 2
    max_clusters: int = 16
    shrink: float = 10.0
    power: float = 1.0
    jobs: int = 1  # processes that classes are spread over
    suffix: str = ""


@dataclass(frozen=True)
class Instance:
    """Settings of the instance reweighting; writes instance.arrow."""

    method: Literal["instance"] = "instance"
    relevance: Literal["posterior", "ranks"] = "posterior"  # how a row's evidence becomes its relevance
    evidence: Evidence = field(default_factory=Evidence)
    confidence_term: float = 1.0  # ranks: weight of the head's confidence
    text_term: float = 1.0  # ranks: weight of the row's text beside its class's
    rank_term: float = 0.5  # ranks: weight of the place in the query's results
    model_term: float = 0.0  # ranks: weight of the relevance model, image beside text
    reliable_rank: float = 0.5  # ranks: google rows in this first share of their results train the model
    scale: Literal["rank", "probability"] = "rank"  # what is weighed: relevance's rank in its class, or itself
    power: float = 1.0
    floor: float = 0.02
    suffix: str = ""


@dataclass(frozen=True)
class Label:
    """Settings of the label reweighting; writes label.arrow."""

    method: Literal["label"] = "label"
    evidence: Evidence = field(default_factory=Evidence)
    teacher: Literal["out_of_fold", "network"] = "out_of_fold"
    sharpness: float = 1.0  # the belief is raised to this before it becomes a target
    rho: float = 1.0  # .inf: the target is what is believed, whatever the given label
    similarity: float = 0.0  # share of the class similarity in the teacher
    certainty: float = 0.0  # label_weight ∝ (largest target)^certainty; 0: all ones
    top_k: int = 10
    suffix: str = ""


# Raised when the same settings give other columns than before, so that stages of older code run again.
VERSIONS = {"class_size": 1, "cluster": 1, "instance": 1, "label": 1, "curriculum": 1, "relabel": 1}
# What may weigh rows, of all that stages write, and what may not.
WEIGHTS = (
    "class_weight",
    "cluster_weight",
    "relevance",
    "instance_weight",
    "confidence",
    "keep",
    "label_weight",
    "target_weight",
    "image_weight",
)
OTHERS = (
    "cluster",
    "oof_index",
    "oof_prob",
    "suggested",
    "suggested_prob",
    "topk_index",
    "topk_prob",
    "bag_attention",
    "subset",
    "density",
    "delta",
    "clean_label",
)
Reweight = ClassSize | Cluster | Instance | Label | Curriculum | Relabel
FILES = {
    "class_size": "class",
    "cluster": "cluster",
    "instance": "instance",
    "label": "label",
    "curriculum": "curriculum",
    "relabel": "relabel",
}
COLUMNS = {
    "class_size": ("class_weight",),
    "cluster": ("cluster", "cluster_weight"),
    "instance": ("relevance", "instance_weight", "confidence", "oof_index", "oof_prob", "suggested", "suggested_prob"),
    "label": ("topk_index", "topk_prob", "keep", "label_weight", "target_weight"),
    "curriculum": ("subset", "density"),
    "relabel": ("image_weight", "clean_label"),
}


@dataclass(frozen=True)
class Measure:
    """How the training images are measured before a reweighting that needs it."""

    network: str = "previous"  # the stage before, or a checkpoint's path
    batch_size: int = 256
    top_k: int = 20
    keep: bool = False  # features and probabilities stay on the disk after the reweighting


@dataclass(frozen=True)
class Bags:
    """A batch of bags, each of ``size`` rows of one class, and the bag loss (``urnet.nn.losses.bag_loss``)."""

    size: int = 4
    temperature: float = 1.0
    bag_term: float = 1.0
    instance_term: float = 1.0


def column_file(settings: Reweight) -> str:
    """The table's file that a reweighting writes: ``class``, ``cluster_second`` …"""
    return FILES[settings.method] + settings.suffix


def holds_no_weights(column: str) -> bool:
    """Whether a column that a stage writes, with or without a suffix, holds something else than weights."""
    return _among(column, OTHERS) and not _among(column, WEIGHTS)


def _among(column: str, names: tuple[str, ...]) -> bool:
    return any(column == name or column.startswith(f"{name}_") for name in names)


def column_names(settings: Reweight) -> tuple[str, ...]:
    """The columns that a reweighting writes."""
    names = COLUMNS[settings.method]
    if isinstance(settings, Curriculum) and settings.delta:
        names = (*names, "delta")
    return tuple(name + settings.suffix for name in names)


def target_columns(file: str) -> tuple[str, ...]:
    """The columns of a file of targets: classes and their probabilities, or, of a relabelling, the class."""
    if file.startswith("relabel"):
        return ("clean_label" + file[len("relabel") :],)
    suffix = file[len("label") :]
    return f"topk_index{suffix}", f"topk_prob{suffix}"
