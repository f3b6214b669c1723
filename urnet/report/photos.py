"""Labelled pictures as the report and the list meet them: a run's table (``Columns``) or a folder's ``Photos``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.core.checks import InputError, check_labels, check_same_rows


class Rows(Protocol):
    """``labels`` int32 (N,) are the given ones, ``class_names`` "" where a class has no name."""

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def class_names(self) -> list[str]: ...

    def path_texts(self, rows: np.ndarray) -> Any:
        """The paths of ascending ``rows`` as the list has them, an Arrow array of large strings: for millions."""

    def paths_of(self, rows: np.ndarray) -> list[str]:
        """The paths of a few ``rows``."""

    def files(self, rows: np.ndarray) -> list[str]:
        """Where the pictures of ``rows`` lie."""

    def file(self, path: str, *, of_validation: bool = False) -> str:
        """Where the picture of a ``same_as`` lies."""

    def row(self, path: str) -> int:
        """The row of a ``same_as``, -1 where it is not a row's path."""

    def titles(self, rows: np.ndarray) -> list[str]:
        """Texts that belong to the pictures of ``rows``, "" where there is none."""


@dataclass(frozen=True)
class Photos:
    """Labelled pictures that no table holds.

    ``paths`` (N,) texts, a sequence or an Arrow array, relative to ``root`` or absolute; ``labels`` (N,) integers
    into ``class_names``. ``val_root`` is what the paths of leaks' ``same_as`` are relative to. Raises InputError
    for arrays of different lengths and labels out of range.
    """

    paths: Any
    labels: np.ndarray
    class_names: list[str]
    root: str | os.PathLike[str] = ""
    val_root: str | os.PathLike[str] = ""

    def __post_init__(self) -> None:
        paths = self.paths.combine_chunks() if isinstance(self.paths, pa.ChunkedArray) else self.paths
        try:
            paths = pa.array(paths, pa.large_string()) if not isinstance(paths, pa.Array) else paths
        except UnicodeEncodeError:
            raise InputError("paths: one is not UTF-8; rename that file") from None
        labels = np.asarray(self.labels)
        check_same_rows(paths=paths, labels=labels)
        check_labels(labels, len(self.class_names))
        object.__setattr__(self, "paths", paths.cast(pa.large_string()))
        object.__setattr__(self, "class_names", list(self.class_names))
        object.__setattr__(self, "labels", labels.astype(np.int32))

    def path_texts(self, rows: np.ndarray) -> Any:
        return self.paths.take(pa.array(rows))

    def paths_of(self, rows: np.ndarray) -> list[str]:
        return self.path_texts(rows).to_pylist()

    def files(self, rows: np.ndarray) -> list[str]:
        return [str(Path(self.root) / path) for path in self.paths_of(rows)]

    def file(self, path: str, *, of_validation: bool = False) -> str:
        return str(Path(self.val_root if of_validation else self.root) / path)

    def row(self, path: str) -> int:
        return int(pc.index(self.paths, pa.scalar(path, pa.large_string())).as_py())

    def titles(self, rows: np.ndarray) -> list[str]:
        return [""] * len(rows)
