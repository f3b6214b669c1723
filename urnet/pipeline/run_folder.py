"""The folder of a run: who may write there, what is there already, and what has changed since."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from urnet.checkpoints import checkpoint
from urnet.config.recipe import Recipe, dump_recipe
from urnet.core.atomic_files import atomic_file, missing_above, remove_empty
from urnet.core.checks import InputError
from urnet.core.file_lock import hold
from urnet.data.lists.decided import decisions_differ
from urnet.pipeline.fingerprints import DECISIONS, VALIDATION, Inputs, validation_changes

RECIPE = "recipe.yaml"
LOCK = ".lock"
INPUTS = "inputs.json"  # what decided the stage's outcome, key by key


def home_of(recipe: Recipe) -> Path:
    """The run's folder, OUTPUT/NAME."""
    return Path(recipe.output) / recipe.name


@contextlib.contextmanager
def locked(folder: Path, *, keep: bool = True) -> Iterator[None]:
    """Hold ``folder`` for this process; InputError while another one has it. A killed holder lets go.

    What this call made goes again where nothing came of it: a folder that holds nothing else at the end, and without
    ``keep``, or after an InputError, its lock.
    """
    made = missing_above(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new = not (folder / LOCK).exists()
        stream = hold(folder / LOCK)
    except OSError as error:
        remove_empty(made)
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
    if stream is None:
        raise InputError(f"{folder}: another process is training there; wait for it or stop it")
    with stream:
        refused = False
        try:
            yield
        except InputError:
            refused = True
            raise
        finally:
            empty = bool(made) and [item.name for item in folder.iterdir()] == [LOCK]
            if empty or (new and (refused or not keep)):
                (folder / LOCK).unlink()
            remove_empty(made)


@contextlib.contextmanager
def locked_run(recipe: Recipe, *, keep: bool = True) -> Iterator[None]:
    """Hold the run's folder, and that of a table which several runs share."""
    shared = [] if recipe.data.table is None else [Path(recipe.data.table)]
    with contextlib.ExitStack() as held:
        for folder in (home_of(recipe), *shared):
            held.enter_context(locked(folder, keep=keep))
        yield


def condition(folder: Path, *, mine: bool = False) -> str:
    """What a stage's folder holds: "nothing", an "unfinished" training or a "finished" one.

    ``mine``: this process holds the run's lock, so what killed writers left there may be cleared away.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; the folder of a stage must be there")
    if mine:
        checkpoint.recover(folder)
    if not folder.exists() or all(item.name.startswith(".") and item.suffix == ".tmp" for item in folder.iterdir()):
        return "nothing"
    finals = (folder / "final", folder / ".final.old")  # the second: what a killed writer moved aside
    return "finished" if any((final / checkpoint.STATE).is_file() for final in finals) else "unfinished"


def begin(folder: Path, recipe: Recipe, inputs: Inputs) -> None:
    """Note what a stage is begun with, before anything else is written there."""
    with atomic_file(folder / INPUTS, replace=True) as part:  # first: without it the folder is not a stage's
        part.write_text(json.dumps(inputs, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    with atomic_file(folder / RECIPE, replace=True) as part:
        part.write_text(dump_recipe(recipe), encoding="utf-8")


def read_inputs(folder: Path) -> Inputs:
    """What the stage in ``folder`` was begun with. Raises InputError for a folder that is not a stage's."""
    if not (folder / INPUTS).is_file():
        raise InputError(
            f"{folder}: is not a stage of a run, {INPUTS} is missing; choose another name or output, or pass "
            "--replace to remove it"
        )
    try:
        found = json.loads((folder / INPUTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / INPUTS}: cannot be read ({error})") from None
    if not isinstance(found, dict):
        raise InputError(f"{folder / INPUTS}: holds no settings; pass --replace to remove the stage")
    return found


def changes(folder: Path, inputs: Inputs, validation: Inputs | None = None) -> list[str]:
    """What differs between the inputs of the stage in ``folder`` and those it would have now, in words.

    ``validation``: ``describe_validation`` of the images there are now; a stage of before these were recorded passes.
    """
    then = read_inputs(folder)
    before = then.pop(VALIDATION, None)
    said = [] if validation is None or before is None else validation_changes(before, validation)
    differing = [key for key in sorted({*then, *inputs}) if then.get(key) != inputs.get(key)]
    decided = decisions_differ(then.get(DECISIONS, ""), inputs.get(DECISIONS, ""))
    if decided:
        said.append(decided)
    elif "table" in differing:
        said.append("the training images, or their labels, changed")
    for key in sorted(differing, key=lambda key: key.startswith(("column", "start"))):  # what follows from others last
        follows = decided and _follows(key, then.get(key), inputs.get(key))
        if key not in ("table", DECISIONS) and not follows:
            said.append(_change(key, then.get(key), inputs.get(key)))
    return said


def _follows(key: str, was: Any, now: Any) -> bool:
    """Whether an input is another because the table is, as columns and stages are that were made from it."""
    return key.startswith("column") or (key == "start" and all("stage " in str(value) for value in (was, now)))


_KINDS = {"file": "a file", "published": "published weights"}  # of ``Fingerprints``: what people call it


def _change(key: str, was: Any, now: Any) -> str:
    """What became of one input, in words; a hash tells people nothing, so it comes last, in brackets."""
    if key == "columns":
        return f"its reweighting would write other values ({was} then, {now} now)"
    if key.startswith("column ") and was and now:
        return f"{key}, which it trains with, would differ ({was} then, {now} now)"
    if key == "start":
        (kind, _, then), (other, _, new) = str(was).rpartition(" "), str(now).rpartition(" ")
        if kind and kind == other:
            return f"what it starts from, {_KINDS.get(kind, kind)}, differs ({then} then, {new} now)"
        return f"start was {kind or was}, now {other or now}"
    return f"{key} was {was!r}, now {now!r}"


def set_aside(folder: Path) -> Path:
    """Move a stage's folder to the next free OUTPUT/NAME/replaced/STAGE-NUMBER, which is returned."""
    place = folder.parent / "replaced"
    place.mkdir(exist_ok=True)
    number = 1
    while (place / f"{folder.name}-{number}").exists():
        number += 1
    folder.rename(place / f"{folder.name}-{number}")
    return place / f"{folder.name}-{number}"
