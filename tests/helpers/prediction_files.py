"""Toy prediction files for the tests of what is done with predictions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from urnet.evaluation.prediction_reader import Predictions
from urnet.evaluation.prediction_writer import open_predictions


def probabilities(n, n_classes, seed, labels=None, sharp=2.0):
    """(n, C) rows that sum to 1, float32; with labels they are somewhat right."""
    logits = np.random.default_rng(seed).normal(size=(n, n_classes)) * sharp
    if labels is not None:
        logits[np.arange(n), labels] += 2
    p = np.exp(logits)
    return (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


def listed(p, k):
    """The k best classes and scores of each row."""
    order = np.argsort(-p, axis=1, kind="stable")[:, :k].astype(np.int32)
    return order, np.take_along_axis(p, order, axis=1)


def block(p, k, readable=None, name="m", first=0):
    """Predictions of the rows of ``p``."""
    classes, scores = listed(p, k)
    good = np.ones(len(p), bool) if readable is None else readable
    paths = pa.array([f"{first + i}.jpg" for i in range(len(p))])
    return Predictions(
        name, first, paths, np.where(good[:, None], classes, 0), np.where(good[:, None], scores, 0), good
    )


def part(whole, start, stop):
    """Rows start to stop of a block."""
    rows = slice(start, stop)
    arrays = (values[rows] for values in (whole.path, whole.classes, whole.scores, whole.readable))
    return Predictions(whole.file, whole.first + start, *arrays)


def write(path, p, k, names=None, unreadable=()):
    """Write a prediction file; returns its path."""
    names = names or [f"{i}.jpg" for i in range(len(p))]
    classes, scores = listed(p, k)
    errors = ["broken" if i in unreadable else "" for i in range(len(p))]
    with open_predictions(path) as file:
        file.write_rows(pa.array(names), classes, scores, errors)
    return path


def write_list(path, labels, names=None):
    """Write `path label` lines; returns the path."""
    names = names or [f"{i}.jpg" for i in range(len(labels))]
    path.write_text("".join(f"{name} {label}\n" for name, label in zip(names, labels, strict=True)))
    return path
