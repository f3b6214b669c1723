"""Loads a recipe together with the settings of its reweighting methods, and checks both."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from urnet.config import recipe as config
from urnet.config.combinations import check_recipe, settle_split
from urnet.config.fields import Need
from urnet.config.recipe import Recipe, active_stages
from urnet.config.stage import Stage
from urnet.data.lists.classes import settle
from urnet.features.views import MOST
from urnet.pipeline.auto_network import settle_network
from urnet.pipeline.fingerprints import measures_kept
from urnet.pipeline.methods import METHODS
from urnet.pipeline.registry import known_as, measures, method_of, target_columns, target_files
from urnet.pipeline.start_weights import settle_weights


def load_recipe(path: str | Path, overrides: Sequence[str] = (), *, replace: bool = False) -> Recipe:
    """Read a YAML recipe, apply ``key.sub=value`` overrides, check everything, return a Recipe.

    Its classes are counted and named (``settle``) where the data are on this machine, its network is chosen
    (``settle_network``), and a part is held back where it has no validation images (``settle_split``). Its images are
    prepared as the weights that it starts from need it (``settle_weights``). ``replace``: whatever an earlier run did.
    """
    recipe = read_recipe(path, overrides)
    recipe = dataclasses.replace(recipe, data=settle_split(recipe.data))
    recipe = settle_network(recipe, replace=replace)
    recipe = settle_weights(recipe, config.said_of(path, overrides, "transform"), replace=replace)
    check_recipe(recipe, str(path))
    check_methods(recipe, str(path))
    if Path(recipe.data.root).is_dir():
        recipe = dataclasses.replace(recipe, data=settle(recipe.data))
    return recipe


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """As ``load_recipe``, but ranges and combinations are not checked: more overrides may be to come."""
    return config.read_recipe(path, overrides, {name: method.settings for name, method in METHODS.items()})


def check_methods(recipe: Recipe, source: str) -> None:
    """Raise InputError for reweightings that do not go together with their own settings, stages or one another."""
    need = Need(source)
    for stage in recipe.stages:
        _check_stage(stage, need.under(f"stages.{stage.name}"))
    owner: dict[str, str] = {}
    makers: list[Stage] = []
    before: Stage | None = None
    for stage in active_stages(recipe):
        at, method = need.under(f"stages.{stage.name}"), method_of(stage)
        if measures(stage):
            _check_measure(stage, before, recipe.transform.flip, at.under("measure"))
        before = stage
        if method is not None and stage.reweight is not None:
            file, suffix = method.file_of(stage.reweight), stage.reweight.suffix
            words = f"another word, as stage {owner.get(file)} writes {file}.arrow already"
            at(file not in owner, "reweight.suffix", suffix, words)
            owner[file] = stage.name
            makers.append(stage)
        for maker in makers:
            made = method_of(maker)
            if made is not None and made.check_use is not None:
                made.check_use(maker.reweight, stage, maker is stage, at)


def _check_measure(stage: Stage, before: Stage | None, flip: bool, need: Need) -> None:
    """Views and parts of the network that a measurement can have."""
    views, front = stage.measure.views, stage.measure.front
    if measures_kept(stage, before):
        why = "as the features that are kept are of the evaluation's view"
        need(views == 1, "views", views, f"1, {why}")
        need(not front, "front", front, f"false, {why} and of the network's last part")
    need(views <= MOST[flip], "views", views, f"1 to {MOST[flip]}, as transform.flip is {str(flip).lower()}")


def _check_stage(stage: Stage, need: Need) -> None:
    method = method_of(stage)
    if method is not None:
        if method.check is not None:
            method.check(stage.reweight, need.under("reweight"))
        evidence = method.evidence_of(stage.reweight)
        if evidence is not None:
            good, words = evidence.word_vectors is None or evidence.text > 0, "null, as text is 0 and no text is read"
            need(good, "reweight.evidence.word_vectors", evidence.word_vectors, words)
            good = evidence.vote_power is None or evidence.votes
            need(good, "reweight.evidence.vote_power", evidence.vote_power, "null, as votes is false")
    *others, last = ["given", *(file for file, _ in target_files())]
    good = stage.targets == "given" or bool(target_columns(stage.targets))
    need(
        good,
        "targets",
        stage.targets,
        f"{', '.join(others)} or {last}, with the suffix of the reweighting where it has one",
    )
    if stage.subsets is not None:
        column = stage.subsets.column
        good = any(known.role == "subset" for known in known_as(column))
        need(good, "subsets.column", column, "subset, with the suffix of a curriculum where it has one")
