"""A folder of pictures whose truth is known, with its kept features, for the tools that measure by the truth."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tools.score_suspects import BROKEN, OFF_TOPIC, kept_features, read_rows
from urnet.core.checks import InputError

ABOUT_THE_FOLDER = """\
The truth is a CSV file with the columns path and truth: a class, off_topic or broken. suspects.csv must have all
pictures, and the file of features must come from a call with --val. Unreadable pictures and leaks are left out.
"""


@dataclass
class Folder:
    """Pictures whose truth is known: (n, d) features, given labels and truth (-1 off topic), groups; validation."""

    paths: list[str]
    names: list[str]
    features: np.ndarray
    given: np.ndarray
    true: np.ndarray
    groups: np.ndarray
    copies: np.ndarray  # near duplicates under one label, of which another is to be kept
    val_features: np.ndarray
    val_labels: np.ndarray


def add_folder(p: argparse.ArgumentParser) -> None:
    """The flags that ``read_folder`` reads."""
    add = p.add_argument
    add("suspects", metavar="FILE.csv", help="the list that tools/suspects.py wrote, with all pictures")
    add("--truth", required=True, metavar="FILE.csv", help="CSV file that says what the pictures really show")
    add("--features", required=True, metavar="FILE", help="the file of features that tools/suspects.py kept")
    add("--root", required=True, metavar="DIR", help="the folder of the pictures")
    add("--val", required=True, metavar="DIR", help="validation pictures, a sub-folder per class")


def read_folder(args: argparse.Namespace) -> Folder:
    """The pictures of the list with their truth, and those of validation."""
    from urnet.suspects.photos import Where, read_photos

    truth = {row["path"]: row["truth"] for row in read_rows(args.truth, ("path", "truth"))}
    seen = sorted(read_rows(args.suspects, ("path", "given", "verdict", "group")), key=lambda row: row["path"])
    if strange := [row["path"] for row in seen if row["path"] not in truth]:
        raise InputError(
            f"{args.truth}: has no {strange[0]} ({len(strange)} such paths); all pictures of the list are needed"
        )
    left_out = ("unreadable", "leak from validation")
    seen = [row for row in seen if row["verdict"] not in left_out and truth[row["path"]] != BROKEN]
    names = sorted({row["given"] for row in seen})
    place = {OFF_TOPIC: -1, **{name: c for c, name in enumerate(names)}}
    if odd := [row["path"] for row in seen if truth[row["path"]] not in place]:
        raise InputError(
            f"{args.truth}: {odd[0]} has {truth[odd[0]]!r}; a class of the list or {OFF_TOPIC} is accepted"
        )
    val = read_photos(Where(args.val))
    if odd := [name for name in val.class_names if name not in place]:
        raise InputError(f"--val {args.val}: its class {odd[0]!r} is not in {args.suspects}")
    val_place = np.array([place[name] for name in val.class_names])
    return Folder(
        paths=[row["path"] for row in seen],
        names=names,
        features=kept_features(Path(args.features), [Path(args.root) / row["path"] for row in seen]),
        given=np.array([place[row["given"]] for row in seen]),
        true=np.array([place[truth[row["path"]]] for row in seen]),
        groups=np.array([int(row["group"] or -1) for row in seen]),
        copies=np.array([row["verdict"] == "near duplicate" for row in seen]),
        val_features=kept_features(Path(args.features), [Path(f) for f in val.files(np.arange(len(val.labels)))]),
        val_labels=val_place[val.labels],
    )
