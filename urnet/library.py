"""Level 3: what ``from urnet import …`` gives, each name with its home; neither Paddle nor scikit-learn yet.

Three things people script (docs/library.md): predictions of a checkpoint (``load_predictor``), reweightings
of arrays of their own (all others in small letters), and a run's table (``Table``, ``Measurement``).
"""

from __future__ import annotations

from urnet.checks import InputError
from urnet.image_predictor import ImagePredictor, Top, load_predictor
from urnet.judge import judge_labels
from urnet.measurement import Measurement
from urnet.recipe import Transform
from urnet.report.suspects import most_suspect
from urnet.reweight.class_size import class_size
from urnet.reweight.cluster import cluster
from urnet.reweight.instance import class_ranks, instance
from urnet.reweight.label import label
from urnet.reweight.out_of_fold import out_of_fold
from urnet.reweight.posterior import posterior
from urnet.reweight.trust import trusted
from urnet.rivals.curriculum import curriculum
from urnet.rivals.relabel import relabel
from urnet.table import Table

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
