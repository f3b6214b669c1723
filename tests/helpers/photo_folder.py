"""A small folder of pictures with wrong labels, its truth, and a ladder that trains two parts of a small network."""

import json
import shutil
from pathlib import Path

from tests.helpers.judged_pictures import COLOURS, NETWORK, SIZE, picture, save_weights, write

EACH, HELD = 8, 2  # pictures of a class that train, and to validate with
PACE = {"batch_size": 8, "balance": 1, "optimizer": {"weight_decay": 0.02}, "ema": {"decay": 0.9, "bn_batches": 1}}
LADDER = [
    {"name": "class", "train": "classifier", "duration": "2 epochs", "schedule": {"lr": 0.04}},
    {
        "name": "instance",
        "train": "classifier",
        "duration": "1 epochs",
        "schedule": {"lr": 0.02},
        "reweight": {
            "method": "instance",
            "evidence": {"votes": True, "text": 0, "rank_bins": 0, "noise": 0, "folds": 2},
        },
        "sampling_weight": ["instance_weight", "in_classes"],
    },
    {
        "name": "finetune",
        "train": "top",
        "views": 3,
        "duration": "2 epochs",
        "batch_size": 4,
        "schedule": {"lr": 0.003, "warmup": "1 epochs"},
        "sampling_weight": ["instance_weight", "in_classes"],
        "mixup": 0.4,
    },
]


def write_photos(root: Path) -> Path:
    """train/ and val/ with three classes, truth_train.csv: of each class's pictures the first shows the next class, of
    blue's the second is off topic and a third file no picture."""
    names, lines = list(COLOURS), ["path,truth,note"]
    for c, name in enumerate(names):
        for i in range(EACH + HELD):
            shown = names[(c + (i == 0)) % 3]
            part = "train" if i < EACH else "val"
            write(root / part / name / f"{name}{i}.png", picture(shown, i, 36, 36))
            if part == "train":
                lines.append(f"{name}/{name}{i}.png,{'off_topic' if (c, i) == (0, 1) else shown},")
    (root / "train/blue/cut.png").write_bytes(b"no picture")
    lines.append("blue/cut.png,broken,")
    (root / "truth_train.csv").write_text("\n".join(reversed(lines[1:])).join([lines[0] + "\n", "\n"]))
    return root


def write_recipe(folder: Path) -> Path:
    """photos.yaml: the ladder, from weights of other classes."""
    first = {**LADDER[0], "start": str(save_weights(folder / "weights", "vwxyz")), "finetune": True}
    tree = {
        "name": "photos",
        "data": {"format": "folder", "root": "nowhere", "val_split_default": 0.1, "n_classes": None, "max_bad": 3},
        "model": {"name": NETWORK},
        "transform": {"size": SIZE, "eval": "short", "resize_short": 36, "train": "pad_crop", "pad": 2},
        "stage_defaults": PACE,
        "stages": [first, *LADDER[1:]],
    }
    path = folder / "photos.yaml"
    path.write_text(json.dumps(tree))
    return path


def without(root: Path, *places: str) -> None:
    """Remove files or folders."""
    for place in places:
        item = root / place
        shutil.rmtree(item) if item.is_dir() else item.unlink()
