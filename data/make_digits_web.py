#!/usr/bin/env python3
"""Build the small data set digits_web: real scans of digits in WebVision 2.0's layout.

    python data/make_digits_web.py --out data/digits_web [--seed 0]

The scans are scikit-learn's digits, the off-topic images crops of its two photographs. The faults of web data
are put in on purpose and at known rates (the flags below): class sizes fall tenfold, labels are wrong towards
look-alikes, some images show no digit, titles carry evidence, and Google's ranking is better than chance.
``truth_train.txt`` next to the lists says what every training image really is. See docs/data.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from digits_web_rows import OFF_TOPIC, PHOTOGRAPHS, QUERIES, WORDS, Faults, draw_rows
from webvision_layout import Rows, is_complete, write_jpeg, write_lists, write_settings

from urnet.core import cli
from urnet.core.atomic_files import atomic_folder
from urnet.core.checks import InputError

SIZE = 32  # pixels of an image's side
SYNSETS = [f"n{digit:08d} {word}, digit {word}" for digit, word in enumerate(WORDS)]
FAULT_HELP = (
    "images of the largest class",
    "largest class / smallest class",
    "share of images that show a look-alike digit",
    "share of images that show no digit",
    "share of titles that name nothing",
    "share of titles that name another digit",
)


def split_scans(val_per_class: int, rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """scikit-learn's scans a digit, (n, 8, 8) uint8 0..255: those for training and those for validation."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    scans = np.round(digits.images * (255 / 16)).astype(np.uint8)
    train, val = [], []
    for digit in range(10):
        own = scans[rng.permutation(np.flatnonzero(digits.target == digit))]
        val.append(own[:val_per_class])
        train.append(own[val_per_class:])
    return train, val


def render(scan: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One 8x8 scan as a SIZE x SIZE grey image: turned, scaled and moved a little, with its own contrast."""
    import cv2

    angle, scale = rng.uniform(-12, 12), rng.uniform(0.85, 1.15) * 26 / 8
    matrix = cv2.getRotationMatrix2D((3.5, 3.5), angle, scale)
    matrix[:, 2] += SIZE / 2 - 4 + rng.uniform(-2, 2, 2)
    ink = cv2.warpAffine(scan.astype(np.float32), matrix, (SIZE, SIZE), flags=cv2.INTER_CUBIC)
    paper, contrast = rng.uniform(180, 250), rng.uniform(0.5, 0.9)
    grey = paper - contrast * np.clip(ink, 0, 255) * paper / 255 + rng.normal(0, 4, ink.shape)
    return np.clip(np.round(grey), 0, 255).astype(np.uint8)


def load_photographs() -> list[np.ndarray]:
    """scikit-learn's bundled photographs, grey."""
    from importlib.resources import files

    import cv2

    folder = files("sklearn.datasets.images")
    data = [np.frombuffer((folder / name).read_bytes(), np.uint8) for name in PHOTOGRAPHS]
    photographs = [cv2.imdecode(values, cv2.IMREAD_GRAYSCALE) for values in data]
    return [image for image in photographs if image is not None]


def crop(photographs: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """A random square of a random photograph, SIZE x SIZE."""
    import cv2

    photograph = photographs[rng.integers(len(photographs))]
    side = int(rng.integers(64, 257))
    top, left = (int(rng.integers(length - side + 1)) for length in photograph.shape)
    square = photograph[top : top + side, left : left + side]
    return cv2.resize(square, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def write_images(
    folder: Path, rows: Rows, train: list[np.ndarray], val: list[np.ndarray], rng: np.random.Generator
) -> list[str]:
    """Write all images; the lines of the validation list are returned.

    A training scan may appear again, rendered anew, but only after all others of its digit.
    """
    photographs = load_photographs()
    used = np.zeros(10, np.int64)
    for i, truth in enumerate(rows.truth.tolist()):
        if truth == OFF_TOPIC:
            image = crop(photographs, rng)
        else:
            image = render(train[truth][used[truth] % len(train[truth])], rng)
            used[truth] += 1
        write_jpeg(folder / rows.path(i), image)
    items = [(digit, scan) for digit in range(10) for scan in val[digit]]
    lines = []
    for number, place in enumerate(rng.permutation(len(items)).tolist(), 1):
        digit, scan = items[place]
        write_jpeg(folder / "val_images_resized" / f"val{number:06d}.jpg", render(scan, rng))
        lines.append(f"val{number:06d}.jpg {digit}")
    return lines


def summary(rows: Rows, n_val: int) -> str:
    """The data set in four lines."""
    wrong, off = (rows.truth >= 0) & (rows.truth != rows.label), rows.truth == OFF_TOPIC
    return "\n".join(
        [
            f"training images    {len(rows.label)} (google {int((rows.engine == 0).sum())}, "
            f"flickr {int((rows.engine == 1).sum())})",
            f"class sizes        {' '.join(map(str, np.bincount(rows.label, minlength=10)))}",
            f"wrong digit        {100 * wrong.mean():.1f} %, off-topic {100 * off.mean():.1f} %",
            f"validation images  {n_val}, as many of each class, all right",
        ]
    )


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What decides the bytes; kept in the data set as settings.json."""
    return {"layout": 1, **{name: value for name, value in vars(args).items() if name not in ("out", "debug")}}


def check(args: argparse.Namespace) -> None:
    """Ranges of the flags."""
    accepted = {
        "seed": (0, float("inf")),
        "largest": (50, 5000),
        "imbalance": (1, args.largest / 10),
        "wrong": (0, 1),
        "off_topic": (0, 1 - args.wrong),
        "title_nothing": (0, 1),
        "title_other": (0, 1 - args.title_nothing),
        "val_per_class": (1, 100),
    }
    for name, (low, high) in accepted.items():
        value = getattr(args, name)
        if not low <= value <= high:
            raise InputError(f"--{name}: found {value}; accepted: {low} to {high:g}")


def main(argv: Sequence[str]) -> int:
    """Build the data set, or say that it exists."""
    parser = cli.Parser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--out", default="data/digits_web", help="the folder to write (data/digits_web)")
    add("--seed", type=int, default=0, help="same seed, same bytes (0)")
    for item, text in zip(dataclasses.fields(Faults), FAULT_HELP, strict=True):
        add(f"--{item.name}", type=type(item.default), default=item.default, help=f"{text} ({item.default})")
    add("--val_per_class", type=int, default=40, help="validation images per class (40)")
    add("--debug", action="store_true", help="show a traceback on errors")
    args = parser.parse_args(argv)
    check(args)
    out = Path(args.out)
    if is_complete(out, settings(args)):
        print(f"{out} is complete already; nothing is written")
        return cli.DONE
    rng = np.random.default_rng(args.seed)
    train, val = split_scans(args.val_per_class, rng)
    faults = Faults(**{item.name: getattr(args, item.name) for item in dataclasses.fields(Faults)})
    rows = draw_rows(faults, rng)
    with atomic_folder(out) as folder:
        val_lines = write_images(folder, rows, train, val, rng)
        write_lists(
            folder, rows, val_lines, SYNSETS, [(query.format(w), i) for i, w in enumerate(WORDS) for query in QUERIES]
        )
        write_settings(folder, settings(args))
    print(summary(rows, len(val_lines)))
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.run(main))
