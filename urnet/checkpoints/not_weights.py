"""What a path is that was given in the place of weights, and what to give instead."""

from __future__ import annotations

import os
from pathlib import Path

EXPORTED = (
    "is an exported model, not weights to load; give the checkpoint that it was made from (OUTPUT/NAME/STAGE), or "
    "serve it with tools/serve.py"
)
_BY_NAME = {  # the end of a name, small
    "": "",
    "optimizer.safetensors": "is the optimiser's state; the weights are in model.safetensors in the same folder; "
    "give the folder",
    "ema.safetensors": "is a moving average without its batch-norm statistics; give the folder, best or final",
    "signature.json": EXPORTED,
    ".onnx": EXPORTED,
    ".pdmodel": EXPORTED,
    ".pdiparams": EXPORTED,
    "model.json": EXPORTED,
    ".pdopt": "is the state of a Paddle optimiser; the weights are in the .pdparams file in the same folder",
    ".yaml": "is a recipe, for train.py -c; weights are needed here",
    ".yml": "is a recipe, for train.py -c; weights are needed here",
    **dict.fromkeys((".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z"), "is an archive; unpack it and give its contents"),
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"), "is a picture; pictures go to --img_path"),
    ".arrow": "is a table, or predictions",
    "recipe.yaml": "is a recipe; give the folder that it is in, if that holds weights",
    "state.json": "records how far a training got; give its folder",
    "classes.txt": "holds names of classes; give the folder that it is in, if that holds weights",
}
_OTHERS = {  # of other libraries
    ".h5": "Keras",
    ".hdf5": "Keras",
    ".keras": "Keras",
    ".ckpt": "TensorFlow or Lightning",
    ".pb": "TensorFlow",
    ".tflite": "TensorFlow Lite",
    ".msgpack": "Flax",
    ".npz": "NumPy",
    ".npy": "NumPy",
}
_BY_CONTENT = (  # how a file begins
    (
        b"version https://git-lfs",
        "is a Git LFS pointer, a few lines instead of the file; fetch the file with git lfs pull",
    ),
    (b"<!doctype", "is an HTML page: the download brought a web page in the place of the file; download it again"),
    (b"<html", "is an HTML page: the download brought a web page in the place of the file; download it again"),
    (b"\x1f\x8b", "is a compressed archive; unpack it (tar xzf) and give what was in it"),
)


def what_file(path: Path) -> str:
    """What a file is that holds no weights which can be read, and what to do; "" where nothing is known of it."""
    with path.open("rb") as stream:
        begin = stream.read(64).lstrip().lower()
    for start, text in _BY_CONTENT:
        if begin.startswith(start):
            return text
    name = path.name.lower()
    if path.suffix.lower() in _OTHERS:
        library = _OTHERS[path.suffix.lower()]
        return f"is a file of {library}, which cannot be read; save its arrays as .safetensors, named as in the network"
    return _BY_NAME[max((end for end in _BY_NAME if name.endswith(end)), key=len, default="")]


def what_folder(path: Path, model: str, endings: tuple[str, ...]) -> str:
    """As ``what_file``, of a folder without a checkpoint's ``model`` file; ``endings``: of files of weights."""
    names = sorted(entry.name for entry in os.scandir(path) if not entry.name.startswith("."))
    if not names:
        return "is an empty folder"
    if any(name.lower().endswith((".pdmodel", ".onnx")) or name in ("signature.json", "model.json") for name in names):
        return EXPORTED
    weights = [name for name in names if name.endswith(endings) and (path / name).is_file()]
    if weights:
        return f"is a folder with the weights file {weights[0]}; give that: {path / weights[0]}"
    if "base.arrow" in names:
        return "is a run's table; a stage's folder (OUTPUT/NAME/STAGE) has weights"
    if "table" in names and (path / "table" / "base.arrow").is_file():
        return "is the folder of a run that has no weights yet; its stages write best/ at their first evaluation"
    if {"log.txt", "inputs.json"} & set(names):
        return f"is a stage's folder that has no weights yet; it writes best/{model} at its first evaluation"
    if "train.py" in names and "recipes" in names:
        return "is this project's folder; runs are in output/NAME/STAGE"
    pictures = sum(name.lower().endswith((".jpg", ".jpeg", ".png", ".webp")) for name in names)
    return "is a folder of pictures; pictures go to --img_path" if 2 * pictures > len(names) else ""
