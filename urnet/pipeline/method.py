"""What a reweighting method is to the rest of the pipeline: its settings, its columns, what it needs.

One file of ``urnet.pipeline.methods`` describes one method with the classes of this module. Planning, fingerprints,
column files, row weights, the report, ``tools/plan.py`` and docs/recipes.md read the description; none of them
knows a method by name.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from urnet.config.fields import Need
from urnet.config.stage import Evidence, Stage

if TYPE_CHECKING:
    from urnet.pipeline.stage_rows import StageRows

Columns = dict[str, np.ndarray]
Role = Literal["weight", "class_weight", "subset", "target_index", "target_prob", "target_label", "other"]
TARGETS = ("target_index", "target_prob", "target_label")


@dataclass(frozen=True)
class Column:
    """A column that a method writes: one or ``width`` values per row.

    ``role``: what a recipe may use it for.

    - ``weight``: may weigh rows (``loss_weight``, ``sampling_weight``); ``class_weight``: the same, but equal for all
      rows of a class, so of no effect on sampling
    - ``subset``: the subset that a row is in (``subsets.column``)
    - ``target_index`` and ``target_prob``: a distribution over classes; ``target_label``: another label (``targets``)
    - ``other``: to be looked at only
    """

    kind: str  # NumPy's name of its type
    role: Role = "other"
    empty: float = 0  # what a row has whose image cannot be read; a target_label is then the given label
    width: Callable[[Stage], int] | None = None  # values per row, if there are as many classes; None: one
    when: Callable[[Any], bool] | None = None  # the settings with which it is written; None: always

    @property
    def is_weight(self) -> bool:
        return self.role in ("weight", "class_weight")


@dataclass(frozen=True)
class Method:
    """A reweighting method: what a recipe's ``reweight: {method: NAME, …}`` means."""

    name: str
    settings: type  # frozen dataclass; its first field is `method`, its last is `suffix`
    version: int  # raised when the same settings give other columns than before, so that stages run again
    file: str  # of the table, without the suffix and .arrow
    columns: Mapping[str, Column]
    compute: Callable[[StageRows, Any], Columns]  # the columns of the rows it is given, by their plain names
    score: str  # the column that says how much the method makes of a row, for comparisons of methods
    usage: str  # Markdown: which keys of a stage name its columns
    needs_features: bool = True  # a network measures the training images first
    reads_classes: Callable[[Any], bool] | None = None  # the settings with which it uses that network's probabilities
    needs_texts: bool = False  # `settings.evidence` says which texts outside the table are read
    sees_sampling: bool = False  # its columns depend on which rows the stage draws
    per_class: bool = False  # `compute` is called by all processes, which share the classes; else by the main one
    check: Callable[[Any, Need], None] | None = None  # what two of its settings may not be together
    check_use: Callable[[Any, Stage, bool, Need], None] | None = None  # what its stage (True) and later ones may not be

    @property
    def about(self) -> str:
        """What the method does, the docstring of its settings."""
        return inspect.cleandoc(self.settings.__doc__ or "")

    def file_of(self, settings: Any) -> str:
        """The table's file that is written: ``cluster``, ``cluster_second`` …"""
        return self.file + settings.suffix

    def columns_of(self, settings: Any) -> dict[str, Column]:
        """The columns that are written, by the names they have in the table."""
        written = {
            name: column for name, column in self.columns.items() if column.when is None or column.when(settings)
        }
        return {name + settings.suffix: column for name, column in written.items()}

    def evidence_of(self, settings: Any) -> Evidence | None:
        """The settings that say which texts are read; None for a method that reads none."""
        return settings.evidence if self.needs_texts else None


def arguments(settings: Any, but: Sequence[str] = ()) -> dict[str, Any]:
    """The settings as keyword arguments of the function that computes the columns, where they have the same names."""
    left_out = {"method", "suffix", *but}
    names = (field.name for field in dataclasses.fields(settings) if field.name not in left_out)
    return {name: getattr(settings, name) for name in names}
