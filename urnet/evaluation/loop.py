"""A predictor's accuracy and best classes on images that are read batch by batch, whatever engine computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from urnet.core.answers import Answers
from urnet.core.checks import InputError
from urnet.core.one_behind import one_behind
from urnet.core.progress import Progress
from urnet.core.top_k import topk
from urnet.data.loading.loader import Batch
from urnet.evaluation.accuracy import ClassAccuracy
from urnet.evaluation.class_report import Confusion
from urnet.evaluation.label_offset import LabelOffset
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup

Predict = Callable[[np.ndarray], np.ndarray | Answers]  # uint8 images (B, S, S, 3) -> scores (B, C)
Best = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # classes, scores, in_classes
Unreadable = Mapping[int, tuple[str, str]]  # row -> path and reason
BY_FLAG, BY_KEY = "--max_bad N", "-o data.max_bad=N"  # how a command is told to leave some out


class Batches(Protocol):
    """What is asked of a ``Loader``: batches, and the unreadable rows among those it has delivered."""

    def __iter__(self) -> Iterator[Batch]: ...

    @property
    def bad(self) -> Unreadable: ...


@runtime_checkable
class Launcher(Protocol):
    """What begins a batch and gives its best classes later (``urnet.runtime.late_top_k.LateScores``)."""

    def launch(self, images: np.ndarray, k: int) -> Callable[[], Best]: ...


@dataclass(frozen=True)
class Evaluation:
    """The counters over all readable images, and the number of images left out because they are not.

    ``confusion``: where it was asked for.
    """

    accuracy: ClassAccuracy
    unreadable: int
    offset: LabelOffset
    confusion: Confusion | None

    def averages(self) -> dict[str, float]:
        """``accuracy.result()`` and ``unreadable``."""
        return {**self.accuracy.result(), "unreadable": self.unreadable}


def evaluate(
    predict: Predict | Launcher,
    loader: Batches,
    labels: np.ndarray,
    n_classes: int,
    *,
    max_bad: int = 0,
    remedy: str = BY_FLAG,
    progress: Progress | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
    confusion: bool = False,
) -> Evaluation:
    """Predict every batch of ``loader`` and count what is right.

    ``predict``: uint8 images (B, S, S, 3) -> scores (B, n_classes), B from 1 to the loader's batch size; or what only
    begins that.
    ``labels[row]`` is the label of a batch's row. An unreadable image counts nowhere; more than ``max_bad`` of
    them, or nothing but them, are an InputError naming one and the ``remedy``. Every process of ``group`` brings a
    loader of its share of the images, and gets the counts over all. ``confusion``: count which classes are taken for
    which, too.
    """
    accuracy, offset, unreadable, bad = ClassAccuracy(n_classes), LabelOffset(), 0, loader.bad
    confused = Confusion(n_classes) if confusion else None
    for best in ranked(predict, loader, min(5, n_classes), max_bad=max_bad, remedy=remedy, progress=progress):
        good = best.readable
        unreadable += len(good) - int(good.sum())
        classes, given = best.classes[good], labels[best.rows[good]]
        accuracy.update(classes, given)
        offset.update(classes[:, 0], given)
        if confused is not None:
            confused.update(given, classes[:, 0])
    if not group.is_single:
        accuracy.counters[:] = group.all_sum(accuracy.counters)
        offset.counters[:] = group.all_sum(offset.counters)
        if confused is not None:
            states, confused = group.all_gather(confused.state), Confusion(n_classes)
            for state in states:
                confused.add(*state)
        bad = dict(sorted(item for met in group.all_gather(dict(loader.bad)) for item in met.items()))
        unreadable = len(bad)
        check_unreadable(bad, unreadable, max_bad, remedy)
    check_some_readable(bad, int(accuracy.count.sum()), "validation images")
    return Evaluation(accuracy, unreadable, offset, confused)


class Ranked(NamedTuple):
    """The k best classes of B rows, best first; 0 and nan where an image is not readable."""

    rows: np.ndarray  # int64 (B,)
    readable: np.ndarray  # bool (B,)
    classes: np.ndarray  # int64 (B, k)
    scores: np.ndarray  # float32 (B, k)
    in_classes: np.ndarray | None = None  # float32 (B,); None: not known


def ranked(
    predict: Predict | Launcher,
    loader: Batches,
    k: int,
    *,
    max_bad: int = 0,
    remedy: str = BY_FLAG,
    progress: Progress | None = None,
) -> Iterator[Ranked]:
    """Predict every batch of ``loader``; arguments as in ``evaluate``.

    A batch is begun before the best of the one before it are asked for.
    """
    launch = predict.launch if isinstance(predict, Launcher) else _launching(predict)

    def begun() -> Iterator[tuple[Batch, Callable[[], Best] | None]]:
        for batch in checked(loader, max_bad=max_bad, remedy=remedy, progress=progress):
            good = batch.readable
            images = batch.images if good.all() else batch.images[good]
            yield batch, launch(images, k) if len(images) else None

    for batch, best in one_behind(begun()):
        good = batch.readable
        classes = np.zeros((len(good), k), np.int64)
        scores, fits = np.full((len(good), k), np.nan, np.float32), None
        if best is not None:
            classes[good], scores[good], in_classes = best()
            if in_classes is not None:
                fits = np.full(len(good), np.nan, np.float32)
                fits[good] = in_classes
        yield Ranked(batch.rows, good, classes, scores, fits)


def _launching(predict: Predict) -> Callable[[np.ndarray, int], Callable[[], Best]]:
    """``predict`` computes at once, on the host."""

    def launch(images: np.ndarray, k: int) -> Callable[[], Best]:
        answers = Answers.of(predict(images))
        return lambda: (*topk(answers.probabilities, k), answers.in_classes)

    return launch


def checked(
    loader: Batches, *, max_bad: int = 0, remedy: str = BY_FLAG, progress: Progress | None = None
) -> Iterator[Batch]:
    """The loader's batches. Raises InputError as soon as more than ``max_bad`` images are unreadable."""
    unreadable = 0
    for batch in loader:
        unreadable += len(batch.readable) - int(batch.readable.sum())
        check_unreadable(loader.bad, unreadable, max_bad, remedy)
        yield batch
        if progress is not None:
            progress.update(len(batch.readable))


def check_unreadable(bad: Unreadable, unreadable: int, max_bad: int, remedy: str = BY_FLAG) -> None:
    """Raise InputError, naming the first of ``bad`` and why, for more than ``max_bad`` unreadable images.

    ``remedy``: what the user can type to have more of them left out.
    """
    if unreadable <= max_bad:
        return
    path, reason = next(iter(bad.values()))
    more = f" (and {unreadable - 1} more)" if unreadable > 1 else ""
    raise InputError(
        f"{path}: is not a readable image: {reason}{more}; at most {max_bad} unreadable images are accepted "
        f"({remedy} leaves out up to N)"
    )


def check_some_readable(bad: Unreadable, readable: int, what: str = "images") -> None:
    """Raise InputError, naming the first of ``bad`` and why, where none is ``readable``: nothing was measured then."""
    if readable == 0 and bad:
        path, reason = bad[min(bad)]
        count = f"none of the {len(bad)} {what} can be read; the first: " if len(bad) > 1 else ""
        raise InputError(f"{count}{path}: {reason}" + ("" if count else "; there is no other image"))
