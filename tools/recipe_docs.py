"""The tables of docs/recipes.md, written from the fields of the recipe's dataclasses.

``python -m tools.recipe_docs`` rewrites what is between the page's markers; the prose around them is written by
hand. A test compares the page with what this would write.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from urnet.config import recipe, remedies, stage
from urnet.config.fields import accepted, key_of, plain
from urnet.pipeline.method import Method
from urnet.pipeline.methods import METHODS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "recipes.md"
KINDS: tuple[type, ...] = (
    *(recipe.Recipe, recipe.Data, recipe.Transform, recipe.Model),
    *(stage.Stage, stage.Measure, stage.Evidence, stage.Bags),
    *(remedies.Subsets, remedies.Gate, remedies.Loss, remedies.Elr, remedies.Sop),
    *(remedies.CoTeaching, remedies.DivideMix),
    *(stage.Optimizer, stage.Schedule, stage.Ema),
)
MARKED = re.compile(r"(<!-- from the code: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(page: str) -> str:
    """The page with everything between its markers written anew. Raises KeyError for a marker that is not known."""
    parts = {kind.__name__: key_table(kind) for kind in KINDS}
    parts.update(columns=column_table(), methods=method_sections())
    return MARKED.sub(lambda found: f"{found[1]}\n{parts[found[2]]}\n\n{found[3]}", page)


def key_table(kind: type) -> str:
    """A row for every key: what it accepts, its default, its meaning."""
    rows = [
        (
            f"`{field.name}`",
            accepted(kind, field),
            default_text(field),
            key_of(field).text or "chooses this reweighting",
        )
        for field in dataclasses.fields(kind)
    ]
    return _table(("key", "range", "default", "meaning"), rows)


def default_text(field: dataclasses.Field) -> str:
    """A field's default as it is written in a recipe."""
    value = field.default
    if value is dataclasses.MISSING or field.name == "method":
        return "—"
    if dataclasses.is_dataclass(value) and plain(value) == "a mapping":
        return "all defaults"
    return _yaml(plain(value))


def _yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, float):
        return ".inf" if value == math.inf else str(round(value, 4))
    return str(value) or '""'


def column_table() -> str:
    """What every method writes."""
    rows = [(method.name, f"`{method.file}.arrow`", _columns(method), method.usage) for method in METHODS.values()]
    return _table(("method", "file", "columns", "named in"), rows)


def _columns(method: Method) -> str:
    always = ", ".join(f"`{name}`" for name, column in method.columns.items() if column.when is None)
    extra = [f"on request `{name}`" for name, column in method.columns.items() if column.when is not None]
    return ", ".join([always, *extra])


def method_sections() -> str:
    """A heading, a paragraph and a table for every method."""
    return "\n\n".join(
        f"### {method.name}\n\n{method.about}\n\n{key_table(method.settings)}" for method in METHODS.values()
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
