"""The network whose features photographs are compared by."""

from __future__ import annotations

from pathlib import Path

from urnet.checkpoints.checkpoint import describe
from urnet.checkpoints.imagenet import transform_of, whole_word
from urnet.checkpoints.published import best_here
from urnet.config.choices import PRECISIONS
from urnet.core.checks import InputError, check_choice
from urnet.data.images.decode import EXIF_CHOICES, MAX_PIXELS
from urnet.inference.feature_network import Build, FeatureNetwork

CLASSES = 1000  # of a file of weights that does not tell; the classifier is not asked for anything


def feature_network(
    weights: str | Path | None,
    *,
    build: Build,
    model: str | None = None,
    exif: str | None = None,
    precision: str = "fp32",
) -> FeatureNetwork:
    """The network of ``weights``; None: the best published ones (``published.best_here``) of ``model``, or at all.

    A file of weights without a recipe needs ``model``; its pictures are prepared as those of the network's published
    weights are (``imagenet.transform_of``). ``exif``: the recipe's, else "honour".
    Raises InputError for weights that are not there, another model than theirs, or unknown words.
    """
    check_choice("--precision", precision, PRECISIONS)
    if exif is not None:
        check_choice("--exif", exif, EXIF_CHOICES)
    weights = best_here(model).word if weights is None else whole_word(weights, model)
    info = describe(weights)
    recipe = info.recipe
    name = recipe.model.name if recipe else model
    if name is None:
        raise InputError(
            f"--weights {weights}: is a weights file, which does not say its network; give it with --model NAME"
        )
    if model is not None and name != model:
        raise InputError(f"--model is {model}, but {weights} was trained with {name} ({info.told_by})")
    return FeatureNetwork(
        build,
        name,
        weights,
        (recipe.data.n_classes if recipe else None) or CLASSES,
        recipe.transform if recipe else transform_of(name),
        exif or (recipe.data.exif if recipe else "honour"),
        recipe.data.max_pixels if recipe else MAX_PIXELS,
        precision,
    )
