"""Questions to all reweighting methods: which one a stage has, what a column or a file of the table is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from urnet.config.stage import Stage
from urnet.pipeline.method import TARGETS, Column, Method
from urnet.pipeline.methods import METHODS

BAG_COLUMNS: Mapping[str, Column] = MappingProxyType({"bag_attention": Column("float32")})  # training writes it


def method_of(stage: Stage) -> Method | None:
    """The method of a stage's reweighting; None for a stage without one."""
    return None if stage.reweight is None else METHODS[stage.reweight.method]


def measures(stage: Stage) -> bool:
    """Whether a network measures the training images for the stage's reweighting."""
    method = method_of(stage)
    return method is not None and method.needs_features


def reads_classes(stage: Stage) -> bool:
    """Whether the stage's reweighting uses the class probabilities of the network that measures."""
    method = method_of(stage)
    return method is not None and method.reads_classes is not None and method.reads_classes(stage.reweight)


def column_files(stage: Stage) -> dict[str, Mapping[str, Column]]:
    """The files of the table that a stage writes, each with its columns: its reweighting's, and its bags'."""
    method = method_of(stage)
    files: dict[str, Mapping[str, Column]] = {}
    if method is not None:
        files[method.file_of(stage.reweight)] = method.columns_of(stage.reweight)
    return files if stage.bags is None else {**files, "bag": BAG_COLUMNS}


def columns_of(stage: Stage) -> tuple[str, ...]:
    """The names of all columns that a stage writes."""
    return tuple(name for columns in column_files(stage).values() for name in columns)


def known_as(name: str) -> list[Column]:
    """What a column of this name may be, with or without a suffix; empty for one that no stage writes."""
    all_columns: list[Mapping[str, Column]] = [method.columns for method in METHODS.values()]
    found = ((plain, column) for columns in [*all_columns, BAG_COLUMNS] for plain, column in columns.items())
    return [column for plain, column in found if name == plain or name.startswith(f"{plain}_")]


def writes_file(name: str) -> bool:
    """Whether a stage's columns may be in the file NAME.arrow of the table, suffixes left aside."""
    return name == "bag" or any(name == method.file for method in METHODS.values())


def target_files() -> Iterator[tuple[str, list[str]]]:
    """Each file that rows can be trained towards, and its columns: classes and probabilities, or labels."""
    for method in METHODS.values():
        by_role = {column.role: name for name, column in method.columns.items()}
        columns = [by_role[role] for role in TARGETS if role in by_role]
        if columns:
            yield method.file, columns


def target_columns(file: str) -> tuple[str, ...]:
    """The columns of a file of targets, which may have a suffix; () where there is no such file."""
    for plain, columns in target_files():
        suffix = file.removeprefix(plain)
        if file == plain or (suffix != file and suffix.startswith("_")):
            return tuple(name + suffix for name in columns)
    return ()
