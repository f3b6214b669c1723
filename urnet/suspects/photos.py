"""Which pictures are checked: a folder tree, a list or WebVision's layout, as recipes read them; and which validate."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from urnet.config.recipe import Data
from urnet.core.checks import InputError, check_choice
from urnet.core.counted import verb
from urnet.data.lists.build_table import image_root
from urnet.data.lists.class_names import same_name
from urnet.data.lists.class_tree import note_level, sub_folders
from urnet.data.lists.classes import named, read_classes, settle
from urnet.data.lists.folders import images_under
from urnet.data.lists.image_files import loose_images
from urnet.data.lists.repeated_paths import LabelsOfPaths
from urnet.data.lists.training_rows import decided_rows, joined
from urnet.report.photos import Photos

FORMATS = ("folder", "list", "webvision2", "webvision1", "imagenet")


@dataclass(frozen=True)
class Where:
    """Where labelled pictures are. ``root``: the folder; ``list``: their list, None: what ``format`` says.

    ``format``: one of FORMATS; None: list where a list is given, WebVision's where ``root`` has its info/, else folder.
    """

    root: str
    list: str | None = None
    format: str | None = None
    class_names: str | None = None


def read_photos(where: Where | str | Path) -> Photos:
    """The labelled pictures below a folder, or of a ``Where``.

    A folder of pictures without a sub-folder is one class, of the folder's name. Notes on stderr: as for a recipe, and
    what the layout was taken for. Raises InputError where there are none, and for all that a recipe's data is
    refused for.
    """
    where = where if isinstance(where, Where) else Where(str(where))
    root = Path(where.root)
    if not root.is_dir():
        raise InputError(f"{root}: {_not_a_folder(root)}")
    form = where.format or _format_of(root, where)
    check_choice("--format", form, FORMATS)
    if form == "folder" and not sub_folders(root) and loose_images(root):
        print(f"note: {root}: has no sub-folder; its pictures are taken as one class, {_name(root)!r}", file=sys.stderr)
        images = images_under(root)
        return Photos(images.paths.arrow, np.zeros(len(images), np.int32), [_name(root)], root)
    if form == "folder" and not sub_folders(root) and where.class_names is None:
        raise InputError(f"{root}: has no picture{_instead(form)}")
    data = Data(root=str(root), n_classes=None, format=form, train_list=where.list, class_names=where.class_names)  # type: ignore[arg-type]
    try:
        return _read(data)
    except InputError as error:
        raise InputError(_in_our_words(str(error))) from None


def _read(data: Data) -> Photos:
    data = settle(data, least=1)
    classes = read_classes(data)
    paths, labels, *_ = joined(list(decided_rows(data, classes)))
    if not len(labels):
        raise InputError(f"{data.train_list or data.root}: has no picture{_instead(data.format)}")
    if data.format == "folder" and data.class_names is None:
        note_level(data.root, classes.folders)
    if data.format in ("list", "imagenet"):
        listed = LabelsOfPaths()
        listed.add(paths, labels)
        listed.note(str(data.train_list), lambda row: paths[row].as_py())
    empty = np.flatnonzero(np.bincount(labels, minlength=len(classes.names)) == 0).tolist()
    if empty:
        shown = named(classes.names, empty)
        print(
            f"note: {len(empty)} of {len(classes.names)} classes {verb(len(empty), 'has', 'have')} no picture: {shown}",
            file=sys.stderr,
        )
    return Photos(paths, labels, classes.names, image_root(data, classes))


def read_validation(folder: str | Path, photos: Photos) -> Photos:
    """All pictures below a folder, whatever their classes: they are only looked for among ``photos``.

    Raises InputError for a folder without a picture, and one that holds the judged ones or lies among them. A note on
    stderr tells of sub-folders that are none of the classes.
    """
    root, judged = Path(folder), Path(photos.root).resolve()
    if not root.is_dir():
        raise InputError(f"--val {root}: {_not_a_folder(root)}")
    own = root.resolve()
    if own == judged or own in judged.parents or judged in own.parents:
        raise InputError(
            f"--val {root}: is {photos.root}, or one of them is inside the other; give two separate folders"
        )
    images = images_under(root)
    known = {same_name(name) for name in photos.class_names}
    other = [name for name in sub_folders(root) if same_name(name) not in known]
    if other and any(photos.class_names):
        print(
            f"note: --val {root}: sub-folder {other[0]!r} is not one of the classes ({len(other)} such); its "
            "pictures are still searched for leaks",
            file=sys.stderr,
        )
    return Photos(images.paths.arrow, np.zeros(len(images), np.int32), [""], root)


def _format_of(root: Path, where: Where) -> str:
    if where.list is not None:
        return "list"
    info = root / "info"
    if any((info / f"train_filelist_{engine}.txt").is_file() for engine in ("google", "flickr")):
        form = (
            "webvision1" if any(info.glob("queries_*.txt")) and not (info / "queries.txt").is_file() else "webvision2"
        )
        print(f"note: {root}: has WebVision's info/ and is read in that layout (--format {form})", file=sys.stderr)
        return form
    return "folder"


def _name(root: Path) -> str:
    return root.resolve().name or str(root)


def _not_a_folder(root: Path) -> str:
    if not root.exists():
        return f"does not exist (seen from {Path.cwd()})" if not root.is_absolute() else "does not exist"
    what = "is a file; a folder with a sub-folder per class is accepted"
    return f"{what} (a list of pictures: --list {root} --root FOLDER)"


def _instead(form: str) -> str:
    return "; pictures, or sub-folders of them, one per class, are accepted" if form == "folder" else ""


def _in_our_words(text: str) -> str:
    """A message about keys of a recipe, about the flags of the command that this is."""
    text = re.sub(r" \(-o [^)]*\)", "", text)
    for key, flag in (
        ("root", "DIR"),
        ("train_list", "--list"),
        ("class_names", "--class_names"),
        ("format", "--format"),
    ):
        text = text.replace(f"data.{key}", flag)
    return text
