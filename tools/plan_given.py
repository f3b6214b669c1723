"""What a plan starts from (rows, validation images, lengths of texts), and where each is from."""

from __future__ import annotations

import argparse
import contextlib
import math
from dataclasses import dataclass
from pathlib import Path

from tools.plan_bytes import Artefact, base_row_bytes
from urnet.config.recipe import Recipe
from urnet.core.checks import InputError
from urnet.data.lists.build_table import read_validation
from urnet.data.table.table import Table

PUBLISHED = {"webvision2": (16_076_665, 294_099), "imagenet": (1_281_167, 50_000)}  # training, validation
# Mean bytes of a row's path and text: for WebVision as tools/speed/table.py makes its lists and metadata
# (47.0 and 181.1 at a million rows), for the others paths of a usual length and no text.
WEB, PLAIN = (47, 181), (40, 0)
TEXTS = {"webvision2": WEB, "webvision1": WEB, "imagenet": PLAIN, "list": PLAIN, "folder": PLAIN}


@dataclass(frozen=True)
class Given:
    """A number and where it is from."""

    value: int
    source: str


def check_numbers(args: argparse.Namespace) -> None:
    """Raise InputError for a number outside its range."""
    least = {"rows": 1, "evaluation_images": 1, "processes": 1, "machines": 1, "path_bytes": 0, "text_bytes": 0}
    for name, low in least.items():
        value = getattr(args, name)
        if value is not None and not low <= value < math.inf:
            raise InputError(f"{flag(name)}: found {value}; {low} or more is accepted")
    for name in ("images_per_second", "evaluation_images_per_second"):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{flag(name)}: found {value}; more than 0 is accepted")
    if args.evaluation_images_per_second is not None and args.images_per_second is None:
        raise InputError("--evaluation-images-per-second: needs --images-per-second beside it")


def flag(name: str) -> str:
    """The command line's word for a number."""
    return "--" + name.replace("_", "-")


def table_of(recipe: Recipe) -> Table | None:
    """The run's table, None where it is not built."""
    folder = Path(recipe.data.table or Path(recipe.output) / recipe.name / "table")
    return Table.open(folder) if (folder / "base.arrow").is_file() else None


def rows_of(asked: int | None, recipe: Recipe, table: Table | None) -> Given:
    """--rows > the table > the published number. Raises InputError where none is known."""
    if asked is not None:
        return Given(asked, "--rows")
    if table is not None:
        return Given(table.n_rows, f"in {table.folder}")
    if recipe.data.format not in PUBLISHED:
        raise InputError(f"--rows: is needed for format {recipe.data.format}, as no table is built yet")
    return Given(PUBLISHED[recipe.data.format][0], "published")


def evaluation_images_of(asked: int | None, recipe: Recipe) -> Given:
    """--evaluation-images > the recipe's list > the published number. Raises InputError likewise."""
    if asked is not None:
        return Given(asked, "--evaluation-images")
    with contextlib.suppress(InputError):  # the data need not be on this machine
        return Given(len(read_validation(recipe.data)), "listed")
    if recipe.data.format not in PUBLISHED:
        raise InputError("--evaluation-images: is needed, as the recipe's validation list cannot be read here")
    return Given(PUBLISHED[recipe.data.format][1], "published")


def base_of(args: argparse.Namespace, recipe: Recipe, rows: Given, table: Table | None) -> Artefact:
    """base.arrow: as it is on the disk, else by the formula."""
    given = (args.path_bytes, args.text_bytes)
    if table is not None and (args.rows, *given) == (None, None, None):
        return Artefact("", "table/base.arrow", "as it is", (table.folder / "base.arrow").stat().st_size)
    path, text = (b if a is None else a for a, b in zip(given, TEXTS[recipe.data.format], strict=True))
    row = base_row_bytes(path, text)
    what = f"{row - path - text:g} + path {path:g} + text {text:g} B a row"
    return Artefact("", "table/base.arrow", what, round(rows.value * row))
