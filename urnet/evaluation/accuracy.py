"""Accuracies from top-k predictions, counted batch by batch; never an array of images x classes."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import TextIO

import numpy as np

from urnet.core.checks import InputError, check_labels, check_same_rows


class ClassAccuracy:
    """Top-1 and top-5 accuracy inside each class, from ``counters`` int64 (3, n_classes): images, hits of each.

    With fewer than five classes top-5 is over all of them, hence 1.
    """

    def __init__(self, n_classes: int) -> None:
        if n_classes < 1:
            raise InputError(f"n_classes: found {n_classes}; 1 or more is accepted")
        self.n_classes = n_classes
        self.counters: np.ndarray = np.zeros((3, n_classes), np.int64)
        self.count, self.hit1, self.hit5 = self.counters  # views

    def update(self, topk_indices: np.ndarray, labels: np.ndarray) -> None:
        """Count a batch: ``topk_indices`` (B, k), best first, k >= min(5, n_classes); ``labels`` (B,)."""
        check_same_rows(labels=labels, topk_indices=topk_indices)
        width = min(5, self.n_classes)
        if topk_indices.ndim != 2 or topk_indices.shape[1] < width:
            raise InputError(f"topk_indices {topk_indices.shape}: (images, {width} or more) is accepted")
        hits = topk_indices[:, :width] == np.asarray(labels)[:, None]
        self.update_hits(labels, hits[:, 0], hits.any(axis=1))

    def update_hits(self, labels: np.ndarray, hit1: np.ndarray, hit5: np.ndarray) -> None:
        """Count a batch: ``labels`` (B,), and whether each is the best class, and among the five best, bool (B,)."""
        labels = check_labels(np.asarray(labels), self.n_classes)
        for counter, counted in zip(self.counters, (labels, labels[hit1], labels[hit5]), strict=True):
            counter += np.bincount(counted, minlength=self.n_classes)

    def per_class(self) -> dict[str, np.ndarray]:
        """``count`` int64 (C,), ``top1`` and ``top5`` float64 (C,); accuracies of empty classes are nan."""
        with np.errstate(invalid="ignore"):
            return {"count": self.count.copy(), "top1": self.hit1 / self.count, "top5": self.hit5 / self.count}

    def result(self) -> dict[str, float]:
        """All averages, 0..1.

        ``top1``, ``top5``: mean over the classes that have images (WebVision 2.0's metric).
        ``top1_all_classes``, ``top5_all_classes``: mean over all classes, an empty one counting 0 (as the
        2018 release computed it; the same numbers when no class is empty).
        ``image_top1``, ``image_top5``: mean over images (WebVision 1.0's metric).
        ``images``, ``classes``: how many images, and classes with images. Raises InputError without images.
        """
        filled = self.count > 0
        images, classes = int(self.count.sum()), int(filled.sum())
        if images == 0:
            raise InputError("accuracy of no images: at least one is needed")
        result: dict[str, float] = {"images": images, "classes": classes}
        for name, hit in (("top1", self.hit1), ("top5", self.hit5)):
            total = float((hit[filled] / self.count[filled]).sum())
            result[name] = total / classes
            result[f"{name}_all_classes"] = total / self.n_classes
            result[f"image_{name}"] = float(hit.sum()) / images
        return result


def write_class_table(
    stream: TextIO, accuracy: ClassAccuracy, names: Sequence[str] = (), further: Mapping[str, np.ndarray] | None = None
) -> None:
    """CSV of class, images, top1, top5, name, and of the ``further`` columns (C,): whole numbers, or shares.

    A share that is nan, as in an empty class, is empty, and so are names where none are given.
    """
    table, further = accuracy.per_class(), dict(further or {})
    names = names or [""] * accuracy.n_classes
    check_same_rows(classes=table["count"], names=names, **further)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["class", "images", "top1", "top5", "name", *further])
    counted, columns = (table["count"], table["top1"], table["top5"]), (names, *map(_texts, further.values()))
    writer.writerows(zip(range(accuracy.n_classes), *map(_texts, counted), *columns, strict=True))


def _texts(values: np.ndarray) -> list[str]:
    """Whole numbers as they are, shares with six digits."""
    if values.dtype.kind != "f":
        return [str(value) for value in values.tolist()]
    return ["" if value != value else f"{value:.6f}" for value in values.tolist()]
