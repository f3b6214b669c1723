"""Weights in and out: checkpoint folders, safetensors, .pdparams and the 2018 release's files.

A checkpoint is a folder: ``model.safetensors`` (state-dict key -> array), ``state.json``, ``recipe.yaml`` and
``classes.txt`` (a line per class), for resuming also ``optimizer.safetensors`` and further sets of arrays such
as ``ema.safetensors``. It is written whole. Reading executes nothing that a file says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from urnet.checkpoints import fluid, foreign, imagenet, pdparams, published, safetensors_io, timm_config, torch_files
from urnet.checkpoints.load import load_into
from urnet.checkpoints.locate import MODEL, STATE, Kind, PathLike, locate, taken_inside
from urnet.config.recipe import Data, Model, Recipe, Transform, load_recipe
from urnet.core.atomic_files import atomic_folder, recover_folder
from urnet.core.checks import InputError

__all__ = [
    "MODEL",
    "STATE",
    "CheckpointInfo",
    "TrainingState",
    "describe",
    "find_weights",
    "load_into",
    "load_training",
    "locate",
    "read_weights",
    "recover",
    "save",
    "taken_inside",
]
Arrays = dict[str, np.ndarray]
OPTIMIZER, RECIPE, CLASSES = "optimizer.safetensors", "recipe.yaml", "classes.txt"


@dataclass(frozen=True)
class CheckpointInfo:
    """What a path holds. ``folder`` is the checkpoint's own (None for a file without one).

    ``word``: what published weights are called (``urnet.checkpoints.imagenet``). The ``recipe`` of weights that were
    not trained here has no stages: it says which network they are of, for how many classes, and how its pixels are
    prepared. ``told_by``: where that is from, for a message. ``imagenet``: the classes are ImageNet's.
    """

    kind: Kind
    folder: Path | None
    recipe: Recipe | None
    class_names: list[str] | None
    state: dict | None
    word: str = ""
    told_by: str = "its recipe.yaml"
    imagenet: bool = False

    @property
    def classes_file(self) -> Path:
        """Where the names of the classes are read."""
        return imagenet.CLASSES if self.imagenet else (self.folder or Path()) / CLASSES


@dataclass(frozen=True)
class TrainingState:
    """What a run resumes from: raw weights, optimiser, further sets of arrays (``ema``), ``state.json``."""

    weights: Arrays
    optimizer: Arrays | None
    extra: dict[str, Arrays]
    state: dict


def save(
    folder: PathLike,
    *,
    weights: Mapping[str, np.ndarray],
    state: dict,
    recipe_text: str | None = None,
    class_names: Sequence[str] | None = None,
    optimizer: Mapping[str, np.ndarray] | None = None,
    extra: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    replace: bool = True,
) -> None:
    """Write a checkpoint folder whole: at any moment the old one, the new one, or none is there.

    ``state`` holds strings, finite numbers, lists and dicts. The same arguments give the same bytes. Raises
    InputError when the folder exists and ``replace`` is false, or when it cannot be written.
    """
    for name in class_names or ():
        if "\n" in name or "\r" in name:
            raise InputError(f"{folder}: class name {name!r} has a line break; one line is accepted")
    text = json.dumps(state, indent=1, sort_keys=True, allow_nan=False, default=_plain_number) + "\n"
    sets = {"model": weights, **({} if optimizer is None else {"optimizer": optimizer})}
    for name in extra or {}:
        if name in ("model", "optimizer"):
            raise ValueError(f"extra: {name!r} is the name of another file")
    sets.update(extra or {})
    with atomic_folder(Path(folder), replace=replace) as temporary:
        for name, tensors in sets.items():
            safetensors_io.write_safetensors(temporary / f"{name}.safetensors", tensors)
        (temporary / STATE).write_text(text, encoding="utf-8")
        if recipe_text is not None:
            (temporary / RECIPE).write_text(recipe_text, encoding="utf-8")
        if class_names is not None:
            (temporary / CLASSES).write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")


def recover(folder: PathLike) -> None:
    """Finish or undo what killed ``save`` calls left inside ``folder`` (a stage's folder).

    Only the process that writes there may call this: another's unfinished file looks like a leftover.
    """
    for leftover in sorted(Path(folder).glob(".*.old")) + sorted(Path(folder).glob(".*.tmp")):
        name = leftover.name[1:-4]  # .NAME.old, or .NAME.random.tmp
        recover_folder(leftover.parent / (name if leftover.suffix == ".old" else name.rpartition(".")[0]))


def load_training(folder: PathLike) -> TrainingState:
    """Everything ``save`` wrote, for resuming the run. Raises InputError for missing or broken parts."""
    folder = Path(folder)
    state = _read_state(folder)
    if state is None:
        raise InputError(f"{folder}: is not a checkpoint to resume from; {STATE} is missing")
    sets = {file.stem: safetensors_io.read_safetensors(file) for file in sorted(folder.glob("*.safetensors"))}
    if "model" not in sets:
        raise InputError(f"{folder}: is not a checkpoint to resume from; {MODEL} is missing")
    return TrainingState(sets.pop("model"), sets.pop("optimizer", None), sets, state)


class Found(NamedTuple):
    """What a path holds for a network: the weights, and in which words it was told ("" for ours).

    ``library``: who calls the parameters so. ``entry``: under which key of a training script's dict they were.
    """

    weights: Arrays
    library: str = ""
    entry: str = ""

    def __str__(self) -> str:
        """For a line that says where weights come from."""
        names = f"names of {self.library}" if self.library else ""
        return ", ".join(filter(None, (f"its {self.entry}" if self.entry else "", names)))


def read_weights(path: PathLike, network: Any = None) -> Arrays:
    """State-dict key -> float32 array (other kinds of numbers stay what they are), from any accepted form.

    Accepted: a ``.safetensors``, ``.pdparams`` or ``.pth`` file; a checkpoint folder; a stage's folder (its ``best``,
    else its ``final``); the 2018 release's persistables, a folder or one combined file, for which
    ``network.release_names()`` says which variable is which; weights published elsewhere under the names that
    ``network.published_names()`` gives, where the network has it, or under those of a library that
    ``urnet.checkpoints.foreign`` knows. float64, float16 and bfloat16 become float32. Raises InputError.
    """
    return find_weights(path, network).weights


def find_weights(path: PathLike, network: Any = None) -> Found:
    """As ``read_weights``, and whose names the parameters had."""
    kind, place = locate(path)
    entry = ""
    if kind == "checkpoint":
        weights = safetensors_io.read_safetensors(place / MODEL)
    elif kind == "safetensors":
        weights = safetensors_io.read_safetensors(place)
    elif kind == "torch":
        weights, entry = torch_files.read_state_dict(place)
    elif kind == "pdparams":
        weights = pdparams.read_arrays(place)
    else:
        if not hasattr(network, "release_names"):
            raise InputError(
                f"{path}: looks like a checkpoint of the 2018 release, which exists only for "
                "ResNeXt50/101/152_32x4d; accepted: a .safetensors or .pdparams file or a checkpoint folder"
            )
        names = network.release_names()
        read = fluid.read_folder if place.is_dir() else fluid.read_combined
        variables = read(place, names.values())
        weights = {key: variables[name] for key, name in names.items()}
    library = ""
    if network is not None:
        try:
            library, weights = foreign.for_network(weights, network)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return Found({key: safetensors_io.as_float32(value) for key, value in weights.items()}, library, entry)


def describe(path: PathLike) -> CheckpointInfo:
    """What ``path`` holds, with the recipe, class names and state that are next to the weights.

    Precedence of recipe and classes is the caller's: flags > checkpoint > default. A published file is known by its
    bytes, wherever it is (``CheckpointInfo.word``); next to timm's files its config.json is read. Raises InputError.
    """
    if imagenet.is_word(path):
        return _of_word(str(path))
    kind, place = locate(path)
    folder = place if kind == "checkpoint" else place.parent
    if kind in ("pdparams", "torch") and not (folder / STATE).is_file():
        word = published.word_of(place)
        if word:
            return _of_word(word)
    config = None if kind == "fluid" or (folder / STATE).is_file() else timm_config.read_config(folder)
    if config is not None:
        names = imagenet.class_names() if config.imagenet else config.class_names
        belonging = _belonging(config.network, config.n_classes, config.transform)
        told_by = f"its {timm_config.FILE}"
        return CheckpointInfo(kind, folder, belonging, names, None, told_by=told_by, imagenet=config.imagenet)
    if kind != "checkpoint" and (kind == "fluid" or not (folder / STATE).is_file()):
        return CheckpointInfo(kind, place if kind == "fluid" and place.is_dir() else None, None, None, None)
    recipe = load_recipe(folder / RECIPE) if (folder / RECIPE).is_file() else None
    if recipe is not None and recipe.data.n_classes is None:
        raise InputError(
            f"{folder / RECIPE}: data.n_classes: found null; the recipe of a checkpoint must give the number"
        )
    names = _read_lines(folder / CLASSES) if (folder / CLASSES).is_file() else None
    return CheckpointInfo(kind, folder, recipe, names, _read_state(folder))


def _of_word(word: str) -> CheckpointInfo:
    """What published weights are; whether their file is here is not looked at."""
    network = imagenet.network_of(word)
    recipe = _belonging(network, imagenet.N_CLASSES, imagenet.transform_of(network))
    names = imagenet.class_names()
    return CheckpointInfo("published", None, recipe, names, None, word, told_by="as published", imagenet=True)


def _belonging(network: str, n_classes: int, transform: Transform) -> Recipe:
    """What belongs to weights that were not trained here, in the form of a recipe without stages."""
    return Recipe(imagenet.WORD, Data(root="", n_classes=n_classes), Model(network), (), transform)


def _read_state(folder: Path) -> dict | None:
    if not (folder / STATE).is_file():
        return None
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{folder / STATE}: cannot be read ({error})") from None
    if not isinstance(state, dict):
        raise InputError(f"{folder / STATE}: a JSON object is needed, found {type(state).__name__}")
    return state


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def _plain_number(value: Any) -> Any:
    """NumPy's numbers as Python's, for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"state: {type(value).__name__} cannot be kept; strings, numbers, lists and dicts can")
