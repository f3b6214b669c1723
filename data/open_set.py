"""Pictures of none of the classes, 32 x 32, for a set made of CIFAR-10: collages, CIFAR-100's, or a folder's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cifar_files import SIDE, Pictures, is_cifar100, read_cifar100

from urnet.core.checks import InputError
from urnet.data.images.decode import UnreadableImage, read_image
from urnet.data.lists.folders import images_under

COLLAGE = ("collage", "photo wall", "contact sheet", "mood board", "picture grid", "photo mix")
_OPEN, _LINE = 4, 40  # the stream of random numbers; characters of a word


@dataclass(frozen=True)
class OpenSet:
    """``images`` uint8 (n, 32, 32, 3), RGB, and ``words`` for what each shows, "" where that is not known."""

    images: np.ndarray
    words: list[str]


def collages(pictures: Pictures, unused: np.ndarray, n: int, seed: int) -> OpenSet:
    """``n`` collages, each of four pictures of four classes in half their size, drawn from the ``unused`` ones."""
    rng, images = np.random.default_rng([seed, _OPEN]), np.empty((n, SIDE, SIDE, 3), np.uint8)
    pools = [own for label in range(10) if len(own := unused[pictures.labels[unused] == label])]
    if n and len(pools) < 4:
        raise InputError("--scale: too few pictures are left over to make open-set ones of; name others with --open")
    half = SIDE // 2
    for image in images:
        for place, label in enumerate(rng.choice(len(pools), 4, replace=False).tolist()):
            small = pictures.images[rng.choice(pools[label])].reshape(half, 2, half, 2, 3).mean(axis=(1, 3))
            top, left = half * (place // 2), half * (place % 2)
            image[top : top + half, left : left + half] = np.round(small)
    return OpenSet(images, [str(rng.choice(COLLAGE)) for _ in range(n)])


def others(place: Path, n: int, seed: int) -> OpenSet:
    """``n`` pictures of a place, drawn without any twice: CIFAR-100's, or a folder's. Raises InputError."""
    rng = np.random.default_rng([seed, _OPEN])
    if is_cifar100(place):
        found, words = read_cifar100(place)
        drawn = _draw(place, len(found), n, rng)
        return OpenSet(found.images[drawn], [words[label] for label in found.labels[drawn].tolist()])
    paths = images_under(place).paths
    drawn = _draw(place, len(paths), n, rng)
    files = [place / paths[i] for i in drawn.tolist()]
    images = np.empty((n, SIDE, SIDE, 3), np.uint8)
    for image, file in zip(images, files, strict=True):
        image[:] = _square(file)
    return OpenSet(images, [_word(place, file) for file in files])


def _draw(place: Path, found: int, n: int, rng: np.random.Generator) -> np.ndarray:
    if found < n:
        raise InputError(f"--open: {place} has {found} pictures; {n} are needed")
    return rng.permutation(found)[:n]


def _square(file: Path) -> np.ndarray:
    """The middle square of a picture, SIDE x SIDE."""
    import cv2

    try:
        image = read_image(file)
    except UnreadableImage as error:
        raise InputError(f"--open: {error}") from None
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return cv2.resize(image[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def _word(place: Path, file: Path) -> str:
    """What a picture shows: the name of its folder; nothing for one outside the folders."""
    return "" if file.parent == place else file.parent.name.replace("_", " ")[:_LINE]
