"""A few images in WebVision 2.0's layout, a recipe of five stages, and runs that were never trained."""

import json
from pathlib import Path

import cv2
import numpy as np
import yaml

from tools.ablation.rows import Rows, read_rows
from urnet.config.recipe import Data
from urnet.data.lists.build_table import build_table

LABELS = {"google": [0, 0, 0, 0, 1, 1, 1, 2, 2], "flickr": [0, 1, 2]}  # N = 12
SHOWN = {"google": [0, 0, 1, 0, 1, -1, 1, 2, 0], "flickr": [0, 1, 2]}  # 3 of 12 are wrong
RIGHT = np.array([1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1], bool)
FILES = {
    "class": {"class_weight": np.linspace(0.5, 1.6, 12)},
    "cluster": {"cluster": np.zeros(12, np.int16), "cluster_weight": np.where(RIGHT, 1.25, 0.25)},
}


def write_data(root: Path, truth: bool = True) -> Path:
    """Lists, 12 training images and 6 validation images of three grey levels."""
    rng = np.random.default_rng(0)

    def image(path: str, shown: int) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        grey = rng.normal(40 + 80 * shown, 10, (16, 16, 3)).clip(0, 255).astype(np.uint8)
        assert cv2.imwrite(str(root / path), grey)

    (root / "info").mkdir(parents=True)
    (root / "info/synsets.txt").write_text("n00000001 ant\nn00000002 bee\nn00000003 cat\n")
    known = []
    for engine, labels in LABELS.items():
        paths = [f"{engine}_images_resized/q1/{engine[0]}{i}.png" for i in range(len(labels))]
        for path, shown in zip(paths, SHOWN[engine], strict=True):
            image(path, shown)
            known.append(f"{path} {shown}\n")
        lines = "".join(f"{path} {label}\n" for path, label in zip(paths, labels, strict=True))
        (root / f"info/train_filelist_{engine}.txt").write_text(lines)
    for i in range(6):
        image(f"val_images_resized/v{i}.png", i % 3)
    (root / "info/val_filelist.txt").write_text("".join(f"v{i}.png {i % 3}\n" for i in range(6)))
    if truth:
        (root / "truth_train.txt").write_text("".join(reversed(known)))
    return root


def rows_of(root: Path) -> Rows:
    return read_rows(Data(root=str(root), n_classes=3))


def write_recipe(folder: Path, **first) -> Path:
    """A ladder of five stages; ``first`` replaces keys of the first one."""
    stage = {"duration": "4 epochs", "batch_size": 4, "schedule": {"lr": 0.05, "warmup": "1 epochs"}}
    drawn = {"sampling_weight": ["instance_weight"], "balance": 1.0}
    stages = [
        {
            "name": "class",
            **stage,
            "reweight": {"method": "class_size"},
            "loss_weight": ["class_weight"],
            "label_smoothing": 0.1,
            "ema": {"decay": 0.9, "bn_batches": 2},
            **first,
        },
        {"name": "cluster", **stage, "reweight": {"method": "cluster"}, "sampling_weight": ["cluster_weight"]},
        {"name": "instance", **stage, "reweight": {"method": "instance"}, **drawn},
        {"name": "bag", **stage, "bags": {"size": 2}, **drawn},
        {"name": "label", **stage, "reweight": {"method": "label"}, "targets": "label"},
    ]
    tree = {
        "name": "toy",
        "data": {"root": "nowhere", "n_classes": 2},
        "model": {"name": "ResNet8_small32"},
        "transform": {"size": 16, "train": "pad_crop", "pad": 1, "flip": False},
        "stages": stages,
    }
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def finish(run, stage: str, top1: float, epoch: float = 4.0, forward: int | None = None) -> None:
    """What a trained stage leaves behind; ``forward`` None: it is from before passes were counted."""
    file = run.state_file(stage)
    file.parent.mkdir(parents=True, exist_ok=True)
    last = {"top1": top1, "top5": 1.0, "step": 12}
    passes = {} if forward is None else {"passes": {"forward": forward, "backward": 48}}
    file.write_text(json.dumps({"epoch": epoch, "last": last, "best": {**last, "top1": top1 + 0.125}, **passes}))


def table_of(run, files=FILES):
    """The run's table with columns written by hand."""
    table = build_table(run.recipe.data, run.folder / "table")
    for file, columns in files.items():
        values = {
            name: column.astype(np.float32) if column.dtype == np.float64 else column
            for name, column in columns.items()
        }
        table.write(file, values, stage=file, recipe_hash="", checkpoint="")
    return table
