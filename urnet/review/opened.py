"""A list with its pictures: where they are, and which classes there are to choose from."""

from __future__ import annotations

import sys
from pathlib import Path

from urnet.core.checks import InputError
from urnet.data.lists.class_tree import sub_folders
from urnet.report.photos import Photos
from urnet.report.suspects import Evidence
from urnet.review.choices import LEAK
from urnet.review.find_root import find_root
from urnet.review.suspect_list import read_list


def opened(
    file: str | Path, *, root: str | None = None, val: str | None = None, class_names: str | None = None
) -> tuple[Photos, Evidence]:
    """The pictures of a list and what is known of them.

    ``root``, ``val``: the folders of pictures and of validation pictures; None: found next to or below the list, or the
    current folder, with a note. ``class_names``: a file with a class per line, besides those of the list; None: the
    sub-folders of ``root``, where the list's classes are among them. Raises InputError.
    """
    found = read_list(file)
    starts = list(dict.fromkeys((Path(file).absolute().parent, Path.cwd())))
    if root is None:
        place = find_root(found.paths.to_pylist(), starts, "--root")
        print(f"note: the pictures are read from {place} (to change this, give --root)", file=sys.stderr)
    else:
        place = _folder("--root", root)
    leaks = _leaks(found.evidence)
    val_root: str | Path = "" if val is None else _folder("--val", val)
    if leaks and val is None:
        try:
            val_root = find_root(leaks, starts, "--val", besides=place.resolve())
            print(
                f"note: the validation pictures are read from {val_root} (to change this, give --val)", file=sys.stderr
            )
        except InputError as error:
            print(f"note: validation pictures are not shown: {error}", file=sys.stderr)
    named = found.with_classes(
        _lines(class_names) if class_names is not None else _of_folders(place, found.class_names)
    )
    return Photos(found.paths, found.given, named.class_names, place, val_root), found.evidence


def _leaks(evidence: Evidence) -> list[str]:
    rows = (evidence.verdict == LEAK).nonzero()[0].tolist()
    return [] if evidence.same_as is None else [evidence.same_as[row] for row in rows if evidence.same_as[row]]


def _folder(flag: str, name: str) -> Path:
    if not Path(name).is_dir():
        what = "is not a folder" if Path(name).exists() else "does not exist"
        raise InputError(f"{flag} {name}: {what}; the folder that the list's paths are relative to is needed")
    return Path(name)


def _lines(file: str) -> list[str]:
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise InputError(f"--class_names {file}: cannot be read ({why}); a class per line is accepted") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _of_folders(root: Path, names: list[str]) -> list[str]:
    """The sub-folders, where every class is one of them: then they are the classes."""
    try:
        folders = sub_folders(root)
    except InputError:
        return []
    return folders if set(names) <= set(folders) else []
