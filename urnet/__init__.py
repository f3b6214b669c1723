"""URNet: image classifiers from web data, trained by reweighting its instances.

The names below are what scripts use (docs/library.md). Each is imported from its home when it is first asked
for, so that ``import urnet`` itself imports nothing. The packages and their order: docs/architecture.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "1.0.0"

_HOMES = {
    "ImagePredictor": "urnet.inference.image_predictor",
    "InputError": "urnet.core.checks",
    "Measurement": "urnet.features.store",
    "Table": "urnet.data.table.table",
    "Top": "urnet.inference.image_predictor",
    "Transform": "urnet.config.recipe",
    "add_column": "urnet.pipeline.own_columns",
    "class_ranks": "urnet.reweight.evidence.ranks",
    "class_size": "urnet.reweight.class_size",
    "cluster": "urnet.reweight.cluster",
    "curriculum": "urnet.baselines.curriculumnet",
    "feature_network": "urnet.suspects.network",
    "find_suspects": "urnet.suspects.find",
    "instance": "urnet.reweight.instance",
    "label": "urnet.reweight.label",
    "label_quality": "urnet.reweight.label_quality",
    "leaks": "urnet.reweight.near_duplicates",
    "load_predictor": "urnet.inference.image_predictor",
    "most_suspect": "urnet.report.suspects",
    "near_duplicates": "urnet.reweight.near_duplicates",
    "off_topic": "urnet.reweight.off_topic",
    "open_table": "urnet.pipeline.own_columns",
    "out_of_fold": "urnet.reweight.evidence.out_of_fold",
    "posterior": "urnet.reweight.evidence.posterior",
    "read_photos": "urnet.suspects.photos",
    "relabel": "urnet.baselines.relabel",
    "sampling_weight": "urnet.reweight.sampling_weight",
    "worth_asking": "urnet.reweight.worth_asking",
}
_EARLIER = {"judge_labels": "label_quality", "trusted": "sampling_weight"}  # names of before, which go on working
__all__ = list(_HOMES)

if TYPE_CHECKING:
    from urnet.baselines.curriculumnet import curriculum as curriculum
    from urnet.baselines.relabel import relabel as relabel
    from urnet.config.recipe import Transform as Transform
    from urnet.core.checks import InputError as InputError
    from urnet.data.table.table import Table as Table
    from urnet.features.store import Measurement as Measurement
    from urnet.inference.image_predictor import ImagePredictor as ImagePredictor
    from urnet.inference.image_predictor import Top as Top
    from urnet.inference.image_predictor import load_predictor as load_predictor
    from urnet.pipeline.own_columns import add_column as add_column
    from urnet.pipeline.own_columns import open_table as open_table
    from urnet.report.suspects import most_suspect as most_suspect
    from urnet.reweight.class_size import class_size as class_size
    from urnet.reweight.cluster import cluster as cluster
    from urnet.reweight.evidence.out_of_fold import out_of_fold as out_of_fold
    from urnet.reweight.evidence.posterior import posterior as posterior
    from urnet.reweight.evidence.ranks import class_ranks as class_ranks
    from urnet.reweight.instance import instance as instance
    from urnet.reweight.label import label as label
    from urnet.reweight.label_quality import label_quality as label_quality
    from urnet.reweight.near_duplicates import leaks as leaks
    from urnet.reweight.near_duplicates import near_duplicates as near_duplicates
    from urnet.reweight.off_topic import off_topic as off_topic
    from urnet.reweight.sampling_weight import sampling_weight as sampling_weight
    from urnet.reweight.worth_asking import worth_asking as worth_asking
    from urnet.suspects.find import find_suspects as find_suspects
    from urnet.suspects.network import feature_network as feature_network
    from urnet.suspects.photos import read_photos as read_photos
else:  # hidden from type checkers, so that they know each name and no other

    def __getattr__(name: str) -> Any:
        """A name of ``__all__`` from its home (PEP 562)."""
        from importlib import import_module

        name = _EARLIER.get(name, name)
        if name not in _HOMES:
            raise AttributeError(f"module 'urnet' has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
