"""The rows of cifar10n_web: which picture has which label, and what titles and search results say about it.

No picture is touched here. Sizes and rates are those that were measured on the benchmark's set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from cifar10n_labels import N_CLASSES, People
from webvision_layout import Rows

from urnet.core.checks import InputError

SIZES = np.array([170, 367, 797, 474, 228, 1330, 1044, 1720, 290, 620])  # rows of the classes at scale 1
OPEN_SHARE = 500 / 7040  # of every class: pictures of none of the classes
SYNSETS = (
    "n02691156 airplane, aeroplane, plane",
    "n02958343 car, auto, automobile, motorcar",
    "n01503061 bird",
    "n02121620 cat, true cat",
    "n02430045 deer, cervid",
    "n02084071 dog, domestic dog",
    "n01639765 frog, toad",
    "n02374451 horse, Equus caballus",
    "n04194289 ship",
    "n04490091 truck, motortruck",
)
QUERIES = (
    ("airplane", "aeroplane in flight", "plane"),
    ("car", "automobile", "motorcar"),
    ("bird", "wild bird"),
    ("cat", "house cat"),
    ("deer", "deer in forest"),
    ("dog", "domestic dog"),
    ("frog", "toad"),
    ("horse", "horse riding"),
    ("ship", "ship at sea"),
    ("truck", "motortruck"),
)
NOTHING = (
    "untitled", "IMG_{:04d}", "DSC{:05d}", "best of the year", "holiday 2016", "wallpaper hd", "free stock image {}"
)  # fmt: skip
NAMING = ("{} photo", "the {} we saw", "picture of a {}", "my {}", "old {} in the rain", "{} for sale")
NO_TAG = "nikon square"
TITLE_NOTHING = 0.35  # share of titles that name nothing
WORD_ANY = 0.07  # share of words that are of a class drawn at random, and of nobody
TAGGED, DESCRIBED = 0.5, 0.5  # shares of Flickr's images with the word as their tag, the title as their description
RANK_NOISE = 0.75  # deviation of the noise added to the share of people who agree with the query
OPEN = -1
_PICTURES, _FLIPS, _FAULTS = 1, 2, 3  # streams of random numbers


@dataclass(frozen=True)
class Wanted:
    """``wrong``: the share of rows whose label is wrong, by flipping; None: people's own labels. ``cap``: a class takes
    fewer rows where there are no more pictures. ``open_share``: 0 without open-set pictures."""

    seed: int
    scale: float = 1.0
    wrong: float | None = None
    cap: bool = False
    open_share: float = OPEN_SHARE

    def sizes(self, people: People) -> np.ndarray:
        """Rows of each class, open-set ones included, int64 (10,)."""
        sizes = np.maximum(np.round(SIZES * self.scale), 1).astype(np.int64)
        while self.cap and (lacking := sizes - self.n_open(sizes) - np.bincount(people.worst, minlength=10)).max() > 0:
            sizes -= np.maximum(lacking, 0)
        return sizes

    def n_open(self, sizes: np.ndarray) -> np.ndarray:
        """Open-set rows of each class, int64 (10,)."""
        return shared_out(sizes * self.open_share, round(self.open_share * int(sizes.sum())))


@dataclass(frozen=True)
class Chosen:
    """Rows, class after class: ``picture`` a training picture's number, -1 for an open-set one; ``label`` as it will be
    listed; ``said`` (N, 3) what three people called it, -1 where it is open-set."""

    picture: np.ndarray
    label: np.ndarray
    said: np.ndarray


def shared_out(shares: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers (n,) of sum ``total`` next to ``shares`` (n,): the largest remainders are rounded up."""
    whole = np.floor(shares).astype(np.int64)
    order = np.argsort(-(shares - whole), kind="stable")
    whole[order[: max(total - int(whole.sum()), 0)]] += 1
    return whole


def choose(wanted: Wanted, people: People) -> Chosen:
    """Draw the rows. Raises InputError with the largest possible scale where the pictures do not suffice."""
    _check(wanted, people)
    n_open, pictures = wanted.n_open(wanted.sizes(people)), _pictures(wanted, people)
    picture = np.concatenate([np.r_[own, np.full(n, OPEN)] for own, n in zip(pictures, n_open.tolist(), strict=True)])
    label = np.repeat(np.arange(N_CLASSES), np.array([len(own) for own in pictures]) + n_open)
    said = np.where(picture[:, None] == OPEN, OPEN, people.each[picture])
    if wanted.wrong is not None:  # the label is one person's word, as the worst label is
        rng, closed = np.random.default_rng([wanted.seed, _FLIPS]), np.flatnonzero(picture != OPEN)
        said[closed, rng.integers(3, size=len(closed))] = label[closed]
    return Chosen(picture, label, said)


def _pictures(wanted: Wanted, people: People) -> list[np.ndarray]:
    """The pictures of each label: by the worst label, or, with flips, as many of each class as the table of flips says.

    Without flips a smaller scale takes a part of a larger one's rows.
    """
    of_class = people.worst if wanted.wrong is None else people.clean
    pools = []
    for label in range(N_CLASSES):
        rng = np.random.default_rng([wanted.seed, _PICTURES, label])
        pools.append(rng.permutation(np.flatnonzero(of_class == label)))
    needed = _needed(wanted, people)  # label x the class that is drawn from
    ends = needed.cumsum(axis=0)
    return [
        np.concatenate([pools[c][ends[label, c] - needed[label, c] : ends[label, c]] for c in range(N_CLASSES)])
        for label in range(N_CLASSES)
    ]


