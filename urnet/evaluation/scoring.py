"""Evaluates predictions beyond accuracy: calibration, large and small classes, comparisons.

All of it works on counts or on a few bytes per image; predictions come in blocks of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from urnet.core.checks import InputError, check_labels, check_same_rows
from urnet.core.progress import Progress
from urnet.data.lists.labelled_list import read_list
from urnet.data.table.table import Table
from urnet.evaluation.accuracy import ClassAccuracy
from urnet.evaluation.class_report import Confusion
from urnet.evaluation.label_offset import LabelOffset, label_notes
from urnet.evaluation.matching import Listed
from urnet.evaluation.prediction_reader import read_predictions

BINS = 15
GROUPS = ("head", "middle", "tail")


class Calibration(NamedTuple):
    """The expected calibration error, and the means it compares, each 0..1."""

    error: float
    confidence: float
    accuracy: float


def calibration(confidence: np.ndarray, hit: np.ndarray, bins: int = BINS) -> Calibration:
    """How far the best class's score is from the share of images it is right for.

    ``confidence`` (n,), 0..1 (larger by rounding: 1); ``hit`` bool (n,), whether the best class is right.
    error = Σ_b (n_b / n) |accuracy_b - confidence_b|, bin b holding confidences in ((b - 1) / bins, b / bins]
    (Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3; 15 bins there).
    """
    n = check_same_rows(confidence=confidence, hit=hit)
    if not n:
        raise InputError("calibration of no images: at least one is needed")
    confidence = np.minimum(confidence.astype(np.float64), 1)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(place, hit, minlength=bins) - np.bincount(place, confidence, minlength=bins)
    return Calibration(float(np.abs(gaps).sum() / n), float(confidence.mean()), float(hit.mean()))


class Scored:
    """A prediction file against its labels, whatever the order of its rows.

    ``accuracy`` (ClassAccuracy) and ``calibration`` of the rows with a prediction; per row of the list
    ``readable``, ``hit1``, ``hit5`` bool (n,), False where there is no prediction, and ``best`` int32 (n,), the best
    class. ``widest``: the highest class that any row lists. ``notes``: what looks wrong with the labels.
    """

    def __init__(self, file: str | Path, listed: Listed, n_classes: int, progress: Progress | None = None) -> None:
        n = len(listed)
        self.readable, self.hit1, self.hit5 = (np.zeros(n, bool) for _ in range(3))
        confidence = np.zeros(n, np.float32)
        rows_of, width = listed.rows_of(file), min(5, n_classes)
        self.widest, offset, self.best = -1, LabelOffset(), np.zeros(n, np.int32)
        for block in read_predictions(file, n_classes):
            block.check_width(width, "for top-5")
            if block.readable.any():
                rows, classes = rows_of[block.first : block.first + len(block)][block.readable], block.classes
                best, labels = classes[block.readable, :width], listed.labels[rows]
                hits = best == labels[:, None]
                self.readable[rows], self.hit1[rows], self.hit5[rows] = True, hits[:, 0], hits.any(axis=1)
                self.best[rows], confidence[rows] = best[:, 0], block.scores[block.readable, 0]
                self.widest = max(self.widest, int(classes.max()))
                offset.update(best[:, 0], labels)
            if progress is not None:
                progress.update(len(block))
        good = self.readable
        if good.any():
            listed.check_range(self.widest, file)  # before labels are counted as classes
        self.accuracy = ClassAccuracy(n_classes)
        self.accuracy.update_hits(listed.labels[good], self.hit1[good], self.hit5[good])
        self._confidence = confidence
        self.notes = label_notes(listed, [str(file)], self.widest, offset, self.accuracy.count)

    def confusion(self, labels: np.ndarray) -> Confusion:
        """Of the rows with a prediction; ``labels`` (n,) are the list's."""
        found = Confusion(self.accuracy.n_classes)
        found.update(labels[self.readable], self.best[self.readable])
        return found

    def calibration(self) -> Calibration:
        """Of the rows with a prediction. Raises InputError without any."""
        return calibration(self._confidence[self.readable], self.hit1[self.readable])


