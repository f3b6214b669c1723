"""The weights of elsewhere that a recipe's stages start from, and how images are prepared for them.

A network sees what it was trained on only if its images are prepared as they were then. So the mean and deviation, and
the geometry of evaluation, of the weights that a run starts from are taken over, unless the recipe says otherwise.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from urnet.checkpoints.checkpoint import describe
from urnet.checkpoints.imagenet import is_word, network_of, transform_of, whole_word
from urnet.config.recipe import Recipe, Transform, active_stages, recipe_tree
from urnet.config.stage import Stage
from urnet.core.checks import InputError
from urnet.core.cli import is_main
from urnet.pipeline import run_folder
from urnet.pipeline.fingerprints import own_stage
from urnet.pipeline.plan import sources

GROUPS = (("mean", "std"), ("size", "eval", "resize_short"))  # keys of a transform that only make sense together
WORDS = ("previous", "scratch")


def settle_weights(recipe: Recipe, said: Mapping[str, Any], *, replace: bool = False) -> Recipe:
    """The recipe with whole words (``imagenet:NETWORK``), and with the view of images that its weights need.

    ``said``: what the recipe's file and overrides say under ``transform``; what they do not say is taken over from
    the first weights of elsewhere that a stage starts from (``taken_over``). A stage that was begun with its own view
    keeps it, unless ``replace``. Published weights imply ``finetune``. Lines on stderr tell. Raises InputError for a
    word that means nothing.
    """
    stages = tuple(_whole(stage, recipe.model.name) if stage.enabled else stage for stage in recipe.stages)
    recipe = dataclasses.replace(recipe, stages=stages)
    for stage, source, weights in _views(recipe):
        begun = {} if replace or is_word(source) else _begun(recipe, stage)
        view = taken_over(recipe.transform, {**begun, **said}, weights)
        _tell(source, recipe.transform, view, weights)
        return dataclasses.replace(recipe, transform=view)
    return recipe


def taken_over(own: Transform, said: Mapping[str, Any], weights: Transform) -> Transform:
    """``own`` with the groups of keys of ``weights`` in which nothing ``said`` differs from them."""
    keys: dict[str, Any] = {}
    for group in GROUPS:
        theirs = {name: getattr(weights, name) for name in group}
        if all(getattr(own, name) == value for name, value in theirs.items() if name in said):
            keys.update(theirs)
    return dataclasses.replace(own, **keys)


def _whole(stage: Stage, network: str) -> Stage:
    start = _word(stage.start, network, f"stages.{stage.name}.start")
    measure = _word(stage.measure.network, network, f"stages.{stage.name}.measure.network")
    return dataclasses.replace(
        stage,
        start=start,
        finetune=stage.finetune or is_word(start),
        measure=dataclasses.replace(stage.measure, network=measure),
    )


def _word(source: str, network: str, where: str) -> str:
    try:
        return whole_word(source, network)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _views(recipe: Recipe) -> Iterator[tuple[Stage, str, Transform]]:
    """What stages start from (or, of published weights, measure with) that is known to need a view of images."""
    names = tuple(stage.name for stage in active_stages(recipe))
    for stage in active_stages(recipe):
        for source in sources(stage):
            own = own_stage(Path(source), run_folder.home_of(recipe), names)
            if is_word(source):
                yield stage, source, transform_of(network_of(source))
            elif source == stage.start and source not in WORDS and own is None:
                yield from ((stage, source, view) for view in _of_checkpoint(source))


def _of_checkpoint(source: str) -> Iterator[Transform]:
    """The transform in a checkpoint's recipe; none where there is no recipe, or where a later check refuses it."""
    try:
        recipe = describe(source).recipe
    except InputError:
        return
    if recipe is not None:
        yield recipe.transform


def _begun(recipe: Recipe, stage: Stage) -> dict[str, Any]:
    """The keys of the transform that the stage was begun with, where these are the recipe's own."""
    folder = run_folder.home_of(recipe) / stage.name
    if not (folder / run_folder.INPUTS).is_file():
        return {}
    then, own = run_folder.read_inputs(folder), recipe_tree(recipe.transform)
    return {name: own[name] for group in GROUPS for name in group if then.get(f"transform.{name}") == own[name]}


def _tell(source: str, own: Transform, view: Transform, weights: Transform) -> None:
    names = [name for group in GROUPS for name in group]
    taken = [name for name in names if getattr(view, name) != getattr(own, name)]
    kept = [name for name in names if getattr(view, name) != getattr(weights, name)]
    if taken and is_main():
        print(
            f"{source}: images are prepared the way its weights need: {_shown(view, taken)} "
            "(set them in the recipe or by -o to override)",
            file=sys.stderr,
        )
    if kept and is_main():
        print(
            f"note: {source}: its weights were made with {_shown(weights, kept)}; this run keeps its own, "
            f"{_shown(view, kept)}",
            file=sys.stderr,
        )


def _shown(transform: Transform, names: list[str]) -> str:
    values = {name: getattr(transform, name) for name in names}
    lists = {k: f"[{', '.join(f'{x:g}' for x in v)}]" if isinstance(v, tuple) else v for k, v in values.items()}
    return ", ".join(f"transform.{name}={value}" for name, value in lists.items())
