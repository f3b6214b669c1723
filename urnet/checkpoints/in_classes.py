"""The file of a checkpoint that says where the classes lie, for ``in_classes`` of predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from urnet.checkpoints.locate import file_beside
from urnet.checkpoints.safetensors_io import read_safetensors, write_safetensors
from urnet.core.atomic_files import atomic_file, recover_folder
from urnet.core.checks import InputError
from urnet.reweight.class_centres import ClassCentres

NAME = "in_classes"
FILE = f"{NAME}.safetensors"


def write_reference(folder: Path, reference: ClassCentres) -> None:
    """Put the file into a checkpoint's folder, whole; one that is there is replaced.

    Only the process that writes there may call this: what a killed writer left is removed.
    """
    recover_folder(folder / FILE)
    with atomic_file(folder / FILE, replace=True) as part:
        write_safetensors(part, arrays_of(reference))


def arrays_of(reference: ClassCentres) -> dict[str, np.ndarray]:
    """The file's arrays, by name."""
    numbers = {name: np.array([getattr(reference, name)], np.float32) for name in ("threshold", "scale")}
    return {"centres": reference.centres, **numbers}


def reference_file(weights: str | Path) -> Path | None:
    """Where the file of a checkpoint is, named as ``checkpoint.read_weights`` takes it; None where there is none."""
    return file_beside(weights, FILE)


def read_reference(weights: str | Path) -> ClassCentres | None:
    """The file of a checkpoint; None where there is none. Raises InputError for one that is damaged."""
    file = reference_file(weights)
    if file is None:
        return None
    arrays = read_safetensors(file)
    shapes = {name: array.shape for name, array in arrays.items()}
    centres = arrays.get("centres", np.zeros(()))
    good = (
        set(arrays) == {"centres", "threshold", "scale"}
        and all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays.values())
        and shapes["threshold"] == shapes["scale"] == (1,)
        and centres.ndim == 2
        and min(centres.shape) > 0
        and arrays["scale"][0] > 0
    )
    if not good:
        raise InputError(
            f"{file}: found {shapes}; finite float32 centres (m, d), threshold (1,) and scale (1,) above 0 are "
            "accepted (without the file predictions have no in_classes)"
        )
    return ClassCentres(centres, float(arrays["threshold"][0]), float(arrays["scale"][0]))
