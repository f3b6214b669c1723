"""The rows of digits_web and their faults; no image is touched here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from webvision_layout import Rows

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
QUERIES = ("{}", "digit {}")  # two queries a class, both of its synset's names
# What a wrong image shows when the first number was asked for: the first twice as often as the second.
LOOK_ALIKES = {
    0: (6, 8),
    1: (7, 4),
    2: (7, 3),
    3: (8, 5),
    4: (9, 1),
    5: (6, 3),
    6: (5, 0),
    7: (1, 2),
    8: (3, 9),
    9: (4, 8),
}
OFF_TOPIC = -1
NOTHING = ("untitled", "IMG_{}", "best of the year", "holiday {}", "wallpaper hd", "free stock image {}")
NAMING = ("{} photo", "the {} we saw", "picture of a {}", "my {}", "hand written {} on paper", "old {} for sale")
PHOTOGRAPHS = {"china.jpg": "temple roof", "flower.jpg": "dahlia flower"}
GOOGLE_SHARE = 0.52  # of the training rows, as in WebVision 2.0


@dataclass(frozen=True)
class Faults:
    """What is wrong with the data, and how much of it."""

    largest: int = 600  # images of the largest class
    imbalance: float = 10.0  # largest class / smallest class
    wrong: float = 0.25  # share of images of a look-alike digit
    off_topic: float = 0.07  # share of images that show no digit
    title_nothing: float = 0.33  # share of titles that name nothing
    title_other: float = 0.15  # share of titles that name another digit


def class_sizes(largest: int, imbalance: float) -> np.ndarray:
    """Rows of the ten classes: falling exponentially from ``largest`` to ``largest / imbalance``."""
    return np.round(largest * imbalance ** (-np.arange(10) / 9)).astype(np.int64)


def draw_truth(sizes: np.ndarray, wrong: float, off_topic: float, rng: np.random.Generator) -> np.ndarray:
    """What each row shows, class after class: in every class the shares are exact up to rounding."""
    truth = []
    for label, n in enumerate(sizes.tolist()):
        n_off, n_wrong = round(off_topic * n), round(wrong * n)
        digits = np.full(n, label)
        digits[:n_off] = OFF_TOPIC
        digits[n_off : n_off + n_wrong] = rng.choice(LOOK_ALIKES[label], n_wrong, p=(2 / 3, 1 / 3))
        truth.append(rng.permutation(digits))
    return np.concatenate(truth)


def draw_rows(faults: Faults, rng: np.random.Generator) -> Rows:
    """All training rows in list order: Google's first, query by query, the likelier right ranked higher."""
    sizes = class_sizes(faults.largest, faults.imbalance)
    label = np.repeat(np.arange(10), sizes)
    truth = draw_truth(sizes, faults.wrong, faults.off_topic, rng)
    n = len(label)
    engine = (rng.random(n) >= GOOGLE_SHARE).astype(np.int64)
    query = len(QUERIES) * label + rng.integers(len(QUERIES), size=n) + 1
    goodness = np.where(truth == label, 1.0, np.where(truth >= 0, 0.4, 0.0)) + rng.normal(0, 0.5, n)
    rank = np.where(engine == 0, -goodness, rng.random(n))  # flickr's order says nothing
    order = np.lexsort((rank, query, engine))
    label, truth, engine, query = label[order], truth[order], engine[order], query[order]
    numbers = rng.choice(1 << 24, size=n, replace=False)
    title = [draw_title(int(t), faults.title_nothing, faults.title_other, rng) for t in truth]
    return Rows(
        label,
        truth,
        engine,
        query,
        title,
        description=[text if i % 3 == 0 else "" for i, text in enumerate(title)],
        tags=[draw_title(int(t), 0.7, faults.title_other, rng, ("{}",)) for t in truth],
        ids=[f"{number * 0x9E3779B1 % (1 << 44):011x}" for number in numbers.tolist()],
    )


def draw_title(
    truth: int, nothing: float, other: float, rng: np.random.Generator, naming: Sequence[str] = NAMING
) -> str:
    """A title that names nothing, another thing, or what the image shows."""
    kind = rng.random()
    if kind < nothing:
        return str(rng.choice(NOTHING)).format(rng.integers(1000, 9999))
    if kind < nothing + other:
        name = WORDS[rng.choice([digit for digit in range(10) if digit != truth])]
    elif truth == OFF_TOPIC:
        name = str(rng.choice(list(PHOTOGRAPHS.values())))
    else:
        name = WORDS[truth]
    return str(rng.choice(naming)).format(name)
