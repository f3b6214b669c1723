"""PASCAL VOC's layout, its images and what they show: Annotations, ImageSets/Main and JPEGImages.

A label is 1 (the class is in the image), 0 (only objects marked difficult are: such an image counts neither
for nor against the class) or -1.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from urnet.core.checks import InputError
from urnet.data.lists.image_list import ImageList
from urnet.data.lists.lines import read_lines

MOST_BYTES = 1 << 20  # of an annotation; VOC's largest has 20 KiB
Objects = list[tuple[str, bool]]  # (class, difficult) of each object of an image


@dataclass(frozen=True)
class VocSplit:
    """n images and ``labels`` int8 (n, C), each -1, 0 or 1."""

    name: str
    images: ImageList
    labels: np.ndarray


def read_voc(root: str | Path, splits: Sequence[str]) -> tuple[list[str], list[VocSplit]]:
    """The C class names, sorted, and the splits (``trainval``, ``test`` …) of a folder such as VOC2007.

    A split's images are the lines of ImageSets/Main/SPLIT.txt, its labels those of CLASS_SPLIT.txt next to it;
    where there are none, Annotations/IMAGE.xml say what an image shows. Where both are there and disagree,
    the lists count and stderr says in how many labels. Raises InputError for anything missing or broken.
    """
    main = Path(root) / "ImageSets" / "Main"
    if not main.is_dir():
        raise InputError(f"{main}: is not a folder; a folder in VOC's layout is needed, such as VOCdevkit/VOC2007")
    ids = {split: _read_ids(main, split) for split in splits}
    lists = {split: _class_lists(main, split) for split in splits}
    found: dict[str, list[Objects]] = {}
    for split in splits:
        if not lists[split] or (Path(root) / "Annotations").is_dir():
            found[split] = [read_objects(Path(root) / "Annotations" / f"{name}.xml") for name in ids[split]]
    classes = _classes(main, lists, found)
    return classes, [
        VocSplit(
            split,
            _images(root, main, split, ids[split]),
            _labels(main, split, ids[split], classes, lists[split], found.get(split)),
        )
        for split in splits
    ]


def read_objects(file: Path) -> Objects:
    """(class, difficult) of each object of an annotation. A document type, and so any entity, is refused."""
    try:
        tree = ElementTree.XML(_read_bytes(file, MOST_BYTES), ElementTree.XMLParser(target=_Builder()))
    except _DocumentType:
        raise InputError(f"{file}: has a document type, which may hold entities; plain XML is accepted") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last: an encoding nobody knows
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: is not readable XML ({error})") from None
    if tree.tag != "annotation":
        raise InputError(f"{file}: is a {tree.tag[:40]!r}; VOC's `annotation` is accepted")
    found: Objects = []
    for node in tree.findall("object"):
        label, difficult = (node.findtext(key, "").strip() for key in ("name", "difficult"))
        if not label or difficult not in ("", "0", "1"):
            raise InputError(
                f"{file}: object {len(found) + 1}: found name {label[:40]!r}, difficult {difficult[:40]!r}; "
                "a name, and 0 or 1 are accepted"
            )
        found.append((label, difficult == "1"))
    return found


class _DocumentType(Exception):
    """An XML file has one."""


class _Builder(ElementTree.TreeBuilder):
    def doctype(self, *_: object) -> None:
        """Called before any declaration in it is read."""
        raise _DocumentType


def _read_bytes(file: Path, most: int) -> bytes:
    try:
        if not file.is_file():  # a pipe would be waited for
            raise InputError(f"{file}: is not a file")
        if file.stat().st_size > most:
            raise InputError(f"{file}: has {file.stat().st_size:,} bytes; up to {most:,} are accepted")
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None


def _read_ids(main: Path, split: str) -> list[str]:
    """The images of a split, as its list names them: file names without folder and suffix."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", split):
        raise InputError(f"split: found {split!r}; a name such as trainval or test is accepted")
    file = main / f"{split}.txt"
    try:
        lines = _read_bytes(file, 64 << 20).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: is not UTF-8 text ({error.reason})") from None
    ids: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if not name:
            continue
        if not re.fullmatch(r"[\w.-]+", name) or not name.strip("."):
            raise InputError(f"{file}:{number}: found {name[:60]!r}; an image's name without suffix is accepted")
        if ids.setdefault(name, number) != number:
            raise InputError(f"{file}:{number}: {name} is listed already in line {ids[name]}")
    if not ids:
        raise InputError(f"{file}: lists no image")
    return list(ids)