# --- classes by their training images


def read_train_counts(path: str | Path, n_classes: int, class_names: Sequence[str] = ()) -> np.ndarray:
    """Training images of each class (C,) int64, from a table's folder or a list of labels: numbers or names."""
    path = Path(path)
    if path.is_dir():
        labels = [check_labels(Table.open(path).column("label"), n_classes, f"{path}, column label")]
    else:
        labels = [lines.number for lines in read_list(path, n_classes=n_classes, class_names=class_names)]
    if not sum(map(len, labels)):
        raise InputError(f"{path}: has no training image")
    return sum((np.bincount(part, minlength=n_classes) for part in labels), np.zeros(n_classes, np.int64))


def class_groups(counts: np.ndarray, borders: tuple[int, int] | None = None) -> dict[str, np.ndarray]:
    """Class numbers of head, middle and tail, by training images ``counts`` (C,).

    Without ``borders``: thirds of the classes, the largest first, equal sizes ordered by class number; where
    C is not a multiple of 3 the first groups are one larger (ours). With ``borders`` (many, few), many >= few:
    head has >= many images, tail < few, middle the rest.
    """
    if borders is None:
        order = np.argsort(-counts, kind="stable")
        return {name: np.sort(part) for name, part in zip(GROUPS, np.array_split(order, 3), strict=True)}
    many, few = borders
    if not many >= few >= 0:
        raise InputError(f"--borders: found {many} {few}; MANY and FEW, MANY >= FEW >= 0, are accepted")
    masks = counts >= many, (counts < many) & (counts >= few), counts < few
    return {name: np.flatnonzero(mask) for name, mask in zip(GROUPS, masks, strict=True)}


def group_accuracy(accuracy: ClassAccuracy, groups: Mapping[str, np.ndarray]) -> dict[str, tuple[int, float, float]]:
    """A group's classes that have images, and the means over them of top1 and top5 (nan without any)."""
    table, result = accuracy.per_class(), {}
    for name, classes in groups.items():
        filled = classes[table["count"][classes] > 0]
        top1, top5 = (table[key][filled].mean() if len(filled) else np.nan for key in ("top1", "top5"))
        result[name] = len(filled), float(top1), float(top5)
    return result


# --- two prediction files of the same images


def paired_bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """The difference first - second of two accuracies, and its percentile bootstrap interval (low, high).

    ``first``, ``second`` bool (n,): whether the prediction of each image is right. With ``labels`` (n,): mean over the
    classes that have images, n_c images being drawn with replacement from the n_c of each class; else mean over
    images, n drawn from all n. Images are drawn as pairs. A pair adds 1, 0 or -1, so a draw is a multinomial draw
    of three counts, which has the same distribution as drawing images one by one (ours; the percentile interval:
    Efron 1979). ``scipy.stats.bootstrap`` draws them, which takes ten times as long, and refuses classes of one
    image. Classes are taken as given. A class of one image never varies in a
    draw, so with very small classes the interval is too narrow.
    """
    n = check_same_rows(first=first, second=second, labels=first if labels is None else labels)
    if not n:
        raise InputError("a comparison on no images: at least one that both files predict is needed")
    group = np.zeros(n, np.int64) if labels is None else labels
    pair = first.astype(np.int8) - second.astype(np.int8)
    counts = np.stack([np.bincount(group[pair == value], minlength=group.max() + 1) for value in (1, -1, 0)], axis=1)
    counts = counts[counts.sum(axis=1) > 0]
    images = counts.sum(axis=1)
    found = float(((counts[:, 0] - counts[:, 1]) / images).mean())
    rng, drawn, block = np.random.default_rng(seed), np.empty(draws), max(1, 500_000 // len(counts))
    for start in range(0, draws, block):
        part = drawn[start : start + block]
        sample = rng.multinomial(images, counts / images[:, None], size=(len(part), len(counts)))
        part[:] = ((sample[..., 0] - sample[..., 1]) / images).mean(axis=1)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return found, float(low), float(high)
