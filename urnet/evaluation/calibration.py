"""What predictions are worth beyond accuracy: calibration, large and small classes, comparisons.

All of it works on counts or on a few bytes an image; predictions come in blocks of rows.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from urnet.core.checks import InputError, check_labels, check_same_rows
from urnet.data.lists.lines import read_lines
from urnet.data.table.table import Table
from urnet.evaluation.accuracy import ClassAccuracy, per_class_rows
from urnet.evaluation.prediction_reader import Listed, Predictions

BINS = 15
GROUPS = ("head", "middle", "tail")


class Calibration:
    """Expected calibration error of the best class, from counters of ``bins`` equal bins of confidence.

    ECE = Σ_b (n_b / n) |accuracy_b - confidence_b|, bin b holding confidences in ((b - 1) / bins, b / bins]
    (Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3; 15 bins there).
    """

    def __init__(self, bins: int = BINS) -> None:
        self.count, self.hits = np.zeros(bins, np.int64), np.zeros(bins, np.int64)
        self.confidence = np.zeros(bins)

    def update(self, confidence: np.ndarray, hit: np.ndarray) -> None:
        """Count B images: confidence 0..1 (larger by rounding: 1), and whether the best class is right."""
        check_same_rows(confidence=confidence, hit=hit)
        bins = len(self.count)
        confidence = np.minimum(confidence.astype(np.float64), 1)
        place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
        self.count += np.bincount(place, minlength=bins)
        self.hits += np.bincount(place[np.asarray(hit, bool)], minlength=bins)
        self.confidence += np.bincount(place, confidence, minlength=bins)

    def result(self) -> dict[str, float]:
        """``error`` (the ECE), ``confidence`` (its mean) and ``accuracy``, each 0..1."""
        n = int(self.count.sum())
        if not n:
            raise InputError("calibration of no images: at least one is needed")
        return {
            "error": float(np.abs(self.hits - self.confidence).sum() / n),
            "confidence": float(self.confidence.sum() / n),
            "accuracy": float(self.hits.sum() / n),
        }


class Scored:
    """A prediction file against its labels.

    ``accuracy`` (ClassAccuracy) and ``calibration`` of the rows with a prediction; per row of the list
    ``readable``, ``hit1``, ``hit5`` bool (n,), False where there is no prediction.
    """

    def __init__(self, blocks: Iterable[Predictions], listed: Listed, n_classes: int, progress: Any = None) -> None:
        n = len(listed)
        self.accuracy, self.calibration = ClassAccuracy(n_classes), Calibration()
        self.readable, self.hit1, self.hit5 = (np.zeros(n, bool) for _ in range(3))
        rows, file, width = 0, "the predictions", min(5, n_classes)
        for block in blocks:
            labels = listed.of(block)
            block.check_width(width, "for top-5")
            good, rows, file = block.readable, rows + len(block), block.file
            if good.any():
                place = slice(block.first, block.first + len(block))
                hits = (block.classes[:, :width] == labels[:, None]) & good[:, None]
                self.readable[place], self.hit1[place], self.hit5[place] = good, hits[:, 0], hits.any(axis=1)
                self.accuracy.update(block.classes[good], labels[good])
                self.calibration.update(block.scores[good, 0], hits[good, 0])
            if progress is not None:
                progress.update(len(block))
        listed.check_end(file, rows)


# --- classes by their training images


def read_train_counts(path: str | Path, n_classes: int) -> np.ndarray:
    """Training images of each class (C,) int64, from a table's folder or a list of `path label` lines."""
    path = Path(path)
    if path.is_dir():
        labels = [check_labels(Table.open(path).column("label"), n_classes, f"{path}, column label")]
    else:
        labels = [lines.number for lines in read_lines(path, high=n_classes - 1)]
    if not sum(map(len, labels)):
        raise InputError(f"{path}: has no training image")
    return sum((np.bincount(part, minlength=n_classes) for part in labels), np.zeros(n_classes, np.int64))


def class_groups(counts: np.ndarray, borders: tuple[int, int] | None = None) -> dict[str, np.ndarray]:
    """Class numbers of head, middle and tail, by training images ``counts`` (C,).

    Without ``borders``: thirds of the classes, the largest first, equal sizes ordered by class number; where
    C is no multiple of 3 the first groups are one larger (ours). With ``borders`` (many, few), many >= few:
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


def write_class_table(
    stream: Any, accuracy: ClassAccuracy, names: list[str] | None = None, counts: np.ndarray | None = None
) -> None:
    """CSV of class, images, top1, top5, name, and with ``counts`` (C,) train_images."""
    rows: Sequence[tuple] = per_class_rows(accuracy, names)
    header = ["class", "images", "top1", "top5", "name"]
    if counts is not None:
        header.append("train_images")
        rows = [(*row, n) for row, n in zip(rows, counts.tolist(), strict=True)]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)


# --- two prediction files of the same images


def paired_bootstrap(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    n_classes: int,
    *,
    within_classes: bool,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """The difference first - second of two accuracies, and its percentile bootstrap interval (low, high).

    ``first``, ``second`` bool (n,): whether each image is answered right; ``labels`` (n,).
    ``within_classes``: mean over the classes that have images, n_c images being drawn with replacement from
    the n_c of each class; else mean over images, n drawn from all n. Images are drawn as pairs. A pair adds
    1, 0 or -1, so a draw is a multinomial draw of three counts, which has the same distribution as drawing
    images one by one (ours; the percentile interval: Efron 1979). Classes are taken as given. A class of one
    image never varies in a draw, so with very small classes the interval is too narrow.
    """
    check_same_rows(labels=labels, first=first, second=second)
    if not len(labels):
        raise InputError("a comparison on no images: at least one that both files predict is needed")
    group = check_labels(labels, n_classes) if within_classes else np.zeros(len(labels), np.int64)
    pair = first.astype(np.int8) - second.astype(np.int8)
    size = n_classes if within_classes else 1
    counts = np.stack([np.bincount(group[pair == value], minlength=size) for value in (1, -1, 0)], axis=1)
    counts = counts[counts.sum(axis=1) > 0]
    images = counts.sum(axis=1)
    found = float(((counts[:, 0] - counts[:, 1]) / images).mean())
    rng, drawn, block = np.random.default_rng(seed), [], max(1, 500_000 // len(counts))
    for start in range(0, draws, block):
        n = min(block, draws - start)
        sample = rng.multinomial(images, counts / images[:, None], size=(n, len(counts)))
        drawn.append(((sample[..., 0] - sample[..., 1]) / images).mean(axis=1))
    low, high = np.quantile(np.concatenate(drawn), [(1 - level) / 2, (1 + level) / 2])
    return found, float(low), float(high)
