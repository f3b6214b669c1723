"""A toy in PASCAL VOC's layout: pictures with a coloured patch for each class that is in them."""

from pathlib import Path

import cv2
import numpy as np

COLOURS = {"bird": (230, 40, 30), "cat": (30, 210, 60), "dog": (40, 60, 230)}  # RGB
CLASSES = sorted(COLOURS)


def objects_of(n: int, seed: int) -> list[list[tuple[str, bool]]]:
    """(class, difficult) of the objects of n images: none, one or several, some difficult, some twice."""
    rng = np.random.default_rng(seed)
    counts = rng.choice(3, (n, len(CLASSES)), p=[0.6, 0.3, 0.1]).tolist()
    return [
        [(name, bool(rng.random() < 0.2)) for name, k in zip(CLASSES, row, strict=True) for _ in range(k)]
        for row in counts
    ]


def labels_of(objects) -> np.ndarray:
    """(n, C): what the objects say, worked out plainly."""
    table = []
    for each in objects:
        marks = {name: [difficult for found, difficult in each if found == name] for name in CLASSES}
        table.append([-1 if not marks[name] else 0 if all(marks[name]) else 1 for name in CLASSES])
    return np.array(table)


def annotation(objects) -> str:
    """VOC's XML; every object has a part, whose name is no class of the image."""
    text = "".join(
        f"  <object>\n    <name>{name}</name>\n    <difficult>{int(difficult)}</difficult>\n"
        "    <part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>\n  </object>\n"
        for name, difficult in objects
    )
    return f"<annotation>\n  <filename>x.jpg</filename>\n{text}</annotation>\n"


def write_voc(root: Path, sizes=(("trainval", 60), ("test", 40)), *, lists: bool = True):
    """The folder; returns split -> (ids, objects). Ids are numbers with zeros before, as VOC 2007's."""
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / name).mkdir(parents=True)
    made, first = {}, 1
    for seed, (split, n) in enumerate(sizes):
        ids, objects = [f"{first + i:06d}" for i in range(n)], objects_of(n, seed)
        first += n
        rng = np.random.default_rng(seed)
        for name, each in zip(ids, objects, strict=True):
            (root / "Annotations" / f"{name}.xml").write_text(annotation(each))
            write_picture(root / "JPEGImages" / f"{name}.jpg", each, rng)
        main = root / "ImageSets" / "Main"
        (main / f"{split}.txt").write_text("".join(f"{name}\n" for name in ids))
        for c, label in enumerate(CLASSES if lists else ()):
            lines = (f"{name} {value:2d}\n" for name, value in zip(ids, labels_of(objects)[:, c], strict=True))
            (main / f"{label}_{split}.txt").write_text("".join(lines))
        made[split] = ids, objects
    return made


def write_picture(file: Path, objects, rng: np.random.Generator) -> None:
    image = rng.integers(60, 180, (40, 48, 3)).astype(np.uint8)
    for name, difficult in objects:
        size = 2 if difficult else 14
        y, x = rng.integers(0, 40 - size), rng.integers(0, 48 - size)
        image[y : y + size, x : x + size] = COLOURS[name][::-1]
    assert cv2.imwrite(str(file), image)
