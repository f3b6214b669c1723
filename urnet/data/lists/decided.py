"""What a person decided about the listed rows (``data.decisions``): applied as they are read, before classes part."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from urnet.config.recipe import Data
from urnet.core.checks import InputError
from urnet.core.cli import is_main
from urnet.core.counted import plural, verb
from urnet.data.decisions.matching import Matcher
from urnet.data.decisions.reader import read_decisions
from urnet.data.decisions.records import Decisions
from urnet.data.lists import webvision
from urnet.data.lists.classes import Classes, named, read_classes, whole
from urnet.data.table.table import Table


class Block(NamedTuple):
    """Some rows: ``paths`` (Arrow strings), ``labels`` (n,) as decided, ``decided`` int8 (n,) and ``given`` (n,), the
    labels before, -1 of a class that does not train."""

    paths: Any
    labels: np.ndarray
    decided: np.ndarray
    given: np.ndarray


def image_root(data: Data, classes: Classes) -> Path:
    """What column ``path`` is relative to."""
    return (
        webvision.image_root(whole(data, classes)) if data.format in ("webvision2", "webvision1") else Path(data.root)
    )


def read_data_decisions(data: Data, *, quiet: bool = False) -> Decisions | None:
    """The decisions that ``data`` names; None without any."""
    if data.decisions is None:
        return None
    if not Path(data.decisions).is_file():
        raise InputError(
            f"data.decisions: {data.decisions} is not a file; the decisions.csv that tools/review.py writes is "
            "accepted, or null"
        )
    return read_decisions(data.decisions, quiet=quiet)


class Decider:
    """Replaces listed labels by decided ones; without ``data.decisions`` it changes nothing."""

    def __init__(self, data: Data, classes: Classes, *, quiet: bool = False) -> None:
        decisions = read_data_decisions(data, quiet=quiet)
        self._classes = classes
        self._matcher = (
            None
            if decisions is None
            else Matcher(decisions, image_root(data, classes), classes.listed, classes.aliases)
        )

    def apply(self, paths: Any, listed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of rows with ``listed`` labels (n,): those as decided, ``decided`` int8 (n,), and ``given`` (Block)."""
        if self._matcher is None:
            return listed, np.zeros(len(listed), np.int8), listed
        labels, decided = self._matcher.apply(paths, listed)
        return labels, decided, self._classes.renumbered(listed)

    def finish(self) -> None:
        """After all rows: check the decided files and say on stderr what was decided (``Matcher.finish``)."""
        if self._matcher is None:
            return
        self._matcher.finish()
        if is_main():
            decisions = self._matcher.decisions
            kinds = [row.decision for row in decisions]
            said = {"keep": "kept", "relabel": "relabelled", "none": "none of the classes", "skip": "skipped"}
            parts = [f"{kinds.count(kind):,} {words}" for kind, words in said.items() if kind in kinds]
            print(
                f"note: {decisions.file}: {plural(len(kinds), 'decision')}" + (": " * bool(parts) + ", ".join(parts)),
                file=sys.stderr,
            )


def check_trains(file: str, rows: np.ndarray, none: np.ndarray, names: list[str]) -> None:
    """Raise InputError for a class whose ``rows`` (C,) are all ``none`` (C,), images that show none of the classes."""
    empty = np.flatnonzero((rows > 0) & (rows == none)).tolist()
    if empty:
        n = int(rows[empty].sum())
        raise InputError(
            f"{file}: {plural(n, 'training image')} of class {named(names, empty)} {verb(n)} decided to show none of "
            "the classes, so no image is left; change decisions, or leave the class out (data.classes)"
        )


def decision_changes(data: Data, table: Table) -> str:
    """In words, what differs between the decisions that ``table`` was built with and those of ``data``; "" nothing."""
    decisions = read_data_decisions(data, quiet=True)
    return decisions_differ(table.metadata.get("decisions", ""), "" if decisions is None else decisions.identity())


def check_decided_files(data: Data, table: Table) -> None:
    """Raise InputError for a row of ``table`` whose file is no longer what was decided, as building it does."""
    decisions = read_data_decisions(data, quiet=True)
    if decisions is None or table.decided is None:
        return
    classes = read_classes(data)
    matcher = Matcher(decisions, image_root(data, classes), classes.listed, classes.aliases)
    matcher.check(pa.array(table.strings("path", np.flatnonzero(table.decided)), pa.string()))


def decisions_differ(then: str, now: str) -> str:
    """The same of two texts of ``Decisions.identity``, with the name of the file; "" for none."""
    if then.rpartition(" ")[2] == now.rpartition(" ")[2]:
        return ""
    count, other = (text.split(" ")[0] or "none" for text in (then, now))
    file = (now or then).split(" ", 1)[1].rpartition(" ")[0]
    return f"the decisions in {file} changed: {count} then, {other} now"
