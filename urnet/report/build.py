"""A run and its table, or the labelled pictures of a folder, become one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from urnet.core.blocks import class_sizes
from urnet.core.checks import InputError, check_same_rows
from urnet.core.counted import count
from urnet.data.table.table import Table
from urnet.report import overview
from urnet.report.columns import Columns
from urnet.report.gallery import Gallery, Thumbnails
from urnet.report.label_sections import SHARE, Settings, check_settings, label_sections, pictures_note
from urnet.report.page import Section, page
from urnet.report.photos import Photos
from urnet.report.run_evidence import label_evidence
from urnet.report.run_state import Method, RunState
from urnet.report.suspects import Evidence

__all__ = ["FolderReport", "Report", "Settings", "build_folder_report", "build_report"]


@dataclass(frozen=True)
class FolderReport:
    """The page, and how many pictures it has, had none for, and left out."""

    html: str
    pictures: int
    missing: int
    left_out: int


@dataclass(frozen=True)
class Report(FolderReport):
    """A run's; ``evidence`` None where no stage left any yet."""

    columns: Columns
    evidence: Evidence | None


def build_report(
    run: RunState, table: Table, thumbnails: Thumbnails, settings: Settings, methods: Sequence[Method] | None = None
) -> Report:
    """The report of ``run`` on ``table``: every pass over the rows is blocked, the page holds only samples.

    ``thumbnails`` turns paths into pictures (``urnet.report.thumbnails``), ``methods`` are a benchmark's results.
    The same inputs give the same page. Raises InputError where the run was trained on another table.
    """
    check_settings(settings)
    _check_table(run, table)
    columns = Columns(table, run.order)
    sizes, evidence = class_sizes(columns.labels, len(table.class_names)), label_evidence(columns, run.unreadable)
    gallery = Gallery(columns, thumbnails, int(SHARE * settings.max_bytes), settings.page)
    sections = label_sections(columns, evidence, sizes, gallery, settings)
    body = overview.ladder(run) + overview.benchmark(methods) + overview.column_files(table)
    in_order = [
        *(sections[key] for key in ("suspects", "confusion", "classes")),
        Section("stages", "Stages", body),
        sections["sizes"],
        Section("weights", "Weights", overview.weight_histograms(columns)),
    ]
    html = page(run.name, overview.head(run, table) + pictures_note(gallery), in_order)
    return Report(html, gallery.shown, gallery.missing, gallery.left_out, columns, evidence)


def build_folder_report(
    name: str, photos: Photos, evidence: Evidence, thumbnails: Thumbnails, settings: Settings
) -> FolderReport:
    """The page of labelled pictures that no run has seen: suspects, confusion, classes and their sizes.

    ``name`` is its heading, such as the folder's. The rest is as in ``build_report``. Raises InputError where
    ``photos`` and ``evidence`` have not the same rows, or there is none.
    """
    check_settings(settings)
    if not check_same_rows(paths=photos.paths, label_quality=evidence.label_quality):
        raise InputError(f"{name}: has no picture; at least one is needed")
    n_classes = len(photos.class_names)
    facts = [("pictures", count(len(photos.paths))), ("classes", count(n_classes))]
    gallery = Gallery(photos, thumbnails, int(SHARE * settings.max_bytes), settings.page)
    sections = label_sections(photos, evidence, class_sizes(photos.labels, n_classes), gallery, settings)
    html = page(name, overview.title(name, facts) + pictures_note(gallery), list(sections.values()))
    return FolderReport(html, gallery.shown, gallery.missing, gallery.left_out)


def _check_table(run: RunState, table: Table) -> None:
    for stage in run.stages:
        if stage.base_hash and stage.base_hash != table.base_hash:
            raise InputError(
                f"{run.folder / stage.name}: was trained on table {stage.base_hash[:16]}, but {table.folder} is "
                f"{table.base_hash[:16]}; give the run's table with --table"
            )
