"""The network that ``model.name: auto`` means: of this machine, or of the run where it was begun."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import sys

from urnet.config.recipe import Recipe, active_stages
from urnet.core.cli import is_main
from urnet.pipeline import run_folder

AUTO = "auto"
ON_GPU, ON_CPU = "ResNet50", "EfficientNetLite0"


def settle_network(recipe: Recipe, *, replace: bool = False) -> Recipe:
    """The recipe with a network's name in place of ``auto``; a line on stderr says which and why.

    A run that was begun, perhaps on another machine, keeps its network, unless ``replace``.
    """
    if recipe.model.name != AUTO:
        return recipe
    name, why = ("", "") if replace else _begun(recipe)
    if not name:
        gpu = recipe.device != "cpu" and _finds_gpu()
        name, why = (ON_GPU, "as there is a GPU") if gpu else (ON_CPU, "as it trains on the CPU")
    if is_main():
        print(f"model.name: auto is {name}, {why} (-o model.name=NETWORK sets another)", file=sys.stderr)
    return dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, name=name))


def _begun(recipe: Recipe) -> tuple[str, str]:
    """The network of the first of the run's stages that was begun, and where that is; "" for none."""
    for stage in active_stages(recipe):
        folder = run_folder.home_of(recipe) / stage.name
        if (folder / run_folder.INPUTS).is_file():
            name = run_folder.read_inputs(folder).get("model.name")
            if isinstance(name, str):
                return name, f"with which {folder} was begun"
    return "", ""


def _finds_gpu() -> bool:
    """Whether Paddle finds a GPU; its package for the CPU need not be imported, which takes seconds, to tell."""
    try:
        importlib.metadata.version("paddlepaddle-gpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    from urnet.runtime.threads import import_paddle

    import_paddle()
    from urnet.runtime.precision import has_gpu

    return has_gpu()
