"""Level 3: the accuracy of any predictor on a list of images. It knows neither engine nor network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable, Optional

import numpy as np

from urnet.checks import InputError
from urnet.metrics import ClassAccuracy, topk
from urnet.progress import Progress


def evaluate(
    predict: Callable[[np.ndarray], np.ndarray],
    loader: Iterable[Any],
    labels: np.ndarray,
    n_classes: int,
    *,
    max_bad: int = 0,
    progress: Optional[Progress] = None,
) -> dict[str, float]:
    """``count_accuracy(...).result()`` and ``unreadable``, the number of images left out."""
    accuracy, unreadable = count_accuracy(
        predict, loader, labels, n_classes, max_bad=max_bad, progress=progress
    )
    return {**accuracy.result(), "unreadable": unreadable}


def count_accuracy(
    predict: Callable[[np.ndarray], np.ndarray],
    loader: Iterable[Any],
    labels: np.ndarray,
    n_classes: int,
    *,
    max_bad: int = 0,
    progress: Optional[Progress] = None,
) -> tuple[ClassAccuracy, int]:
    """Predict every batch of ``loader``; returns the counters and the number of unreadable images.

    ``predict``: uint8 images (B, S, S, 3) -> scores (B, n_classes), B from 1 to the loader's batch size.
    ``loader`` yields ``dataset.Batch`` (a ``dataset.Loader``); ``labels[row]`` is the label of its row.
    An unreadable image counts nowhere; more than ``max_bad`` of them are an InputError naming the last.
    """
    accuracy, unreadable = ClassAccuracy(n_classes), 0
    for batch in loader:
        good = batch.readable
        unreadable += len(good) - int(good.sum())
        if unreadable > max_bad:
            raise InputError(bad_images_message(loader, unreadable, max_bad))
        if good.any():
            images = batch.images if good.all() else batch.images[good]
            best, _ = topk(predict(images), min(5, n_classes))
            accuracy.update(best, labels[batch.rows[good]])
        if progress is not None:
            progress.update(len(good))
    return accuracy, unreadable


def bad_images_message(loader: Any, unreadable: int, max_bad: int) -> str:
    """One line that names the first unreadable image met (``loader.bad``), why, and what is accepted."""
    path, reason = next(iter(getattr(loader, "bad", {}).values()), ("an image", "no reason known"))
    more = f" (and {unreadable - 1} more)" if unreadable > 1 else ""
    return f"{path}: is no readable image: {reason}{more}; at most {max_bad} unreadable images are accepted"
