"""A small multi-label data set in PASCAL VOC's layout, from any labelled images, for tools/transfer.py.

    python tools/transfer_mosaics.py --img_list data/digits_web/info/val_filelist.txt \\
        --img_path data/digits_web/val_images_resized --out data/digits_mosaics

A picture is four images in a square, of one to four classes; half of the images of each class serve the split
trainval, the other half test. A tenth of the tiles are blurred away, and their objects marked difficult.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from urnet.core import cli
from urnet.core.atomic_files import atomic_folder
from urnet.core.checks import InputError

DIFFICULT = 0.1  # share of the tiles
SPLITS = ("trainval", "test")
Tile = tuple[int, int, bool]  # row of the list, class, difficult


def main(argv: Sequence[str]) -> None:
    """Draw, write, and print one line."""
    p = cli.Parser(prog="tools/transfer_mosaics.py", description="Multi-label pictures in VOC's layout.")
    p.add_argument("--img_list", required=True, metavar="FILE", help="lines `path label`")
    p.add_argument("--img_path", required=True, metavar="DIR", help="what the paths are relative to")
    p.add_argument("--out", required=True, metavar="DIR", help="a new folder")
    p.add_argument("--count", type=int, default=1000, metavar="N", help="pictures of each split [1000]")
    p.add_argument("--tile", type=int, default=32, metavar="PIXELS", help="side of an image in them [32]")
    p.add_argument("--seed", type=int, default=0, help="decides all [0]")
    p.add_argument("--debug", action="store_true", help="show a traceback on errors")
    args = p.parse_args(argv)
    for name, low, high in (("count", 1, 999_999 // 2), ("tile", 8, 2048), ("seed", 0, 1 << 62)):
        if not low <= getattr(args, name) <= high:
            raise InputError(f"--{name}: found {getattr(args, name)}; {low} to {high} is accepted")
    from urnet.data.lists.build_table import read_image_list

    images = read_image_list(args.img_list, args.img_path, need_labels=True, check_exists=True)
    check_paths(images)
    rng = np.random.default_rng(args.seed)
    drawn = {split: draw(pool, args.count, rng) for split, pool in halves(images.labels, rng).items()}
    with atomic_folder(Path(args.out)) as folder:
        write(folder, images, drawn, args.tile)
    print(f"{args.out}: {args.count} pictures each of {' and '.join(SPLITS)}, from {len(images)} images")


def check_paths(images: Any) -> None:
    """Raise InputError for an image that is listed twice: it could come into both splits."""
    first: dict[str, int] = {}
    for i, path in enumerate(images.paths):
        if first.setdefault(path, i) != i:
            raise InputError(f"{images.where(i)}: {path} is listed already, at {images.where(first[path])}")


def halves(labels: np.ndarray, rng: np.random.Generator) -> dict[str, dict[int, np.ndarray]]:
    """Split -> class -> rows: no row is in both. Raises InputError for a class of one image."""
    pools: dict[str, dict[int, np.ndarray]] = {split: {} for split in SPLITS}
    for label in np.unique(labels).tolist():
        rows = rng.permutation(np.flatnonzero(labels == label))
        if len(rows) < 2:
            raise InputError(f"class {label} has one image; two or more are needed, one for each split")
        for split, half in zip(SPLITS, np.array_split(rows, 2), strict=True):
            pools[split][label] = half
    return pools


def draw(pool: dict[int, np.ndarray], count: int, rng: np.random.Generator) -> list[list[Tile]]:
    """``count`` pictures of four tiles, of 1 to 4 classes (or all there are), each number as often."""
    pictures = []
    for _ in range(count):
        n = min(int(rng.integers(1, 5)), len(pool))
        classes = rng.choice(list(pool), n, replace=False)
        four = rng.permutation([*classes, *rng.choice(classes, 4 - n)]).tolist()
        pictures.append([(int(rng.choice(pool[label])), label, bool(rng.random() < DIFFICULT)) for label in four])
    return pictures


def write(folder: Path, images: Any, drawn: dict[str, list[list[Tile]]], size: int) -> None:
    """Annotations, ImageSets/Main and JPEGImages."""
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    labels = sorted({label for pictures in drawn.values() for tiles in pictures for _, label, _ in tiles})
    number = 0
    for split, pictures in drawn.items():
        lines: dict[str, list[str]] = {name: [] for name in ("", *(f"c{label:04d}_" for label in labels))}
        for tiles in pictures:
            number += 1
            _write_picture(folder / "JPEGImages" / f"{number:06d}.jpg", images, tiles, size)
            (folder / "Annotations" / f"{number:06d}.xml").write_text(_annotation(tiles, size))
            lines[""].append(f"{number:06d}\n")
            for label in labels:
                marks = [not difficult for _, shown, difficult in tiles if shown == label]
                value = -1 if not marks else int(any(marks))
                lines[f"c{label:04d}_"].append(f"{number:06d} {value:2d}\n")
        for name, text in lines.items():
            (folder / "ImageSets" / "Main" / f"{name}{split}.txt").write_text("".join(text))


def _write_picture(file: Path, images: Any, tiles: list[Tile], size: int) -> None:
    import cv2

    from urnet.data.images.decode import UnreadableImage, read_image
    from urnet.data.images.transforms import resize

    four = []
    for row, _, difficult in tiles:
        try:
            image = resize(read_image(images.path(row)), size, size)
        except UnreadableImage as error:
            raise InputError(f"{images.where(row)}: {error}") from None
        if difficult:  # two by two patches of one colour are left of it
            image = cv2.resize(
                cv2.resize(image, (2, 2), interpolation=cv2.INTER_AREA), (size, size), interpolation=cv2.INTER_NEAREST
            )
        four.append(image)
    picture = np.vstack([np.hstack(four[:2]), np.hstack(four[2:])])
    good, data = cv2.imencode(".jpg", np.ascontiguousarray(picture[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not good:
        raise OSError(f"{file}: the picture cannot be encoded")
    file.write_bytes(data.tobytes())


def _annotation(tiles: list[Tile], size: int) -> str:
    objects = "".join(
        f"<object><name>c{label:04d}</name><difficult>{int(difficult)}</difficult><bndbox>"
        f"<xmin>{x * size + 1}</xmin><ymin>{y * size + 1}</ymin>"
        f"<xmax>{(x + 1) * size}</xmax><ymax>{(y + 1) * size}</ymax></bndbox></object>\n"
        for (y, x), (_, label, difficult) in zip(np.ndindex(2, 2), tiles, strict=True)
    )
    return f"<annotation>\n{objects}</annotation>\n"


if __name__ == "__main__":
    sys.exit(cli.run(main))
