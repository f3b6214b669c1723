"""The reweighting methods, one file each. A new one is a file here, a line of ``METHODS`` and its test."""

from __future__ import annotations

from urnet.pipeline.method import Method
from urnet.pipeline.methods import class_size, cluster, curriculum, instance, label, relabel

METHODS: dict[str, Method] = {
    "class_size": class_size.METHOD,
    "cluster": cluster.METHOD,
    "instance": instance.METHOD,
    "label": label.METHOD,
    "curriculum": curriculum.METHOD,
    "relabel": relabel.METHOD,
}
