"""Weights in and out: checkpoint folders, safetensors, .pdparams and the 2018 release's files.

A checkpoint is a folder: ``model.safetensors`` (state-dict key -> array), ``state.json``, ``recipe.yaml`` and
``classes.txt`` (a line a class), for resuming also ``optimizer.safetensors`` and further sets of arrays such
as ``ema.safetensors``. It is written whole. Reading executes nothing that a file says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from urnet.checkpoints import fluid, foreign, not_weights, pdparams, published, safetensors_io, torch_files
from urnet.checkpoints.load import load_into
from urnet.config.recipe import Data, Model, Recipe, load_recipe
from urnet.core.atomic_files import atomic_folder, recover_folder
from urnet.core.checks import InputError

__all__ = [
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
]
Arrays = dict[str, np.ndarray]
PathLike = str | Path
Kind = Literal["safetensors", "pdparams", "torch", "checkpoint", "fluid", "published"]
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
RECIPE, CLASSES = "recipe.yaml", "classes.txt"
_ENDINGS: dict[str, Kind] = {".safetensors": "safetensors", ".pdparams": "pdparams", ".pth": "torch", ".pt": "torch"}
ACCEPTED = "a checkpoint folder, a .safetensors, .pdparams or .pth file, the 2018 release's folder, or imagenet:NETWORK"


@dataclass(frozen=True)
class CheckpointInfo:
    """What a path holds. ``folder`` is the checkpoint's own (None for a file without one).

    ``word``: what published weights are called (``urnet.checkpoints.published``); their ``recipe`` has no stages and
    says which network they are of, for how many classes, and how its pixels are prepared.
    """

    kind: Kind
    folder: Path | None
    recipe: Recipe | None
    class_names: list[str] | None
    state: dict | None
    word: str = ""

    @property
    def classes_file(self) -> Path:
        """Where the names of the classes are read."""
        return published.CLASSES if self.word else (self.folder or Path()) / CLASSES

    @property
    def told_by(self) -> str:
        """Where the network's name and classes are from, for a message."""
        return "as published" if self.word else "its recipe.yaml"


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
                f"{path}: taken for a checkpoint of the 2018 release, which only ResNeXt50/101/152_32x4d "
                "have; accepted is a .safetensors or .pdparams file or a checkpoint folder"
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
    """What ``path`` holds, with the recipe, class names and state that are beside the weights.

    Precedence of recipe and classes is the caller's: flags > checkpoint > default. A published file is known by its
    bytes, wherever it is (``CheckpointInfo.word``). Raises InputError.
    """
    if published.is_word(path):
        return _of_word(str(path))
    kind, place = locate(path)
    folder = place if kind == "checkpoint" else place.parent
    if kind in ("pdparams", "torch") and not (folder / STATE).is_file():
        word = published.word_of(place)
        if word:
            return _of_word(word)
    if kind != "checkpoint" and (kind == "fluid" or not (folder / STATE).is_file()):
        return CheckpointInfo(kind, place if kind == "fluid" and place.is_dir() else None, None, None, None)
    recipe = load_recipe(folder / RECIPE) if (folder / RECIPE).is_file() else None
    if recipe is not None and recipe.data.n_classes is None:
        raise InputError(f"{folder / RECIPE}: data.n_classes: found null; a checkpoint's recipe has the number")
    names = _read_lines(folder / CLASSES) if (folder / CLASSES).is_file() else None
    return CheckpointInfo(kind, folder, recipe, names, _read_state(folder))


def _of_word(word: str) -> CheckpointInfo:
    """What published weights are; whether their file is here is not looked at."""
    network = published.network_of(word)
    data = Data(root="", n_classes=published.N_CLASSES)
    recipe = Recipe(published.WORD, data, Model(network), (), published.transform_of(network))
    names = [name for _, name in published.classes()]
    return CheckpointInfo("published", None, recipe, names, None, word)


def locate(path: PathLike) -> tuple[Kind, Path]:
    """The kind of a path (see ``CheckpointInfo``), and the file or folder that holds the weights.

    Published weights (``imagenet:NETWORK``, as text) are downloaded where they are not on this machine. Raises
    InputError where ``path`` holds none, or several.
    """
    path = _survivor(published.weights_of(path).file_here if published.is_word(path) else Path(path))
    if path.is_file():
        kind = _ENDINGS.get(path.suffix, "fluid")
        if kind != "safetensors" and torch_files.is_torch_file(path):  # whatever it is called
            return "torch", path
        other = not_weights.what_file(path)
        if other:
            raise InputError(f"{path}: {other}")
        if kind == "fluid" and not fluid.may_be_variable(path):
            raise InputError(f"{path}: is no file of weights; accepted: {ACCEPTED}")
        return kind, path
    if not path.is_dir():
        beside = [path.name + end for end in _ENDINGS if Path(f"{path}{end}").is_file()]
        hint = f" ({beside[0]} is there)" if beside else ""
        raise InputError(f"{path}: does not exist{hint}; accepted: {ACCEPTED}")
    for folder in (path, _survivor(path / "best"), _survivor(path / "final")):
        if (folder / MODEL).is_file():
            return "checkpoint", folder
    if (path / STATE).is_file():
        raise InputError(f"{path}: is a checkpoint folder without {MODEL}")
    _refuse_several(path)
    other = not_weights.what_folder(path, MODEL, tuple(_ENDINGS))
    if other:
        raise InputError(f"{path}: {other}")
    return "fluid", path


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
            raise InputError(f"{path}: {what}; name one of its folders: {names} (the newest is {places[-1]})")


def taken_inside(path: PathLike) -> str:
    """Which folder inside ``path``, a stage's, is taken for its weights, in words; "" where it is itself one."""
    if published.is_word(path):
        return ""
    kind, place = locate(path)
    inside = kind == "checkpoint" and place.absolute() != Path(path).absolute() and Path(path).is_dir()
    why = {"best": "the weights of the best evaluation", "final": "the last weights"}.get(place.name, "")
    return f"{path}: its {place.name}/ is taken{', ' + why if why else ''}" if inside else ""


def _survivor(path: Path) -> Path:
    """``path``, or what a save killed half-way left of it aside."""
    old = path.parent / f".{path.name}.old"
    return old if not path.exists() and (old / MODEL).is_file() else path


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
