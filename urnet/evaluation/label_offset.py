"""Whether labels look as if they counted from another number than the network's classes do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from urnet.core.checks import InputError
from urnet.evaluation.matching import Listed
from urnet.evaluation.prediction_formats import class_count


class LabelOffset:
    """How many images are predicted right, and how many would be if their labels were one less or one more.

    ``hits`` int64 (3,): of labels one less, as they are, one more; ``images`` int64 (1,).
    """

    def __init__(self) -> None:
        self.counters: np.ndarray = np.zeros(4, np.int64)
        self.hits, self.images = self.counters[:3], self.counters[3:]  # views

    def update(self, best: np.ndarray, labels: np.ndarray) -> None:
        """Count a batch: the best class and the label of each image, (B,)."""
        self.hits += [np.count_nonzero(best == labels + shift) for shift in (-1, 0, 1)]
        self.images += len(labels)

    def note(self, where: str, images_of_class: np.ndarray) -> str:
        """A line where another count fits more than twice as well and the class it would need is empty; else "".

        ``images_of_class`` (C,). Ours: a rule of thumb for a note, never for a result.
        """
        less, right, more = self.hits.tolist()
        filled = np.flatnonzero(images_of_class)
        if not len(filled):
            return ""
        if less > 2 * right and filled[0] > 0:
            what, other, other_hits = "no image has label 0: the labels seem to count from 1 instead of 0", "less", less
        elif more > 2 * right and filled[-1] < len(images_of_class) - 1:
            what = f"no image has label {len(images_of_class) - 1}: the labels seem to be one too small"
            other, other_hits = "more", more
        else:
            return ""
        rate, now = other_hits / self.images[0], right / self.images[0]
        return f"{where}: {what}; image-averaged top1 is {now:.4f}, with every label one {other} {rate:.4f}"


def label_notes(
    listed: Listed, files: Sequence[str], widest: int, offset: LabelOffset, images_of_class: np.ndarray
) -> list[str]:
    """What looks wrong with a list's labels, in addition to the predictions of ``files``.

    ``widest``: the highest class that they list; -1 without any prediction. Raises InputError for labels beyond it
    where nothing says that there are more classes, and where other labels would fit besides.
    """
    if widest < 0:
        return []
    name = ", ".join(files)
    listed.check_range(widest, name)
    told = any(class_count(file) is not None for file in files)
    found = "" if told else listed.beyond(widest, name), offset.note(listed.file, images_of_class)
    if all(found):
        raise InputError(f"{found[0]}; {found[1].removeprefix(f'{listed.file}: ')}")
    return [note for note in found if note]
