"""A training run of seconds: 61 small images of three classes, a small recipe, train.py as users start it."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import yaml

import train
from urnet.core import cli

ROOT = Path(__file__).parents[2]
SIZES = (30, 20, 11)  # rows of the three classes

RECIPE = {
    "name": "tiny",
    "seed": 3,
    "data": {"format": "list", "n_classes": 3, "max_bad": 0, "prefetch": 2},
    "transform": {"size": 16, "train": "pad_crop", "pad": 2, "jitter": 0.2},
    "model": {"name": "ResNeXt_small32"},
    "stages": [
        {
            "name": "class",
            "duration": "3 epochs",
            "batch_size": 8,
            "accumulate": 2,
            "balance": 0.5,
            "reweight": {"method": "class_size"},
            "loss_weight": ["class_weight"],
            "label_smoothing": 0.1,
            "mixup": 0.2,
            "optimizer": {"clip_norm": 5.0},
            "ema": {"decay": 0.9, "bn_batches": 2},
            "schedule": {"lr": 0.05, "warmup": "3 steps"},
            "eval_every": "5 steps",
            "checkpoint_every": "3 steps",
            "log_every": 2,
        }
    ],
}


def write_images(folder: Path) -> None:
    """Noisy squares whose brightness shows the class, and their lists (61 for training, 12 to validate)."""
    rng = np.random.default_rng(0)
    for name, sizes in (("train", SIZES), ("val", (4, 4, 4))):
        lines = []
        for label in rng.permutation(np.repeat(np.arange(3), sizes)).tolist():
            image = rng.normal(60 + 60 * label, 30, (16, 16, 3)).clip(0, 255).astype(np.uint8)
            path = f"{name}/{len(lines):03d}.png"
            (folder / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / path), image)
            lines.append(f"{path} {label}\n")
        (folder / f"{name}.txt").write_text("".join(lines))


def write_recipe(folder: Path, **stage) -> Path:
    """tiny.yaml in ``folder``, which holds the images; ``stage`` replaces keys of the only stage."""
    tree = copy.deepcopy(RECIPE)
    tree["output"] = str(folder / "output")
    places = {"root": folder, "train_list": folder / "train.txt", "val_list": folder / "val.txt"}
    tree["data"].update({key: str(path) for key, path in places.items()})
    tree["stages"][0].update(stage)
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def start(recipe: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    """train.py in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), "-c", str(recipe), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def run(recipe: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """train.py to its end: return code, stdout, stderr."""
    process = start(recipe, *arguments, **environment)
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run_here(recipe: Path, *arguments: str) -> int:
    """train.py to its end in this process, with as many threads: the exit code."""
    return cli.run(train.main, ["-c", str(recipe), *arguments])
