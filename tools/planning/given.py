"""What a plan starts from: rows, validation images and classes, given, counted or published; and what it assumes."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass

from urnet.config.recipe import Data, Recipe
from urnet.core.checks import InputError
from urnet.data.lists.build_table import training_rows

PUBLISHED = {"webvision2": (16_076_665, 294_099), "imagenet": (1_281_167, 50_000)}  # training, validation
FORWARD = 3.0  # a training step is taken for three forwards: one, and a backward of two
STEPS = 20  # that --measure times, of each kind of stage
CLASSES = 10  # where they cannot be counted: a few more or less change no sum that matters


@dataclass(frozen=True)
class Given:
    """A number and where it is from."""

    value: int
    source: str


def with_classes(recipe: Recipe) -> Recipe:
    """The recipe with a number of classes, also where they were to be counted in data that are not here."""
    if recipe.data.n_classes is not None:
        return recipe
    root = recipe.data.root
    said = f"{root} is not here, so its classes cannot be counted; {CLASSES} are assumed, or give -o data.n_classes=N"
    print(f"note: {said}", file=sys.stderr)
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, n_classes=CLASSES))


def given(flag: str, asked: int | None, count: Callable[[], int], published: int | None) -> Given:
    """The number of the flag > the counted one > the published one. Raises InputError where none is known."""
    if asked is not None:
        return Given(asked, flag)
    try:
        return Given(count(), "listed")
    except InputError as error:  # the data need not be on this machine
        if published is None:
            raise InputError(f"{flag}: give it, as the images cannot be counted here ({error})") from None
    return Given(published, "published")


def listed_rows(data: Data) -> int:
    """The training images of the recipe's lists or folders. Raises InputError where they cannot be read."""
    return sum(len(labels) for _, labels in training_rows(data))
