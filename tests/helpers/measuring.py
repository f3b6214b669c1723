"""Forty images measured by a small network: in this process, or in another."""

from pathlib import Path

import numpy as np
import paddle

import models
from tests.helpers.image_sources import Slow, make
from urnet.data.loading.loader import ImageSource
from urnet.features.extract import FeatureJob

N, CLASSES = 40, 5
LABELS = np.random.default_rng(1).integers(0, CLASSES, N).astype(np.int32)
SHAPE = {"k": 3, "batch_size": 6, "shard": 16}  # shards of 16, 16 and 8 rows; batches of 6, 6, 4 | … | 6, 2


def network(n_classes=CLASSES):
    paddle.seed(3)
    return models.build("ResNet8_small32", n_classes)


def run(folder, files, *, kind=ImageSource, net=None, **options):
    """Measure the files."""
    settings = {"fingerprint": "w1", "base_hash": "b", **SHAPE, **options}
    return FeatureJob(make(kind, files, train=False), LABELS, Path(folder), **settings).run(net or network())


def apart(folder, files, rank, world_size, slow):
    """What a process of several does; a slow one takes its time for every image."""
    done = run(folder, files, kind=Slow if slow else ImageSource, rank=rank, world_size=world_size, timeout=600)
    assert len(done.given) == N
