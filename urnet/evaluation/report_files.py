"""The flags of the commands that report on classes, and the CSV files that these flags ask for."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from urnet.core.checks import InputError
from urnet.evaluation.accuracy import ClassAccuracy, write_class_table
from urnet.evaluation.class_report import Confusion, class_figures, write_confusion
from urnet.evaluation.prediction_writer import open_text


def add_flags(add: Callable[..., Any]) -> None:
    """The flags, by an ``add_argument``."""
    add("--per_class", metavar="FILE", help="write the images, top1 and top5 of every class to this CSV file")
    add("--class_report", action="store_true", help="print precision, recall and F1; --per_class then has them as well")
    add(
        "--confusion",
        metavar="FILE",
        help="write how many images of each class are predicted as each class to this CSV file",
    )
    add("--excel", action="store_true", help="start CSV files with a byte order mark, which Excel needs to read UTF-8")


def wants_confusion(args: argparse.Namespace) -> bool:
    """Whether a flag asks for more than accuracies."""
    return args.class_report or args.confusion is not None


@dataclass(frozen=True)
class ReportFiles:
    """The open files of ``--per_class`` and ``--confusion``; None where a flag is not given."""

    table: TextIO | None
    cells: TextIO | None
    figures: bool

    def write(
        self,
        accuracy: ClassAccuracy,
        confusion: Confusion | None,
        names: Sequence[str],
        further: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Write what was asked for; ``further`` columns (C,) for the table."""
        columns = dict(further or {})
        if self.figures and confusion is not None:
            found = class_figures(confusion)
            columns |= {name: getattr(found, name) for name in ("predicted", "precision", "recall", "f1")}
        if self.table is not None:
            write_class_table(self.table, accuracy, names, columns)
        if self.cells is not None and confusion is not None:
            write_confusion(self.cells, confusion, names)


@contextlib.contextmanager
def open_report(args: argparse.Namespace, *, write: bool = True) -> Iterator[ReportFiles]:
    """The files of the flags, which appear whole when the block ends well; none of them unless ``write``."""
    if args.excel and args.per_class is None and args.confusion is None:
        raise InputError("--excel only affects CSV files; it needs --per_class FILE or --confusion FILE")
    if args.confusion is not None and args.confusion == args.per_class:
        raise InputError(f"--per_class and --confusion: both name {args.confusion}; two files are needed")
    with contextlib.ExitStack() as stack:
        table, cells = (
            stack.enter_context(open_text(Path(file), flag, excel=args.excel)) if write and file is not None else None
            for file, flag in ((args.per_class, "--per_class"), (args.confusion, "--confusion"))
        )
        yield ReportFiles(table, cells, args.class_report)
