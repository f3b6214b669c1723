"""Tiny data sets in the layouts that recipes name: WebVision 2.0 and 1.0 with all their files, folder trees.

Three classes whose brightness tells them apart, with a few wrong labels; WebVision's titles name a class too.
"""

import json
from pathlib import Path

import cv2
import numpy as np

from tests.data.test_build_table import webvision

N_CLASSES = 3
WORDS = ("one", "two", "three")  # of the classes, in synsets.txt
QUERIES = {number: (number - 1) % N_CLASSES for number in range(1, 10)}  # number -> label


def write_web(root: Path, version: int) -> int:
    """A WebVision folder of three queries a class, images and all; returns its number of training rows."""
    rows = webvision(root, version, QUERIES)
    rng = np.random.default_rng(0)
    for path, label, *_ in rows:
        write_image(root / path, int(rng.integers(N_CLASSES)) if rng.random() < 0.2 else label, rng)
    validation = root / ("val_images_resized" if version == 2 else "val_images_256")
    for line in (root / "info" / "val_filelist.txt").read_text().splitlines():
        name, label = line.split()
        write_image(validation / name, int(label), rng)
    for engine in ("google", "flickr"):
        for file in (root / engine).glob("q*.json"):
            _name_classes(file, QUERIES[int(file.stem[1:])], rng)
    return len(rows)


def write_folders(root: Path, n: int = 12) -> int:
    """root/train and root/val, a sub-folder a class; returns the number of training images."""
    rng = np.random.default_rng(1)
    for label, word in enumerate(WORDS):
        for i in range(n):
            shown = (label + 1) % N_CLASSES if i % 5 == 4 else label
            write_image(root / "train" / word / f"{i}.jpg", shown, rng)
        write_image(root / "val" / word / "0.jpg", label, rng)
    return n * N_CLASSES


def write_listed(root: Path, folders: Path) -> int:
    """ImageNet's lists over the images of ``write_folders``; returns the number of training images."""
    for part in ("train", "val"):
        paths = sorted((folders / part).glob("*/*.jpg"))
        lines = []
        for path in paths:
            label = WORDS.index(path.parent.name)
            lines.append(f"{part}/{path.parent.name}/{path.name} {label}\n")
            place = root / lines[-1].split()[0]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
        (root / f"{part}_list.txt").write_text("".join(lines))
    return len((root / "train_list.txt").read_text().splitlines())


def write_image(path: Path, label: int, rng: np.random.Generator) -> None:
    """40 x 36 noisy pixels, the brighter the higher the label."""
    image = rng.normal(60 + 60 * label, 30, (36, 40, 3)).clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def _name_classes(file: Path, label: int, rng: np.random.Generator) -> None:
    """Let the titles of a query's metadata name its class, or now and then another one."""
    entries = json.loads(file.read_text(encoding="utf-8"))
    for entry in entries:
        named = label if rng.random() < 0.8 else int(rng.integers(N_CLASSES))
        entry["title"] = f"{WORDS[named]}, {entry['title']}"
    file.write_text(json.dumps(entries), encoding="utf-8")