def _class_lists(main: Path, split: str) -> dict[str, Path]:
    """Class -> its list for this split."""
    ending = f"_{split}.txt"
    return {file.name[: -len(ending)]: file for file in sorted(main.glob(f"?*{ending}"))}


def _classes(main: Path, lists: dict[str, dict[str, Path]], found: dict[str, list[Objects]]) -> list[str]:
    """The classes that have lists, the same ones in all splits; without lists, those of the objects."""
    listed = {split: set(files) for split, files in lists.items() if files}
    if not listed:
        names = sorted({name for split in found.values() for objects in split for name, _ in objects})
        if not names:
            raise InputError(f"{main}: neither class lists nor annotations name a class")
        return names
    first, classes = next(iter(listed.items()))
    for split, others in listed.items():
        if others != classes:
            name = sorted(others ^ classes)[0]
            raise InputError(f"{main}: class {name} has a list of {split} or of {first}, but not of both")
    return sorted(classes)


def _images(root: str | Path, main: Path, split: str, ids: list[str]) -> ImageList:
    paths = pa.array([f"{name}.jpg" for name in ids], pa.string())
    return ImageList(
        paths, np.full(len(ids), -1, np.int32), Path(root) / "JPEGImages", source=str(main / f"{split}.txt")
    )


def _labels(
    main: Path, split: str, ids: list[str], classes: list[str], lists: dict[str, Path], found: list[Objects] | None
) -> np.ndarray:
    """int8 (n, C): from the class lists, else from the objects."""
    if not lists:
        assert found is not None
        return _from_objects(f"{main / split}.txt", ids, classes, found, strict=True)
    order = pa.array(ids, pa.string())
    labels = np.stack([_read_class_list(lists[name], order) for name in classes], axis=1)
    if found is not None:
        differ = labels != _from_objects("", ids, classes, found, strict=False)
        if differ.any():
            row, c = np.argwhere(differ)[0]
            print(
                f"note: {main}: {int(differ.sum())} of {differ.size} labels of {split} are not what Annotations "
                f"say ({classes[c]} of {ids[row]} is {labels[row, c]} …); the lists count",
                file=sys.stderr,
            )
    return labels


def _read_class_list(file: Path, ids: pa.Array) -> np.ndarray:
    """int8 (n,) in the order of ``ids``: every image once, no other."""
    if not file.is_file():
        raise InputError(f"{file}: is not a file")
    blocks = list(read_lines(file, low=-1, high=1))
    names = pa.chunked_array([block.path for block in blocks], pa.string()).combine_chunks()
    place = pc.index_in(ids, value_set=names)
    missing = place.null_count
    if missing or len(names) != len(ids):
        shown = f", such as {ids.filter(place.is_null())[0]}" if missing else ""
        raise InputError(
            f"{file}: has {len(names)} lines but the split {len(ids)} images, {missing} of them not here"
            f"{shown}; a line for each image is needed"
        )
    return np.concatenate([block.number for block in blocks]).astype(np.int8)[place.to_numpy()]


def _from_objects(where: str, ids: list[str], classes: list[str], found: list[Objects], *, strict: bool) -> np.ndarray:
    """int8 (n, C): 1 where an object of the class is not difficult, 0 where all are, -1 where there is none.

    ``strict``: an object of no known class is an InputError; else it is passed over.
    """
    number = {name: c for c, name in enumerate(classes)}
    labels = np.full((len(ids), len(classes)), -1, np.int8)
    for row, objects in enumerate(found):
        for name, difficult in objects:
            if name in number:
                labels[row, number[name]] = max(labels[row, number[name]], 0 if difficult else 1)
            elif strict:
                raise InputError(f"{where}: image {ids[row]} has an object {name!r}, which has no class list")
    return labels
