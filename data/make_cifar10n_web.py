#!/usr/bin/env python3
"""Builds the benchmark's set cifar10n_web: CIFAR-10's pictures with labels that people gave, in WebVision 2.0's layout.

    python data/make_cifar10n_web.py --cifar cifar-10-python.tar.gz --labels CIFAR-10_human.pt --out data/cifar10n_web
    python data/make_cifar10n_web.py --rates data/cifar10n_web

The two files are public downloads: CIFAR-10 (Krizhevsky 2009), and CIFAR-10N (Wei et al., ICLR 2022; CC BY-NC 4.0),
what three people said of each of its training pictures. Labels are theirs, titles and search results are made from what
they said; validation pictures are CIFAR-10's test pictures with their own labels. See docs/benchmark.md.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cifar10n_labels import N_CLASSES, People, read_people
from cifar10n_web_rows import OPEN, OPEN_SHARE, QUERIES, SYNSETS, Chosen, Wanted, choose, describe
from cifar_files import Pictures, read_cifar10
from open_set import OpenSet, collages, others
from web_rates import rates
from webvision_layout import Rows, is_complete, write_jpeg, write_lists, write_settings

from urnet.core import cli
from urnet.core.atomic_files import atomic_folder
from urnet.core.checks import InputError

JPEG_QUALITY = 75  # of all pictures, as on the benchmark's first set
_VALIDATION = 3  # the stream of random numbers


def draw_validation(labels: np.ndarray, n: int, seed: int) -> np.ndarray:
    """``n`` of the test pictures, in random order, as many of each class up to one. Raises InputError for too many."""
    rng = np.random.default_rng([seed, _VALIDATION])
    per_class = n // N_CLASSES + (np.arange(N_CLASSES) < n % N_CLASSES)
    pools = [rng.permutation(np.flatnonzero(labels == label)) for label in range(N_CLASSES)]
    if any(len(pool) < k for pool, k in zip(pools, per_class, strict=True)):
        most = N_CLASSES * min(map(len, pools))
        raise InputError(f"--val: found {n}; CIFAR-10's test pictures allow 1 to {most}, as many of each class")
    return rng.permutation(np.concatenate([pool[:k] for pool, k in zip(pools, per_class, strict=True)]))


def open_pictures(place: str, train: Pictures, chosen: Chosen, seed: int) -> OpenSet:
    """The open-set pictures of the chosen rows."""
    n = int((chosen.picture == OPEN).sum())
    if place not in ("collages", "none"):
        return others(Path(place), n, seed)
    unused = np.setdiff1d(np.arange(len(train)), chosen.picture)
    return collages(train, unused, n, seed)


def write_pictures(
    folder: Path, rows: Rows, images: Sequence[np.ndarray], test: Pictures, val: np.ndarray
) -> list[str]:
    """Write all pictures; ``images`` are those of the rows, RGB. The lines of the validation list are returned."""
    for i, image in enumerate(images):
        write_jpeg(folder / rows.path(i), image[:, :, ::-1], JPEG_QUALITY)
    lines = []
    for number, i in enumerate(val.tolist(), 1):
        write_jpeg(folder / "val_images_resized" / f"val{number:06d}.jpg", test.images[i][:, :, ::-1], JPEG_QUALITY)
        lines.append(f"val{number:06d}.jpg {test.labels[i]}")
    return lines


def settings(args: argparse.Namespace, people: People, pictures: Sequence[Pictures], opened: OpenSet) -> dict[str, Any]:
    """What decides the bytes; kept in the data set as settings.json. Of the files, it is what was read in them."""
    names = ("seed", "scale", "val", "wrong", "cap", "metadata")
    arrays = {
        "cifar": [array for part in pictures for array in (part.images, part.labels)],
        "labels": [people.worst, people.each],
        "open": [opened.images],
    }
    digests = {name: _digest(parts) for name, parts in arrays.items()}
    return {"layout": 1, **{name: getattr(args, name) for name in names}, **digests}


def _digest(arrays: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def parser() -> cli.Parser:
    """The flags."""
    made = cli.Parser(description=(__doc__ or "").split("\n\n")[0].partition(": ")[2])
    add = made.add_argument
    add("--cifar", help="CIFAR-10, python or binary version: the .tar.gz archive, or the folder it unpacks to")
    add("--labels", help="CIFAR-10N's labels: CIFAR-10_human.pt or CIFAR-10_human.npy")
    add("--out", default="data/cifar10n_web", help="the folder to write (data/cifar10n_web)")
    add("--seed", type=cli.number(int, 0), default=0, help="same seed, same bytes (0)")
    scale = cli.number(float, 0, above=True)
    add(
        "--scale", type=scale, default=1.0, help="rows, in units of 7,040, with the same shares of classes: 0.25, 2 (1)"
    )
    add("--cap", action="store_true", help="if a class has too few pictures for --scale, take all of them")
    text = "exact share of rows with a wrong label: labels are flipped the way people err (people's own labels)"
    add("--wrong", type=cli.number(float, 0), metavar="SHARE", help=text)
    text = "open-set pictures: collages of left-over pictures, CIFAR-100's archive, a folder of others, none (collages)"
    add("--open", default="collages", metavar="collages|PLACE|none", help=text)
    add(
        "--no-metadata",
        dest="metadata",
        action="store_false",
        help="make the same set without titles and search results",
    )
    add("--val", type=cli.number(int, 1), default=2000, help="validation images (2000)")
    add(
        "--rates", metavar="DIR", help="print how often labels, titles and ranks are right in an existing set, and stop"
    )
    add("--debug", action="store_true", help="show a traceback on errors")
    return made


def main(argv: Sequence[str]) -> int:
    """Build the data set, or say that it is there; or print the rates of one."""
    args = parser().parse_args(argv)
    if args.rates is not None:
        print(rates(Path(args.rates)))
        return cli.DONE
    for flag in ("cifar", "labels"):
        if getattr(args, flag) is None:
            raise InputError(f"--{flag} is missing; --cifar and --labels name the two downloads")
    if args.wrong is not None and (args.cap or args.wrong > 1):
        found = "--cap" if args.cap else f"{args.wrong:g}"
        raise InputError(f"--wrong: found {found}; a share of at most 1 is accepted, without --cap")
    out = Path(args.out)
    train, test = read_cifar10(Path(args.cifar))
    people = read_people(Path(args.labels), train.labels)
    chosen = choose(
        Wanted(args.seed, args.scale, args.wrong, args.cap, 0.0 if args.open == "none" else OPEN_SHARE), people
    )
    val = draw_validation(test.labels, args.val, args.seed)
    opened = open_pictures(args.open, train, chosen, args.seed)
    wanted = settings(args, people, (train, test), opened)
    if is_complete(out, wanted):
        print(f"{out} is complete already; nothing is written")
        return cli.DONE
    if args.open == "none":
        print("note: --open none: the set has no open-set pictures", file=sys.stderr)
    rows, order = describe(chosen, people.clean, opened.words, args.seed)
    images = train.images[np.maximum(chosen.picture, 0)]
    images[chosen.picture == OPEN] = opened.images
    with atomic_folder(out) as folder:
        val_lines = write_pictures(folder, rows, images[order], test, val)
        queries = [(words, label) for label in range(N_CLASSES) for words in QUERIES[label]]
        write_lists(folder, rows, val_lines, SYNSETS, queries, metadata=args.metadata)
        write_settings(folder, wanted)
    print(rates(out))
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.run(main))
