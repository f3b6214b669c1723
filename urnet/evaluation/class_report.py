"""Which classes are taken for which: the confusion matrix, and precision, recall and F1 of every class.

The matrix is kept and written as its cells that are not 0, at most one per image: 5,000 x 5,000 would be 25 million.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TextIO

import numpy as np

from urnet.core.checks import check_labels, check_same_rows

WAITING = 1 << 20  # images whose cells wait to be counted: 8 MB
SHOWN = 10  # pairs of classes in the lines


class Confusion:
    """How many images of each label are predicted as each class; memory is that of the cells that are not 0."""

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self._cells: np.ndarray = np.zeros(0, np.int64)
        self._images: np.ndarray = np.zeros(0, np.int64)
        self._waiting: list[np.ndarray] = []
        self._n_waiting = 0

    def update(self, labels: np.ndarray, predicted: np.ndarray) -> None:
        """Count a batch: the label and the best class of each image, (B,)."""
        check_same_rows(labels=labels, predicted=predicted)
        labels, predicted = (check_labels(np.asarray(values), self.n_classes) for values in (labels, predicted))
        self._waiting.append(labels.astype(np.int64) * self.n_classes + predicted)
        self._n_waiting += len(labels)
        if self._n_waiting > WAITING:
            self._count()

    def _count(self) -> None:
        if self._waiting:
            self.add(*np.unique(np.concatenate(self._waiting), return_counts=True))
            self._waiting, self._n_waiting = [], 0

    def add(self, cells: np.ndarray, images: np.ndarray) -> None:
        """Count what another one's ``state`` holds."""
        every, place = np.unique(np.concatenate([self._cells, cells]), return_inverse=True)
        total = np.bincount(place, np.concatenate([self._images, images]), minlength=len(every))
        self._cells, self._images = every, total.astype(np.int64)

    @property
    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """The cells that are not 0, label * C + predicted class, ascending, and the images of each; int64."""
        self._count()
        return self._cells, self._images

    def cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Label, predicted class and number of images of each cell that is not 0, in order; int64."""
        cells, images = self.state
        return *np.divmod(cells, self.n_classes), images


class ClassFigures(NamedTuple):
    """Of every class (C,): images with the label, images predicted as it, and of those precision, recall and F1.

    Precision is right / predicted, recall right / images, F1 = 2 right / (images + predicted); each is nan where it
    would divide by 0.
    """

    images: np.ndarray
    predicted: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


def class_figures(confusion: Confusion) -> ClassFigures:
    """Precision, recall and F1 from the counts."""
    label, predicted, images = confusion.cells()
    n, right = confusion.n_classes, label == predicted
    chosen = ((label, images), (predicted, images), (label[right], images[right]))
    of_label, of_class, hits = (np.bincount(c, i, minlength=n).astype(np.int64) for c, i in chosen)
    with np.errstate(invalid="ignore", divide="ignore"):
        return ClassFigures(of_label, of_class, hits / of_class, hits / of_label, 2 * hits / (of_label + of_class))


def report_lines(confusion: Confusion, names: Sequence[str] = ()) -> Iterator[str]:
    """The means over classes, what they leave out, and the pairs of classes that are confused most."""
    figures = class_figures(confusion)
    means = {name: values[~np.isnan(values)] for name, values in figures._asdict().items()}
    kinds = ("precision", "recall", "f1")
    shown = " ".join(f"{kind}:{means[kind].mean():.4f}" for kind in kinds)
    yield f"{shown} (means over classes)"
    undefined = (
        (len(figures.precision) - len(means["precision"]), "are never predicted and have no precision", "precision"),
        (len(figures.recall) - len(means["recall"]), "have no image and no recall", "recall"),
    )
    for n, what, kind in undefined:
        if n:
            zero = means[kind].sum() / confusion.n_classes
            yield f"{n} of {confusion.n_classes} classes {what}: left out; were they counted 0: {kind}:{zero:.4f}"
    label, predicted, images = confusion.cells()
    wrong = np.flatnonzero(label != predicted)
    order = wrong[np.argsort(-images[wrong], kind="stable")]
    rest = f", the {SHOWN} most frequent" if len(order) > SHOWN else ""
    yield f"confused: {images[wrong].sum()} of {images.sum()} images in {len(wrong)} pairs of classes{rest}"
    for i in order[:SHOWN].tolist():
        yield f"  {_named(label[i], names)} -> {_named(predicted[i], names)} {images[i]}"


def _named(number: int, names: Sequence[str]) -> str:
    name = " ".join(names[number].split()) if names else ""
    return f"{name} ({number})" if name else str(number)


def write_confusion(stream: TextIO, confusion: Confusion, names: Sequence[str] = ()) -> None:
    """CSV of label, predicted, images, label_name, predicted_name: a line a cell that is not 0, in order."""
    names = names or [""] * confusion.n_classes
    check_same_rows(classes=range(confusion.n_classes), names=names)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["label", "predicted", "images", "label_name", "predicted_name"])
    cells = (values.tolist() for values in confusion.cells())
    writer.writerows((y, c, n, names[y], names[c]) for y, c, n in zip(*cells, strict=True))
