"""The folder of a run: who may write there, what is there already, and what has changed since."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

from urnet.checkpoints import checkpoint
from urnet.config.recipe import Recipe, dump_recipe
from urnet.core.atomic_files import atomic_file
from urnet.core.checks import InputError
from urnet.pipeline.fingerprints import Inputs

RECIPE = "recipe.yaml"
INPUTS = "inputs.json"  # what decided the stage's outcome, key by key


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


def condition(folder: Path, *, mine: bool = False) -> str:
    """What a stage's folder holds: "nothing", an "unfinished" training or a "finished" one.

    ``mine``: this process holds the run's lock, so what killed writers left there may be cleared away.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; a stage's folder is needed there")
    if mine:
        checkpoint.recover(folder)
    if not folder.exists() or not any(folder.iterdir()):
        return "nothing"
    return "finished" if (folder / "final" / checkpoint.STATE).is_file() else "unfinished"


def begin(folder: Path, recipe: Recipe, inputs: Inputs) -> None:
    """Note what a stage is begun with, before anything else is written there."""
    with atomic_file(folder / INPUTS, replace=True) as part:  # first: without it the folder is no stage's
        part.write_text(json.dumps(inputs, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    with atomic_file(folder / RECIPE, replace=True) as part:
        part.write_text(dump_recipe(recipe), encoding="utf-8")


def changes(folder: Path, inputs: Inputs) -> list[str]:
    """What differs between the inputs of the stage in ``folder`` and those it would have now, in words."""
    if not (folder / INPUTS).is_file():
        raise InputError(
            f"{folder}: is no stage of a run, {INPUTS} is missing; choose another name or output, or pass "
            "--replace to remove it"
        )
    try:
        then = json.loads((folder / INPUTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / INPUTS}: cannot be read ({error})") from None
    differing = [key for key in sorted({*then, *inputs}) if then.get(key) != inputs.get(key)]
    return [f"{key} was {then.get(key)!r}, now {inputs.get(key)!r}" for key in differing]


def set_aside(folder: Path) -> Path:
    """Move a stage's folder to the next free OUTPUT/NAME/replaced/STAGE-NUMBER, which is returned."""
    place = folder.parent / "replaced"
    place.mkdir(exist_ok=True)
    number = 1
    while (place / f"{folder.name}-{number}").exists():
        number += 1
    folder.rename(place / f"{folder.name}-{number}")
    return place / f"{folder.name}-{number}"
