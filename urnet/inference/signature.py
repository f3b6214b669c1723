"""Reads an exported folder's signature.json and prepares images as it says. Without Paddle.

``signature.json`` is written by ``export.export_inference`` and completed by ``tools/export.py``. Size, the
resize rule and the EXIF rule must be known outside the model; normalisation and softmax are inside.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from urnet.config.choices import RESIZES, SIZES
from urnet.config.recipe import Transform
from urnet.core.atomic_files import file_hash
from urnet.core.checks import InputError
from urnet.data.images.decode import EXIF_CHOICES, MAX_PIXELS, decode
from urnet.data.images.transforms import eval_transform

SIGNATURE, CLASSES = "signature.json", "classes.txt"
EXPORTED = "exported"  # the folder, in a run's, that tools/export.py writes if no other is named
PADDLE, ONNX = "model.json", "model.onnx"  # the file that says that the folder holds this kind


@dataclass(frozen=True)
class Signature:
    """``class_names`` has a name per class, or is empty; ``model`` is the network's name. ``in_classes``: whether the
    model's second output says how well an image fits the classes."""

    folder: Path
    model: str
    n_classes: int
    class_names: tuple[str, ...]
    transform: Transform
    exif: str
    in_classes: bool = False

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return self.transform.size

    def prepare(self, data: bytes, *, max_pixels: int = MAX_PIXELS, name: str = "<bytes>") -> np.ndarray:
        """An image file's bytes to uint8 RGB (size, size, 3). Raises UnreadableImage as ``images.decode``."""
        image = decode(data, exif=self.exif, max_pixels=max_pixels, name=name)
        return eval_transform(image, self.transform)

    def needs(self, file: str) -> Path:
        """The path of PADDLE or ONNX in the folder; raises InputError where there is none."""
        if not (self.folder / file).is_file():
            found = ", ".join(name for name in (PADDLE, ONNX) if (self.folder / name).is_file()) or "neither"
            raise InputError(f"{self.folder}: {file} is needed; found {found} ({PADDLE} or {ONNX})")
        return self.folder / file


def read_signature(folder: str | Path) -> Signature:
    """Read a folder that ``tools/export.py`` or ``infer.py --save_inference`` wrote.

    Where the signature has its files' SHA-256, they are compared: a folder copied in part is refused.
    Raises InputError for what is missing, contradictory or changed.
    """
    folder = Path(folder)
    tree = _read(folder)
    where = folder / SIGNATURE
    size = _number(tree, "input.shape.2", where)
    n_classes = _number(tree, "output.shape.1", where)
    resize = _choice(tree, "resize", RESIZES, where)
    short = _number(tree, "resize_short_size", where)
    exif = _choice(tree, "exif", EXIF_CHOICES, where)
    names = tree.get("class_names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{where}: class_names: found {_shown(names)}; a list of names is accepted")
    if len(names) not in (0, n_classes):
        raise InputError(f"{where}: class_names has {len(names)} names, but the model has {n_classes} classes")
    if size not in SIZES or (resize == "short" and short < size):
        raise InputError(
            f"{where}: size {size}, resize_short_size {short}; accepted are {SIZES[0]} to {SIZES[-1]}"
            " and a short side no smaller"
        )
    _check_files(folder, tree.get("files", {}))
    transform = Transform(size=size, eval=resize, resize_short=short)  # type: ignore[arg-type]
    fits = tree.get("in_classes")
    if fits is not None and _found(tree, "in_classes.output") != 1:
        raise InputError(f"{where}: in_classes: found {_shown(fits)}; an object with output 1, or none, is accepted")
    return Signature(folder, str(tree.get("model", "")), n_classes, tuple(names), transform, exif, fits is not None)


def _read(folder: Path) -> dict[str, Any]:
    where = folder / SIGNATURE
    try:
        tree = json.loads(where.read_text(encoding="utf-8"))
    except OSError as error:
        wanted = "a folder that tools/export.py or infer.py --save_inference wrote is needed"
        if (folder / EXPORTED / SIGNATURE).is_file():
            wanted = f"it is a run's folder; its exported folder is {folder / EXPORTED}"
        elif any((folder / name).exists() for name in ("state.json", "best/state.json", "final/state.json")):
            wanted = f"it is a checkpoint; export it first: tools/export.py {folder} --out DIR"
        elif any(folder.glob("*/final/state.json")):
            wanted = f"it is a run's folder; export it first: tools/export.py {folder}"
        raise InputError(f"{where}: cannot be read ({error.strerror}); {wanted}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is not JSON text ({error})") from None
    if not isinstance(tree, dict):
        raise InputError(f"{where}: found {_shown(tree)}; a JSON object is accepted")
    return tree


def _found(tree: Any, path: str) -> Any:
    """The value at ``a.b.2``; None where there is none."""
    for key in path.split("."):
        if isinstance(tree, list) and key.isdecimal() and int(key) < len(tree):
            tree = tree[int(key)]
        else:
            tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _number(tree: Any, path: str, where: Path) -> int:
    value = _found(tree, path)
    if type(value) is not int or value < 1:
        raise InputError(f"{where}: {path}: found {_shown(value)}; a whole number above 0 is accepted")
    return value


def _choice(tree: Any, key: str, known: tuple[str, ...], where: Path) -> str:
    value = tree.get(key)
    if value not in known:
        raise InputError(f"{where}: {key}: found {_shown(value)}; accepted: {', '.join(known)}")
    return str(value)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:60] + " …"


def _check_files(folder: Path, files: Any) -> None:
    if not isinstance(files, dict) or not all(Path(name).name == name for name in files):
        raise InputError(f"{folder / SIGNATURE}: files: found {_shown(files)}; file names are accepted")
    for name, digest in files.items():
        try:
            found = file_hash(folder / name)
        except OSError as error:
            raise InputError(f"{folder / name}: cannot be read ({error.strerror})") from None
        if found != digest:
            raise InputError(f"{folder / name}: is not the file that was exported (SHA-256); copy it again")
