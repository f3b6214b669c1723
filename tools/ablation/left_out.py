"""Which kinds of runs are left out of a comparison, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tools.ablation.evidence import left_out
from tools.ablation.methods import DERIVED, OWN_RECIPES, own_recipe, stages_of
from urnet.config.combinations import check_recipe
from urnet.config.recipe import Recipe, active_stages
from urnet.core.checks import InputError
from urnet.pipeline.recipes import check_methods


def not_run(base: Recipe, has_metadata: bool) -> Mapping[str, str]:
    """Kind -> why it is left out: a restricted ladder that reads no less than another one, or what cannot be made.

    ``has_metadata``: the data has titles and ranks.
    """
    found = dict(left_out(DERIVED, lambda kind: stages_of(kind, base, 1), has_metadata))
    part = next((stage for stage in active_stages(base) if stage.train != "all"), None)
    if part is None:
        return found
    two = f"it trains two whole networks, and stage {part.name} of the ladder trains {part.train} of one"
    for kind in OWN_RECIPES:
        pair = any(stage.pair for stage in own_recipe(kind).stages)
        if reason := two if pair else _refused(replace(base, stages=stages_of(kind, base, 1))):
            found[kind] = reason
    return found


def _refused(recipe: Recipe) -> str:
    """Why a recipe cannot train, "" where it can: what stages ask for may not go together with frozen parts."""
    try:
        check_recipe(recipe, "its recipe")
        check_methods(recipe, "its recipe")
    except InputError as error:
        return str(error)
    return ""
