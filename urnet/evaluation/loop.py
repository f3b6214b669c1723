"""Any predictor's answers and accuracy on a list of images; it knows neither engine nor network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from urnet.core.checks import InputError
from urnet.core.progress import Progress
from urnet.core.top_k import topk
from urnet.evaluation.accuracy import ClassAccuracy
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup

Predict = Callable[[np.ndarray], np.ndarray]  # uint8 images (B, S, S, 3) -> scores (B, C)


def evaluate(
    predict: Predict,
    loader: Iterable[Any],
    labels: np.ndarray,
    n_classes: int,
    *,
    max_bad: int = 0,
    progress: Progress | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
) -> dict[str, float]:
    """``count_accuracy(...).result()`` and ``unreadable``, the number of images left out."""
    accuracy, unreadable = count_accuracy(
        predict, loader, labels, n_classes, max_bad=max_bad, progress=progress, group=group
    )
    return {**accuracy.result(), "unreadable": unreadable}


def count_accuracy(
    predict: Predict,
    loader: Iterable[Any],
    labels: np.ndarray,
    n_classes: int,
    *,
    max_bad: int = 0,
    progress: Progress | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
) -> tuple[ClassAccuracy, int]:
    """Predict every batch of ``loader``; returns the counters and the number of unreadable images.

    ``predict``: uint8 images (B, S, S, 3) -> scores (B, n_classes), B from 1 to the loader's batch size.
    ``loader`` yields ``dataset.Batch`` (a ``dataset.Loader``); ``labels[row]`` is the label of its row.
    An unreadable image counts nowhere; more than ``max_bad`` of them are an InputError naming one. Every
    process of ``group`` brings a loader of its share of the images, and has the counts of all.
    """
    accuracy, unreadable = ClassAccuracy(n_classes), 0
    for answer in ranked(predict, loader, min(5, n_classes), max_bad=max_bad, progress=progress):
        good = answer.readable
        unreadable += len(good) - int(good.sum())
        accuracy.update(answer.classes[good], labels[answer.rows[good]])
    return _of_all(accuracy, unreadable, loader, max_bad, group)


def _of_all(
    accuracy: ClassAccuracy, unreadable: int, loader: Any, max_bad: int, group: ProcessGroup
) -> tuple[ClassAccuracy, int]:
    """The counts of all processes. Raises InputError where they met too many bad images together."""
    if group.is_single:
        return accuracy, unreadable
    counters = accuracy.count, accuracy.hit1, accuracy.hit5
    for counter, total in zip(counters, group.all_sum(np.stack(counters)), strict=True):
        counter[:] = total
    shares = group.all_gather(dict(_bad(loader)))
    bad = dict(sorted(item for share in shares for item in share.items()))
    if len(bad) > max_bad:
        raise InputError(bad_images_message(bad, len(bad), max_bad))
    return accuracy, len(bad)


class Ranked(NamedTuple):
    """The k best classes of B rows, best first; 0 and nan where an image is not readable."""

    rows: np.ndarray  # int64 (B,)
    readable: np.ndarray  # bool (B,)
    classes: np.ndarray  # int64 (B, k)
    scores: np.ndarray  # float32 (B, k)


def ranked(
    predict: Predict, loader: Iterable[Any], k: int, *, max_bad: int = 0, progress: Progress | None = None
) -> Iterator[Ranked]:
    """Predict every batch of ``loader``; arguments as in ``count_accuracy``."""
    unreadable = 0
    for batch in loader:
        good = batch.readable
        unreadable += len(good) - int(good.sum())
        if unreadable > max_bad:
            raise InputError(bad_images_message(_bad(loader), unreadable, max_bad))
        classes = np.zeros((len(good), k), np.int64)
        scores = np.full((len(good), k), np.nan, np.float32)
        if good.any():
            images = batch.images if good.all() else batch.images[good]
            classes[good], scores[good] = topk(predict(images), k)
        yield Ranked(batch.rows, good, classes, scores)
        if progress is not None:
            progress.update(len(good))


def _bad(loader: Any) -> Mapping[int, tuple[str, str]]:
    """The unreadable images that a ``Loader`` met; none are known of another iterable."""
    found: Mapping[int, tuple[str, str]] = getattr(loader, "bad", {})
    return found


def bad_images_message(bad: Mapping[int, tuple[str, str]], unreadable: int, max_bad: int) -> str:
    """One line that names the first of the unreadable images (row -> path, reason), and what is accepted."""
    path, reason = next(iter(bad.values()), ("an image", "no reason known"))
    more = f" (and {unreadable - 1} more)" if unreadable > 1 else ""
    return f"{path}: is no readable image: {reason}{more}; at most {max_bad} unreadable images are accepted"
