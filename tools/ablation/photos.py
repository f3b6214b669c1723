"""A folder of photographs as the benchmark's data: train/ and val/ with a sub-folder per class, and their truth.

``truth_train.csv`` next to them has the columns path (below train/) and truth, what training pictures show: a
class's name, off_topic or broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tools.score_suspects import BROKEN, OFF_TOPIC, read_rows
from urnet.config.recipe import Data
from urnet.core.checks import InputError
from urnet.core.counted import plural
from urnet.data.lists.class_names import like, same_name
from urnet.data.lists.classes import named, read_classes
from urnet.data.lists.training_rows import training_rows
from urnet.data.lists.validation import read_validation

TRAIN, VAL, TRUTH = "train", "val", "truth_train.csv"


def is_photos(root: Path) -> bool:
    """Whether a folder is one of photographs, and not in WebVision's layout. Raises InputError for train/ without
    val/: no method may be measured by what it trains on, nor by labels that nobody checked."""
    if (root / "info").exists() or not (root / TRAIN).is_dir():
        return False
    if not (root / VAL).is_dir():
        raise InputError(
            f"--data: {root} has {TRAIN}/ but no {VAL}/; {root / VAL}/CLASS/… is needed: pictures to measure "
            "with whose labels somebody checked"
        )
    return True


def truth_file(data: Data) -> Path:
    """Where the truth of a training tree is, if anybody wrote it."""
    return Path(data.root).parent / TRUTH


def validation_names(data: Data) -> list[str]:
    """The validation pictures' folder and paths. Raises InputError where they have not all classes that train, and for
    pictures that train."""
    accepted = "accepted: a folder of other pictures, whose labels somebody checked"
    if data.val_split is not None:
        raise InputError(f"data.val_root: found none, so pictures of {data.root} would be held back; {accepted}")
    if data.val_root is not None and Path(data.val_root).resolve() == Path(data.root).resolve():
        raise InputError(f"data.val_root: {data.val_root} is the folder that trains, {data.root}; {accepted}")
    held, names = read_validation(data), read_classes(data).names
    bare = np.flatnonzero(np.bincount(held.labels, minlength=len(names)) == 0).tolist()
    if bare:
        raise InputError(
            f"{held.root}: has no picture of {plural(len(bare), 'class', 'classes')} that {data.root} trains: "
            f"{named(names, bare)}; some of every class are needed, as accuracy is averaged over classes"
        )
    return [str(held.root), *held.paths]


def right_rows(data: Data, paths: Sequence[str], labels: np.ndarray) -> np.ndarray:
    """bool (N,): which of the training pictures ``paths`` show the class of their label, by ``truth_file``.

    Raises InputError for a picture of the tree without a line or with two, a line without a picture, and a truth that
    is not a class's folder, off_topic or broken; where a class is called so, that is the class.
    """
    file, classes, shown = truth_file(data), read_classes(data), dict[str, str]()
    known = {name: name for name in map(same_name, classes.folders)}
    place = {OFF_TOPIC: "", BROKEN: "", **known}
    blocks = training_rows(replace(data, limit=None, classes=None, n_classes=len(classes.listed)), quiet=True)
    tree = {path: path for block, _ in blocks for path in block.to_pylist()}
    spelled = {same_name(path): path for path in tree} | tree  # é may be one character there and two here
    for row in read_rows(str(file), ("path", "truth")):
        path, truth = row["path"] or "", same_name((row["truth"] or "").strip())
        path = spelled.get(path) or spelled.get(same_name(path), path)
        if path in shown:
            raise InputError(f"{file}: path {path!r} is there a second time")
        if truth not in place:
            raise InputError(
                f"{file}: {path!r} has truth {truth!r}; nearest: {like(truth, place)}; a sub-folder of {data.root}, "
                f"{OFF_TOPIC} or {BROKEN} is accepted"
            )
        shown[path] = place[truth]
    missing, strange = [path for path in tree if path not in shown], shown.keys() - tree.keys()
    said = [f"has no line for {missing[0]!r} ({plural(len(missing), 'such picture')})"] if missing else []
    if strange:
        said.append(f"path {min(strange)!r} is not a picture below {data.root} ({plural(len(strange), 'such line')})")
    if said:
        raise InputError(f"{file}: {'; '.join(said)}; a line for every picture is needed, as {next(iter(tree))!r}")
    own = np.array([*map(same_name, classes.own_folders)])
    return np.array([shown[path] for path in paths]) == own[labels]
