"""Which files in a folder are images: by the name where that says it, else by the file's first bytes."""

from __future__ import annotations

import os
from pathlib import Path

from urnet.core.checks import InputError
from urnet.data.images.header import kind_of
from urnet.data.images.other_kinds import other_kind

# fmt: off
IMAGE_SUFFIXES = (
    ".apng", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe",
    ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pam", ".pbm", ".pgm", ".pjp", ".pjpeg", ".png", ".pnm", ".ppm",
    ".tif", ".tiff", ".webp",
)
# Not opened: what is written next to pictures, unfinished downloads, copies that programs keep.
_OTHER_SUFFIXES = (
    ".7z", ".bak", ".bin", ".cfg", ".conf", ".crdownload", ".css", ".csv", ".db", ".doc", ".docx", ".gz",
    ".htm", ".html", ".ini", ".ipynb", ".js", ".json", ".jsonl", ".lock", ".log", ".md", ".mp3", ".npy", ".npz",
    ".parquet", ".part", ".pdf", ".pdparams", ".pickle", ".pkl", ".pt", ".pth", ".py", ".rar", ".rst", ".sh",
    ".sqlite", ".tar", ".tgz", ".tmp", ".toml", ".tsv", ".txt", ".url", ".xls", ".xlsx", ".xml", ".yaml",
    ".yml", ".zip", "~", "_original",
)
# TIFF files by their first bytes.
_RAW_SUFFIXES = (
    ".3fr", ".arw", ".cr2", ".dng", ".erf", ".iiq", ".nef", ".nrw", ".pef", ".sr2", ".srf", ".srw",
)
_LITTER = frozenset((
    "__macosx", "__pycache__", "@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot",
    "$recycle.bin", "lost+found", "system volume information", "thumbs.db", "ehthumbs.db",
    "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "icon\r",
))
# fmt: on
_FIRST_BYTES = 512


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or one that a system or program leaves among the user's."""
    return name.startswith(".") or name.lower() in _LITTER


def check_no_picture(flag: str, place: str | Path) -> None:
    """Raise InputError where a file to write is called as a picture is: it may be one, and would be lost."""
    if str(place).lower().endswith(IMAGE_SUFFIXES):
        suffix = Path(place).suffix
        raise InputError(
            f"{flag} {place}: {suffix} is the name of a picture, which would be replaced; name another file"
        )


def what_is(file: str) -> bool | str:
    """True for an image; the name of a picture that cannot be read ("an HEIC picture"); False for any other file."""
    name = file.lower()
    if name.endswith(IMAGE_SUFFIXES):
        return True
    if name.endswith(_OTHER_SUFFIXES):
        return False
    try:
        with open(file, "rb", buffering=0, opener=_without_waiting) as stream:
            data = stream.read(_FIRST_BYTES) or b""
    except OSError:
        return False
    kind = kind_of(data)
    if kind == "TIFF" and name.endswith(_RAW_SUFFIXES):
        return "a camera's raw picture"
    if kind is not None:
        return True
    other = other_kind(data)
    return other.name if other is not None and other.picture else False


def loose_images(root: str | Path) -> list[str]:
    """The sorted names of the images that lie in a folder itself, not in one of its own folders."""
    with os.scandir(root) as entries:
        files = [entry.name for entry in entries if not is_litter(entry.name) and entry.is_file()]
    return sorted(name for name in files if what_is(f"{root}/{name}") is True)


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to would be waited for for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