def _needed(wanted: Wanted, people: People) -> np.ndarray:
    """Pictures of each pool (columns) that stand under each label (rows), int64 (10, 10)."""
    sizes = wanted.sizes(people)
    n_open = wanted.n_open(sizes)
    closed = sizes - n_open
    if wanted.wrong is None:
        return np.diag(closed)
    n_flips = round(wanted.wrong * int(sizes.sum())) - int(n_open.sum())
    flips = shared_out(closed * n_flips / closed.sum(), n_flips)
    confused = np.zeros((N_CLASSES, N_CLASSES))
    np.add.at(confused, (people.worst, people.clean), 1)
    np.fill_diagonal(confused, 0)
    needed = np.diag(closed - flips)
    for label, n in enumerate(flips.tolist()):
        if n and not confused[label].any():
            raise InputError(
                f"--labels: nobody took anything for a {SYNSETS[label].split(' ', 1)[1]}; --wrong needs confusions"
            )
        if n:
            needed[label] += shared_out(n * confused[label] / confused[label].sum(), n)
    return needed


def _available(wanted: Wanted, people: People) -> np.ndarray:
    return np.bincount(people.worst if wanted.wrong is None else people.clean, minlength=N_CLASSES)


def _check(wanted: Wanted, people: People) -> None:
    """Refuse what the shares or the pictures do not allow."""
    sizes = wanted.sizes(people)
    n_rows, n_open = int(sizes.sum()), int(wanted.n_open(sizes).sum())
    if wanted.wrong is not None and round(wanted.wrong * n_rows) < n_open:
        raise InputError(
            f"--wrong: found {wanted.wrong:g}; open-set pictures alone are {n_open / n_rows:.3g} of all; accepted: "
            "that much to 1, or --open none"
        )
    lacking = _available(wanted, people) - _needed(wanted, people).sum(axis=0)
    if (lacking >= 0).all():
        return
    pool = int(lacking.argmin())
    have, largest = int(_available(wanted, people)[pool]), _largest_scale(wanted, people)
    kind = "of the class" if wanted.wrong is not None else "that the worst label calls"
    raise InputError(
        f"--scale: found {wanted.scale:g}, which needs {have - int(lacking[pool])} pictures {kind} {QUERIES[pool][0]}, "
        f"and there are {have}; the largest possible is {largest:g}"
        + ("" if wanted.wrong is not None else ", or with --cap every class is cut to what there is")
    )


def _largest_scale(wanted: Wanted, people: People) -> float:
    """The largest scale, in hundredths, that the pictures allow."""
    fits, fails = 0, round(100 * wanted.scale)
    while fails - fits > 1:
        middle = (fits + fails) // 2
        tried = replace(wanted, scale=middle / 100)
        if (_needed(tried, people).sum(axis=0) <= _available(wanted, people)).all():
            fits = middle
        else:
            fails = middle
    return fits / 100


def describe(chosen: Chosen, clean: np.ndarray, open_words: Sequence[str], seed: int) -> tuple[Rows, np.ndarray]:
    """All rows in list order, google's first, query by query; and which of ``chosen`` each is.

    ``clean``: the class of every training picture; ``open_words``: what the open-set pictures show, in their order,
    "" where nothing is known. A title, and a tag, say the word of one of the three people (``WORD_ANY``: of
    nobody). Results stand the higher the more of the three agree with the query.
    """
    rng, n = np.random.default_rng([seed, _FAULTS]), len(chosen.label)
    engine = rng.integers(2, size=n)
    starts = np.cumsum([0, *map(len, QUERIES)])
    per_class = np.array([len(words) for words in QUERIES])
    query = starts[chosen.label] + rng.integers(per_class[chosen.label]) + 1
    goodness = (chosen.said == chosen.label[:, None]).mean(axis=1) + rng.normal(0, RANK_NOISE, n)
    order = np.lexsort((-goodness, query, engine))
    of_class = chosen.said[np.arange(n), rng.integers(3, size=n)]
    of_class = np.where(rng.random(n) < WORD_ANY, rng.integers(N_CLASSES, size=n), of_class)
    is_open, opened = chosen.picture == OPEN, iter(open_words)
    words = [
        next(opened) if away else str(rng.choice(QUERIES[c]))
        for away, c in zip(is_open.tolist(), of_class.tolist(), strict=True)
    ]
    title = [_title(word, rng) for word in words]
    tags = [word if word and rng.random() < TAGGED else NO_TAG for word in words]
    description = [
        text if flickr and rng.random() < DESCRIBED else "" for text, flickr in zip(title, engine, strict=True)
    ]
    ids = [f"{number:011x}" for number in rng.choice(1 << 40, size=n, replace=False).tolist()]
    truth = np.where(is_open, OPEN, clean[chosen.picture])
    texts = ([values[i] for i in order] for values in (title, description, tags, ids))
    return Rows(chosen.label[order], truth[order], engine[order], query[order], *texts), order


def _title(word: str, rng: np.random.Generator) -> str:
    if not word or rng.random() < TITLE_NOTHING:
        return str(rng.choice(NOTHING)).format(rng.integers(10000))
    return str(rng.choice(NAMING)).format(word)
