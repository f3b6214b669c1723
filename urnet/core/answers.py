"""What a classifier says of a batch of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Answers(NamedTuple):
    """Of B images and C classes."""

    probabilities: np.ndarray  # float32 (B, C); rows sum to 1
    in_classes: np.ndarray | None = None  # float32 (B,), 0..1: low where an image fits none; None: not known

    @classmethod
    def of(cls, found: np.ndarray | Answers) -> Answers:
        """Probabilities alone are answers, too."""
        return found if isinstance(found, Answers) else cls(found)

    def first(self, n: int) -> Answers:
        """Those of the first ``n`` images."""
        return Answers(self.probabilities[:n], None if self.in_classes is None else self.in_classes[:n])


def mean_answers(answers: Callable[[np.ndarray], np.ndarray | Answers], views: np.ndarray, batch_size: int) -> Answers:
    """The means over an image's views, uint8 (B, V, S, S, 3).

    ``answers`` takes up to ``batch_size`` images (b, S, S, 3).
    """
    n_images, n_views = views.shape[:2]
    flat = views.reshape(n_images * n_views, *views.shape[2:])
    parts = [Answers.of(answers(flat[first : first + batch_size])) for first in range(0, len(flat), batch_size)]

    def mean(values: Sequence[np.ndarray]) -> np.ndarray:
        whole = np.concatenate(values)
        found: np.ndarray = whole.reshape(n_images, n_views, *whole.shape[1:]).mean(axis=1, dtype=np.float32)
        return found

    known = [part.in_classes for part in parts if part.in_classes is not None]
    return Answers(mean([part.probabilities for part in parts]), mean(known) if known else None)
