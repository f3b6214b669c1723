"""What --img_path and --img_list name, where it is not what they accept: one line that says what to give instead."""

from __future__ import annotations

import difflib
import itertools
import os
from pathlib import Path

from urnet.core.checks import InputError
from urnet.data.images.header import kind_of

PATTERN = set("*?[")
NEIGHBOURS = 1000  # names of a folder that one which is not there is compared with


def check_image_paths(img_path: str, img_list: str | None, *, need_labels: bool) -> None:
    """Raise InputError for an ``img_path`` that is not there, and for a list, folder or picture in another's place."""
    path, at = Path(img_path), f"--img_path {img_path}"
    if not os.path.lexists(path):
        raise InputError(f"{at}: does not exist{_instead(img_path)}")
    if img_list is not None:
        _check_list(img_list)
        if path.is_file():
            raise InputError(
                f"{at}: is a file; with --img_list it must be the folder that the list's paths are relative to"
            )
        return
    if path.is_file() and kind_of(_begin(path)) is None and _is_text(path):
        raise InputError(f"{at}: is a text file; if it is a list: --img_list {img_path} --img_path FOLDER")
    if path.is_file() and need_labels:
        raise InputError(f"{at}: is one file; a folder with a sub-folder per class, or --img_list FILE, is needed")


def _instead(path: str) -> str:
    """What may be meant by a path that is not there."""
    if path.startswith(("http://", "https://", "s3://", "gs://")):
        return "; it is an address: download the picture first"
    if PATTERN & set(path):
        parts = Path(path).parts
        plain = next(i for i, part in enumerate(parts) if PATTERN & set(part))
        folder, root = Path(*parts[:plain]), "/" if path.startswith("/") else "."
        return (
            f"; a pattern in quotes is not expanded: give the folder ({folder}), or a list of the files: "
            f"ls {path} > list.txt, then --img_list list.txt --img_path {root}"
        )
    if path.startswith("~"):
        return "; the shell expands ~ only outside quotes"
    names: list[str] = []
    if Path(path).parent.is_dir():
        with os.scandir(Path(path).parent) as entries:
            names = [entry.name for entry in itertools.islice(entries, NEIGHBOURS)]
    alike = difflib.get_close_matches(Path(path).name, names)
    return f"; nearest there: {', '.join(alike)}" if alike else f" (seen from {Path.cwd()})" * (path[:1] != "/")


def _check_list(img_list: str) -> None:
    path = Path(img_list)
    if path.is_dir():
        raise InputError(
            f"--img_list {img_list}: is a folder; a text file of paths is accepted, folders go to --img_path"
        )
    if path.is_file() and kind_of(_begin(path)) is not None:
        raise InputError(
            f"--img_list {img_list}: is a picture; a text file of paths is accepted, pictures go to --img_path"
        )


def _begin(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(4096)
    except OSError:  # read again where it is used, and refused there
        return b""


def _is_text(path: Path) -> bool:
    begin = _begin(path)
    try:
        text = begin.decode("utf-8")
    except UnicodeDecodeError as error:
        text = begin.decode("utf-8", "ignore") if error.start > len(begin) - 4 else ""
    return bool(text.strip()) and all(letter.isprintable() or letter.isspace() for letter in text)
