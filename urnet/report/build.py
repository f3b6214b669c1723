"""A run and its table become one page; here the passes over the rows and the sections are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from urnet.core.blocks import class_sizes
from urnet.core.checks import InputError, nearest
from urnet.data.table.table import Table
from urnet.report import overview
from urnet.report.aggregates import rows_of
from urnet.report.class_sections import Choice, choose_classes, class_section
from urnet.report.columns import Columns
from urnet.report.gallery import Gallery, Thumbnails
from urnet.report.page import Section, page
from urnet.report.run_evidence import label_evidence
from urnet.report.run_state import Method, RunState
from urnet.report.suspect_sections import confusion_section, suspect_list
from urnet.report.suspects import Evidence
from urnet.report.text import plural

SHARE = 0.85  # of the page's bytes that pictures may take


@dataclass(frozen=True)
class Settings:
    """How much is shown: ``classes`` one by one, ``per_class`` images a strip, ``top`` suspects.

    ``show`` names the classes (number or name) to show instead of the ``classes`` worst. Pictures are left
    out where the page would grow beyond ``max_bytes``.
    """

    classes: int = 20
    per_class: int = 12
    top: int = 100
    max_bytes: int = 10_000_000
    show: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """The page and what a line about it can tell; ``evidence`` None where no stage left any yet."""

    html: str
    columns: Columns
    evidence: Evidence | None
    pictures: int
    missing: int
    left_out: int


def check_settings(settings: Settings) -> None:
    """Raise InputError for a negative or impossible amount."""
    for name in ("classes", "per_class", "top"):
        if getattr(settings, name) < 0:
            raise InputError(f"--{name}: found {getattr(settings, name)}; 0 or more is accepted")
    if settings.max_bytes <= 0:
        raise InputError(f"--max_mb: found {settings.max_bytes / 1e6:g}; more than 0 is accepted")


def build_report(
    run: RunState, table: Table, thumbnails: Thumbnails, settings: Settings, methods: Sequence[Method] | None = None
) -> Report:
    """The report of ``run`` on ``table``: every pass over the rows is blocked, the page holds only samples.

    ``thumbnails`` turns paths into pictures (``urnet.report.thumbnails``), ``methods`` are a benchmark's results.
    The same inputs give the same page. Raises InputError where the run was trained on another table.
    """
    check_settings(settings)
    _check_table(run, table)
    columns, n_classes = Columns(table, run.order), len(table.class_names)
    sizes, evidence = class_sizes(columns.labels, n_classes), label_evidence(columns, run.unreadable)
    choice = _choose(settings, columns, evidence, sizes)
    gallery = Gallery(table, thumbnails, int(SHARE * settings.max_bytes))
    sections = [
        Section("stages", "Stages", overview.ladder(run) + overview.benchmark(methods)),
        Section("sizes", "Class sizes", overview.class_sizes(columns, sizes)),
        Section("weights", "Weights", overview.weight_histograms(columns)),
        Section("suspects", "Suspects", suspect_list(columns, evidence, settings.top, gallery)),
        Section("confusion", "Confusion", confusion_section(columns, evidence, choice, n_classes)),
        Section("classes", "Classes", _classes(columns, evidence, choice, gallery, settings.per_class)),
    ]
    html = page(run.name, overview.head(run, table) + _pictures_note(gallery), sections)
    return Report(html, columns, evidence, gallery.shown, gallery.missing, gallery.left_out)


def _choose(settings: Settings, columns: Columns, evidence: Evidence | None, sizes: np.ndarray) -> Choice:
    if settings.show:
        return Choice(_named_classes(settings.show, columns.table.class_names), "as asked with --show")
    return choose_classes(columns, evidence, sizes, settings.classes)


def _classes(columns: Columns, evidence: Evidence | None, choice: Choice, gallery: Gallery, per_class: int) -> str:
    n_classes = len(columns.table.class_names)
    rows = rows_of(columns.labels, choice.classes, n_classes)
    words = f"{len(choice.classes)} of {plural(n_classes, 'class', 'classes')}: {choice.reason}."
    buttons = "".join(
        f'<button type="button" data-open="{key}">{word} all</button>' for key, word in ((1, "Open"), (0, "Close"))
    )
    bodies = [class_section(columns, evidence, c, rows[c], gallery, per_class) for c in choice.classes]
    return f"<p>{words}</p>{buttons}{''.join(bodies)}"


def _pictures_note(gallery: Gallery) -> str:
    """One line about pictures that are not there; nothing where all are."""
    parts = []
    if gallery.missing:
        parts.append(f"{plural(gallery.missing, 'image is', 'images are')} missing or unreadable")
    if gallery.left_out:
        parts.append(f"{plural(gallery.left_out, 'image', 'images')} left out, as the page was full (--max_mb)")
    return f'<p class="note">{"; ".join(parts)}.</p>' if parts else ""


def _check_table(run: RunState, table: Table) -> None:
    for stage in run.stages:
        if stage.base_hash and stage.base_hash != table.base_hash:
            raise InputError(
                f"{run.folder / stage.name}: was trained on table {stage.base_hash[:16]}, "
                f"{table.folder} is {table.base_hash[:16]}; name the run's table with --table"
            )


def _named_classes(asked: Sequence[str], names: Sequence[str]) -> tuple[int, ...]:
    """Class numbers of numbers or names, each once, in the asked order."""
    place = {name: c for c, name in reversed(list(enumerate(names))) if name}
    found: dict[int, None] = {}
    for word in asked:
        c = place.get(word, int(word) if word.isascii() and word.isdigit() else -1)
        if not 0 <= c < len(names):
            known = f"0..{len(names) - 1}" + (f" or a name; nearest: {nearest(word, place)}" if place else "")
            raise InputError(f"--show: no class {word!r}; accepted is {known}")
        found[c] = None
    return tuple(found)
