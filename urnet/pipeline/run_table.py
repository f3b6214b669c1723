"""The run's table: opened, built, or built again with ``--replace``; a plan's is built elsewhere."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from urnet.config.recipe import Recipe, active_stages
from urnet.config.stage import Stage
from urnet.core.checks import InputError
from urnet.data.lists.build_table import build_table, list_changes, open_or_build, table_changes
from urnet.data.lists.decided import decision_changes
from urnet.data.table.table import Table
from urnet.pipeline import run_folder
from urnet.pipeline.kept_columns import has_own, keep_own

BASE, ASIDE = "base.arrow", ".table.old"  # of a table; where one that is built anew waits until the run can begin


def table_folder(recipe: Recipe) -> Path:
    return Path(recipe.data.table or run_folder.home_of(recipe) / "table")


def _rebuilt(recipe: Recipe, chosen: Sequence[Stage], folder: Path, replace: bool) -> str:
    """Why the run's own table in ``folder`` is to be built again; "" where it stays, or there is none.

    Other decisions make it so without ``replace``: they are made to be followed.
    """
    if recipe.data.table is not None or not (folder / BASE).exists():
        return ""
    if not replace:
        table = Table.open(folder)
        changed = decision_changes(recipe.data, table)
        return "" if changed and list_changes(recipe.data, table, quiet=True) else changed
    if len(chosen) == len(active_stages(recipe)):
        return "--replace"
    try:
        return table_changes(recipe.data, Table.open(folder), quiet=True)
    except InputError as error:  # a broken table; broken lists are refused again when it is built
        return str(error)


@contextlib.contextmanager
def run_table(recipe: Recipe, chosen: Sequence[Stage], replace: bool, mine: bool) -> Iterator[Table]:
    """The run's table, built where there is none, or anew (``_rebuilt``); on an error all is as it was.

    A table that several runs share is held by one of them at a time; ``mine``: by this process.
    """
    folder, aside = table_folder(recipe), run_folder.home_of(recipe) / ASIDE
    if not mine:
        yield open_or_build(recipe.data, folder)
        return
    if aside.exists():  # a run was killed in the block below
        remove([folder])
        aside.rename(folder)
    why = _rebuilt(recipe, chosen, folder, replace)
    if why:
        folder.rename(aside)
    new = not (folder / BASE).exists()
    try:
        table = open_or_build(recipe.data, folder)
        _say_rebuilt(recipe, chosen, why)
        if why:
            keep_own(aside, table)
        yield table
    except BaseException:
        if aside.exists():
            remove([folder])
            aside.rename(folder)
        elif new:
            (folder / BASE).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    remove([aside])


@contextlib.contextmanager
def planned_table(recipe: Recipe, chosen: Sequence[Stage], replace: bool, *, paths: bool = False) -> Iterator[Table]:
    """The table as ``run_table`` would give it. One that is not there is built elsewhere and removed.

    Without ``paths`` it need not hold those of its images.
    """
    folder, aside = table_folder(recipe), run_folder.home_of(recipe) / ASIDE
    if aside.exists():
        folder = aside
    why = _rebuilt(recipe, chosen, folder, replace)
    if (folder / BASE).exists() and not why:
        yield open_or_build(recipe.data, folder)
        return
    with tempfile.TemporaryDirectory(prefix="urnet-plan-") as place:
        texts = paths or recipe.data.val_split is not None or (bool(why) and has_own(folder))
        table = build_table(recipe.data, place, texts=texts)
        _say_rebuilt(recipe, chosen, why)
        if why:
            keep_own(folder, table)
        yield table


def _say_rebuilt(recipe: Recipe, chosen: Sequence[Stage], why: str) -> None:
    """Where only a part of the stages is replaced, what a new table means for the others."""
    others = [
        s.name for s in active_stages(recipe) if s not in chosen and (run_folder.home_of(recipe) / s.name).exists()
    ]
    if why and others:
        said = (
            f"stage {others[0]} was trained on the old one and runs again when its turn comes"
            if len(others) == 1
            else f"stages {', '.join(others)} were trained on the old one and run again when their turn comes"
        )
        print(f"note: {table_folder(recipe)}: is built again ({why}); {said}", file=sys.stderr)


def remove(places: Sequence[Path]) -> None:
    for place in places:
        if place.exists():
            shutil.rmtree(place)
