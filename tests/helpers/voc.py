"""Data sets in PASCAL VOC's layout."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

CLASSES = ["bird", "cat", "dog"]
Objects = Sequence[tuple[str, bool]]  # (class, difficult) of each object of an image


def objects_of(n: int, seed: int) -> list[Objects]:
    """The objects of n images: none, one or several, some difficult, some twice."""
    rng = np.random.default_rng(seed)
    counts = rng.choice(3, (n, len(CLASSES)), p=[0.6, 0.3, 0.1]).tolist()
    return [
        [(name, bool(rng.random() < 0.2)) for name, k in zip(CLASSES, row, strict=True) for _ in range(k)]
        for row in counts
    ]


def labels_of(objects: Sequence[Objects], classes: Sequence[str] = CLASSES) -> np.ndarray:
    """(n, C): what the objects say, worked out plainly."""
    table = []
    for each in objects:
        marks = {name: [difficult for found, difficult in each if found == name] for name in classes}
        table.append([-1 if not marks[name] else 0 if all(marks[name]) else 1 for name in classes])
    return np.array(table)


def annotation(objects: Objects) -> str:
    """VOC's XML; every object has a part, whose name is not a class of the image."""
    text = "".join(
        f"  <object>\n    <name>{name}</name>\n    <difficult>{int(difficult)}</difficult>\n"
        "    <part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>\n  </object>\n"
        for name, difficult in objects
    )
    return f"<annotation>\n  <filename>x.jpg</filename>\n{text}</annotation>\n"


def write_layout(
    root: Path, splits: Mapping[str, Sequence[Objects]], classes: Sequence[str] = CLASSES, *, lists: bool = True
) -> dict[str, list[str]]:
    """All but the pictures; returns the ids of each split: numbers with zeros before, as VOC 2007's."""
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / name).mkdir(parents=True)
    main, made, first = root / "ImageSets" / "Main", {}, 1
    for split, objects in splits.items():
        made[split] = ids = [f"{first + i:06d}" for i in range(len(objects))]
        first += len(objects)
        for name, each in zip(ids, objects, strict=True):
            (root / "Annotations" / f"{name}.xml").write_text(annotation(each))
        (main / f"{split}.txt").write_text("".join(f"{name}\n" for name in ids))
        for label, values in zip(classes, labels_of(objects, classes).T, strict=True) if lists else ():
            lines = (f"{name} {value:2d}\n" for name, value in zip(ids, values, strict=True))
            (main / f"{label}_{split}.txt").write_text("".join(lines))
    return made
