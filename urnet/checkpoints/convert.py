"""A network's weights into the forms that ``urnet.checkpoints.checkpoint`` reads; each is read back first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from urnet.checkpoints import fluid, pdparams, safetensors_io
from urnet.core.atomic_files import atomic_file, atomic_folder
from urnet.core.checks import InputError


def write_weights(path: str | Path, network: Any, *, replace: bool = False) -> str:
    """Write ``network``'s parameters and buffers; return the form, which the path's ending decides.

    ``.safetensors``; ``.pdparams``, as ``paddle.load`` takes it; no ending: a folder like the 2018 release's,
    for networks with ``release_names()``. What was written is read again and compared before it gets its
    name. Raises InputError for another ending, an existing path without ``replace``, a network without names.
    """
    path = Path(path)
    own = network.state_dict()
    weights = {key: value.numpy() for key, value in own.items()}
    if path.suffix == ".safetensors":
        with atomic_file(path, replace=replace) as file:
            safetensors_io.write_safetensors(file, weights)
            _compare(safetensors_io.read_safetensors(file), weights)
        return "safetensors"
    if path.suffix == ".pdparams":
        import paddle

        with atomic_file(path, replace=replace) as file:
            paddle.save(own, str(file))
            _compare(pdparams.read_arrays(file), weights)
        return "pdparams"
    if path.suffix:
        raise InputError(
            f"{path}: accepted endings: .safetensors, .pdparams, or none for a folder in the 2018 release's form"
        )
    if not hasattr(network, "release_names"):
        raise InputError(
            f"{path}: the 2018 release's form has no names for this network; accepted endings: .safetensors, .pdparams"
        )
    names = network.release_names()
    with atomic_folder(path, replace=replace) as folder:
        for key, name in names.items():
            with (folder / name).open("wb") as stream:
                stream.writelines(fluid.variable_bytes(weights[key]))
        found = fluid.read_folder(folder, names.values())
        _compare({key: found[name] for key, name in names.items()}, weights)
    return "fluid"


def _compare(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for key in expected:
        if key not in found or not np.array_equal(found[key], expected[key]):
            raise OSError(f"{key}, read back from the disk, differs from what was written")
