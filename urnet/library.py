"""Level 3: what ``from urnet import …`` gives, each name with its home; neither Paddle nor scikit-learn yet.

Three things people script (docs/library.md): predictions of a checkpoint (``load_predictor``), reweightings
of arrays of their own (all others in small letters), and a run's table (``Table``, ``Measurement``).
"""

from __future__ import annotations

from urnet.baselines.curriculumnet import curriculum
from urnet.baselines.relabel import relabel
from urnet.config.recipe import Transform
from urnet.core.checks import InputError
from urnet.data.table.table import Table
from urnet.features.store import Measurement
from urnet.inference.image_predictor import ImagePredictor, Top, load_predictor
from urnet.report.suspects import most_suspect
from urnet.reweight.class_size import class_size
from urnet.reweight.cluster import cluster
from urnet.reweight.evidence.out_of_fold import out_of_fold
from urnet.reweight.evidence.posterior import posterior
from urnet.reweight.instance import class_ranks, instance
from urnet.reweight.label import label
from urnet.reweight.label_quality import judge_labels
from urnet.reweight.sampling_weight import trusted

__all__ = [
    "ImagePredictor",
    "InputError",
    "Measurement",
    "Table",
    "Top",
    "Transform",
    "class_ranks",
    "class_size",
    "cluster",
    "curriculum",
    "instance",
    "judge_labels",
    "label",
    "load_predictor",
    "most_suspect",
    "out_of_fold",
    "posterior",
    "relabel",
    "trusted",
]
