"""Level 3: the folder of a run: who may write there, what is there already, and if it fits the recipe."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from urnet import checkpoint
from urnet.checks import InputError
from urnet.files import whole_file
from urnet.recipe import Recipe, dump_recipe, load_recipe, recipe_tree

RECIPE = "recipe.yaml"
FREE = ("name", "output", "device")  # keys that may change under a run: they do not move its weights
FREE_DATA = ("table", "workers", "prefetch", "max_bad")
FREE_STAGE = ("log_every", "checkpoint_every", "keep")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; InputError while another one has it. A killed holder lets go."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("a")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{folder}: another process is training there; wait for it or stop it") from None
        yield


def condition(folder: Path) -> str:
    """What a stage's folder holds: "nothing", an "unfinished" training or a "finished" one."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; a stage's folder is needed there")
    checkpoint.recover(folder)
    if not folder.exists() or not any(folder.iterdir()):
        return "nothing"
    return "finished" if (folder / "final" / checkpoint.STATE).is_file() else "unfinished"


def begin(folder: Path, recipe: Recipe) -> None:
    """Note the recipe a stage is begun with, before anything else is written there."""
    with whole_file(folder / RECIPE, replace=True) as part:
        part.write_text(dump_recipe(recipe), encoding="utf-8")


def check_fits(folder: Path, recipe: Recipe, stage: str) -> None:
    """Raise InputError, naming the keys, where the stage in ``folder`` was trained by another recipe.

    Compared is all that decides the stage's weights: not where results go, how often they are logged or how
    many workers decode.
    """
    if not (folder / RECIPE).is_file():
        raise InputError(f"{folder}: is no stage of a run, {RECIPE} is missing; remove it or rename the run")
    then, now = (_decisive(r, stage) for r in (load_recipe(folder / RECIPE), recipe))
    changed = [key for key in sorted({*then, *now}) if then.get(key) != now.get(key)]
    if changed:
        shown = "; ".join(f"{key} was {then.get(key)!r}, now {now.get(key)!r}" for key in changed[:3])
        more = f" and {len(changed) - 3} more keys" if len(changed) > 3 else ""
        raise InputError(
            f"{folder}: was trained with another recipe: {shown}{more}; "
            "choose another name or output, or pass --replace to train it anew"
        )


def _decisive(recipe: Recipe, stage: str) -> dict[str, Any]:
    """Flat key -> value of what decides a stage's weights: data, transform, network, seed, stages so far."""
    tree = recipe_tree(recipe)
    names = [s["name"] for s in tree["stages"]]
    for key in FREE:
        del tree[key]
    for key in FREE_DATA:
        del tree["data"][key]
    stages = tree.pop("stages")[: names.index(stage) + 1 if stage in names else None]
    tree["stages"] = {
        s["name"]: {key: value for key, value in s.items() if key not in FREE_STAGE} for s in stages
    }
    return dict(_flat(tree, ""))


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _flat(item, f"{key}.{name}" if key else name)
    else:
        yield key, value
