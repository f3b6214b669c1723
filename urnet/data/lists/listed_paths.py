"""Paths as lists have them: with backslashes, absolute, or leaving the folder they must stay in."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from urnet.core.checks import InputError

_WRITTEN_BYTE = re.compile(r"\\x[0-9a-f]{2}")  # in a name that is not UTF-8 (urnet.data.lists.folders)


class ListedPaths:
    """Makes a list's paths relative to ``root``; None: relative to a folder that nobody knows.

    Backslashes are Windows's separators, unless the first path that holds one is a file's name as it is. Absolute
    paths are accepted inside ``root``, links to it followed, or ``anywhere`` where no file is looked at. A list cannot
    name files outside the folder it was given.
    """

    def __init__(self, file: str | Path, root: str | Path | None, anywhere: bool = False) -> None:
        self._anywhere = anywhere and root is None
        self._file, self._root = str(file), None if root is None else str(root)
        roots = () if root is None else (os.path.abspath(root), os.path.realpath(root))  # noqa: PTH100
        self._roots = tuple(dict.fromkeys(path.rstrip("/") + "/" for path in roots))
        self._backslashes: bool | None = None  # whether they are separators; None: none was seen yet

    def is_file(self, path: str) -> bool:
        """Whether a listed path is a file below the root, either way that backslashes may mean."""
        return any(
            inside is not None and os.path.isfile(f"{self._roots[0]}{inside}")  # noqa: PTH113
            for inside in map(self._inside, (path, path.replace("\\", "/")))
        )

    def _inside(self, path: str) -> str | None:
        """A path relative to the root, None where it leaves it."""
        if path.startswith("/"):
            path = next((path[len(root) :] for root in self._roots if path.startswith(root)), "..")
        return None if ".." in path.split("/") or path in ("", ".") or not self._roots else path

    def relative(self, paths: Any, line: np.ndarray, data: bytes) -> Any:
        """The paths (Arrow strings) of these lines; ``data`` holds all their bytes. Raises InputError as said."""
        drives = None
        if b"\\" in data:
            paths, drives = self._with_slashes(paths)
        absolute = pc.starts_with(paths, "/")
        if pc.any(absolute).as_py():
            for root in self._roots:
                paths = pc.replace_substring_regex(paths, f"^{re.escape(root)}/*", "")
            absolute = pc.starts_with(paths, "/")
        if self._anywhere:
            absolute, drives = pc.equal(paths, ""), None
        bad = absolute if drives is None else pc.or_(absolute, drives)
        if b".." in data and pc.any(pc.match_substring(paths, "..")).as_py():
            bad = pc.or_(bad, pc.match_substring_regex(paths, r"(^|/)\.\.(/|$)"))
        if self._roots:
            bad = pc.or_(bad, pc.equal(pc.binary_length(paths), 0))  # the root itself
        if pc.any(bad).as_py():
            row = pc.index(bad, True).as_py()
            folder = f"its folder {self._root}" if self._root else "its folder"
            inside = f", or an absolute one inside {self._root}," if self._root else ""
            raise InputError(
                f"{self._file}:{line[row]}: path {paths[row].as_py()!r} leaves {folder}; "
                f"accepted: a relative path{inside} without `{os.pardir}`"
            )
        return paths

    def _with_slashes(self, paths: Any) -> tuple[Any, Any]:
        """The paths with slashes for backslashes, if these are separators, and which begin with a drive."""
        held = pc.match_substring(paths, "\\")
        if self._backslashes is None and pc.any(held).as_py():
            first = paths[pc.index(held, True).as_py()].as_py()
            if self._root is None:
                self._backslashes = not _WRITTEN_BYTE.search(first)
            else:
                inside = self._inside(first)
                self._backslashes = inside is None or not os.path.isfile(f"{self._roots[0]}{inside}")  # noqa: PTH113
        if not self._backslashes:
            return paths, None
        return pc.replace_substring(paths, "\\", "/"), pc.match_substring_regex(paths, r"^[A-Za-z]:\\")
