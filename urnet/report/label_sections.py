"""The sections that a run's page and a folder's have in common: suspects, confusion, classes, sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from urnet.core.checks import InputError, nearest
from urnet.core.counted import plural
from urnet.report import overview
from urnet.report.aggregates import rows_of
from urnet.report.class_sections import Choice, choose_classes, class_section
from urnet.report.confusion_section import confusion_section
from urnet.report.gallery import Gallery
from urnet.report.page import Section
from urnet.report.photos import Rows
from urnet.report.suspect_cards import suspect_section
from urnet.report.suspects import Evidence
from urnet.report.text import NUMBERS

SHARE = 0.85  # of the page's bytes that pictures may take


@dataclass(frozen=True)
class Settings:
    """How much is shown: ``classes`` one by one, ``per_class`` images a strip, ``top`` suspects.

    ``show`` names the classes (number or name) to show instead of the ``classes`` worst. Pictures are left
    out where the page would grow beyond ``max_bytes``. ``page`` is the file that the page will be, from which the
    suspects' files are linked (None: not at all).
    """

    classes: int = 20
    per_class: int = 12
    top: int = 400
    max_bytes: int = 10_000_000
    show: tuple[str, ...] = ()
    page: Path | None = None


def check_settings(settings: Settings) -> None:
    """Raise InputError for a negative or impossible amount."""
    for name in ("classes", "per_class", "top"):
        if getattr(settings, name) < 0:
            raise InputError(f"--{name}: found {getattr(settings, name)}; 0 or more is accepted")
    if settings.max_bytes <= 0:
        raise InputError(f"--max_mb: found {settings.max_bytes / 1e6:g}; more than 0 is accepted")


def label_sections(
    source: Rows, evidence: Evidence | None, sizes: np.ndarray, gallery: Gallery, settings: Settings
) -> dict[str, Section]:
    """The sections by their keys, in the page's order; ``sizes`` int64 (C,) are the classes' rows."""
    if settings.show:
        choice = Choice(_named_classes(settings.show, source.class_names), "as asked with --show")
    else:
        choice = choose_classes(source, evidence, sizes, settings.classes)
    sections = (
        Section("suspects", "Suspects", suspect_section(source, evidence, settings.top, gallery)),
        Section("confusion", "Confusion", confusion_section(source, evidence, choice)),
        Section("classes", "Classes", _classes(source, evidence, choice, gallery, settings.per_class)),
        Section("sizes", "Class sizes", overview.class_sizes(source, sizes)),
    )
    return {section.key: section for section in sections}


def pictures_note(gallery: Gallery) -> str:
    """One line about pictures that are not there; nothing where all are."""
    parts = []
    if gallery.missing:
        parts.append(f"{plural(gallery.missing, 'image is', 'images are')} missing or unreadable")
    if gallery.left_out:
        parts.append(f"{plural(gallery.left_out, 'image', 'images')} left out, as the page was full (--max_mb)")
    return f'<p class="note">{"; ".join(parts)}.</p>' if parts else ""


def _classes(source: Rows, evidence: Evidence | None, choice: Choice, gallery: Gallery, per_class: int) -> str:
    n_classes = len(source.class_names)
    rows = rows_of(source.labels, choice.classes, n_classes)
    words = f"{len(choice.classes)} of {plural(n_classes, 'class', 'classes')}: {choice.reason}. {NUMBERS}"
    buttons = "".join(
        f'<button type="button" data-open="{key}">{word} all</button>' for key, word in ((1, "Open"), (0, "Close"))
    )
    bodies = [class_section(source, evidence, c, rows[c], gallery, per_class) for c in choice.classes]
    return f"<p>{words}</p>{buttons}{''.join(bodies)}"


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
