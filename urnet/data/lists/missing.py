"""Listed images that are not there, and where they are instead."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from urnet.core.checks import InputError
from urnet.core.unicode_forms import other_forms

_LOOKS = 64  # images of a list that are looked at
_SUFFIXES = (".jpg", ".JPG", ".jpeg", ".JPEG", ".png", ".webp")
_MOST_FOLDERS = 100


def check_some_there(source: str, root: str | Path, names: Sequence[str]) -> None:
    """Raise InputError where none of some images, spread over a list, is below ``root``: it is of another folder."""
    rows = np.unique(np.linspace(0, len(names) - 1, _LOOKS).astype(int)) if len(names) else ()
    base = Path(root).absolute()
    if len(rows) and not any((base / names[i]).exists() for i in rows):
        raise InputError(
            f"{source}: {base / names[0]} does not exist, nor does any of {len(rows)} listed images that were looked "
            f"at{instead(base, names[0])}"
        )


def instead(root: str | Path, name: str) -> str:
    """Words about where the image ``name``, which is not below ``root``, may be; "" where nothing is like it."""
    return next(_found(Path(root), name), "")


def _found(root: Path, name: str) -> Iterator[str]:
    place = root / name
    for suffix in _SUFFIXES:
        if (root / (name + suffix)).is_file():
            yield f"; {name}{suffix} is: paths need their suffix"
    if place.parent.is_dir():
        for entry in os.listdir(place.parent):  # noqa: PTH208
            if entry.casefold() == place.name.casefold():
                yield f"; {place.with_name(entry)} is: large and small letters differ"
    for form, other in other_forms(name).items():
        if (root / other).is_file():
            yield f"; {other!a} is, in Unicode's form {form}, while the list has {name!a}: write it as the file"
    folders = [root.parent]
    if root.is_dir():
        folders += [Path(entry) for entry in os.scandir(root) if entry.is_dir()][:_MOST_FOLDERS]
    for folder in folders:
        if (folder / name).is_file():
            yield f"; below {folder} it is: give that folder"
    parts = Path(name).parts
    for n in range(1, len(parts)):
        if root.joinpath(*parts[n:]).is_file():
            yield f"; without {'/'.join(parts[:n])}/ it is: paths are relative to {root}"
