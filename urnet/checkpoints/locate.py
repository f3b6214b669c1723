"""What a path is of which weights are to be read: its kind, and the file or folder that holds them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

from urnet.checkpoints import fluid, imagenet, not_weights, published, torch_files
from urnet.config.recipe import active_stages, load_recipe
from urnet.config.yaml_dataclass import MOST_BYTES
from urnet.core.checks import InputError

PathLike = str | Path
Kind = Literal["safetensors", "pdparams", "torch", "checkpoint", "fluid", "published"]
MODEL, STATE, RECIPE = "model.safetensors", "state.json", "recipe.yaml"
_ENDINGS: dict[str, Kind] = {".safetensors": "safetensors", ".pdparams": "pdparams", ".pth": "torch", ".pt": "torch"}
ACCEPTED = (
    "a checkpoint folder, a finished run's, a .safetensors, .pdparams or .pth file, the 2018 release's folder, "
    "imagenet or imagenet:NETWORK"
)


def locate(path: PathLike) -> tuple[Kind, Path]:
    """The kind of a path (see ``CheckpointInfo``), and the file or folder that holds the weights.

    Of a stage's folder they are its ``best``, else its ``final``; of a finished run's the last stage's ``final``.
    Published weights (``imagenet:NETWORK``, as text) are downloaded where they are not on this machine. Raises
    InputError where ``path`` holds none, or several.
    """
    path = _survivor(published.weights_of(path).file_here if imagenet.is_word(path) else Path(path))
    if path.is_file():
        kind = _ENDINGS.get(path.suffix, "fluid")
        if kind != "safetensors" and torch_files.is_torch_file(path):  # whatever it is called
            return "torch", path
        other = not_weights.what_file(path)
        if other:
            raise InputError(f"{path}: {other}")
        if kind == "fluid" and not fluid.may_be_variable(path):
            raise InputError(f"{path}: is not a file of weights; accepted: {ACCEPTED}")
        return kind, path
    if not path.is_dir():
        beside = [path.name + end for end in _ENDINGS if Path(f"{path}{end}").is_file()]
        meant = imagenet.word_meant(str(path))
        hint = f" ({beside[0]} is there)" if beside else f" (did you mean {meant}?)" if meant else ""
        raise InputError(f"{path}: does not exist{hint}; accepted: {ACCEPTED}")
    for folder in (path, _survivor(path / "best"), _survivor(path / "final")):
        if (folder / MODEL).is_file():
            return "checkpoint", folder
    if (path / STATE).is_file():
        raise InputError(f"{path}: is a checkpoint folder without {MODEL}")
    last = end_of_run(path)
    if last is not None:
        return "checkpoint", last
    _refuse_several(path)
    other = not_weights.what_folder(path, MODEL, tuple(_ENDINGS))
    if other:
        raise InputError(f"{path}: {other}")
    return "fluid", path


def file_beside(weights: PathLike, name: str) -> Path | None:
    """The file ``name`` of a checkpoint whose weights are named as ``checkpoint.read_weights`` takes them.

    None where there is none, and for weights that are not a checkpoint's.
    """
    if imagenet.is_word(weights):
        return None
    kind, place = locate(weights)
    folder = place if kind == "checkpoint" else place.parent
    beside = kind == "checkpoint" or place.name == MODEL
    return folder / name if beside and (folder / name).is_file() else None


def end_of_run(path: PathLike) -> Path | None:
    """``final`` of the last stage of a run's folder, if that stage is finished; None for any other path.

    The last stage is the one that by its own recipe is the last; several such, of recipes with other stages, are none.
    """
    if imagenet.is_word(path) or not Path(path).is_dir():
        return None
    last, read = [], dict[bytes, str]()
    for folder in sorted(Path(path).iterdir()):
        final = _survivor(folder / "final")
        if (final / MODEL).is_file() and _last_stage(final / RECIPE, read) == folder.name:
            last.append(final)
    return last[0] if len(last) == 1 else None


def _last_stage(recipe: Path, read: dict[bytes, str]) -> str:
    """The last stage's name, "" without one. ``read``: of those before, by their bytes: most are the same."""
    if not recipe.is_file():
        return ""
    text = b""
    with contextlib.suppress(OSError), recipe.open("rb") as stream:  # load_recipe says what cannot be read
        text = stream.read(MOST_BYTES)
    if text not in read:
        stages = active_stages(load_recipe(recipe))
        read[text] = stages[-1].name if stages else ""
    return read[text]


def _refuse_several(path: Path) -> None:
    """Raise InputError, which names the newest, for a folder above those of checkpoints: of a run, or of runs."""
    depths = (
        ("*", 0, "holds checkpoints for --resume"),
        ("*/*", 1, "is the folder of a run"),
        ("*/*/*", 1, "holds runs"),
    )
    for pattern, above, what in depths:
        found = sorted(path.glob(f"{pattern}/{MODEL}"), key=lambda file: file.stat().st_mtime)
        if found:
            places = [file.parents[above] for file in found]
            names = ", ".join(sorted({str(place.relative_to(path)) for place in places})[:8])
            raise InputError(f"{path}: {what}; give one of its folders: {names} (the newest is {places[-1]})")


def taken_inside(path: PathLike) -> str:
    """Which folder inside ``path``, a stage's, is taken for its weights, in words; "" where it is itself one."""
    if imagenet.is_word(path):
        return ""
    kind, place = locate(path)
    inside = kind == "checkpoint" and place.absolute() != Path(path).absolute() and Path(path).is_dir()
    if inside and place.parent.absolute() != Path(path).absolute():
        return f"{path}: its {place.parent.name}/{place.name}/ is used, the last weights of the run's last stage"
    why = {"best": "the weights of the best evaluation", "final": "the last weights"}.get(place.name, "")
    return f"{path}: its {place.name}/ is used{', ' + why if why else ''}" if inside else ""


def _survivor(path: Path) -> Path:
    """``path``, or what a save killed half-way left of it aside."""
    old = path.parent / f".{path.name}.old"
    return old if not path.exists() and (old / MODEL).is_file() else path
