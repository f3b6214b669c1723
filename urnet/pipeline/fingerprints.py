"""What decides the outcome of each stage of a recipe, key by key, and a hash of it.

A stage whose inputs are the same as when it ran need not run again; one whose inputs differ must, and the
keys that differ say why. The outcome of an earlier stage enters as the hash of that stage's own inputs, a
file as the hash of its bytes. Of images the names and labels count, not what is in the files: nobody reads sixteen
million of them to find out, and one that is mended under its name must not undo a training.

The validation images are separate from the other inputs: they decide ``best/`` and what is reported of a stage, so
that it runs again where they change, but neither its last weights nor any column, which all else builds on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from urnet.checkpoints import checkpoint
from urnet.checkpoints.imagenet import is_word
from urnet.checkpoints.published import published
from urnet.config.recipe import Recipe, active_stages, recipe_hash, recipe_tree
from urnet.config.stage import Evidence, Stage
from urnet.core.atomic_files import file_hash
from urnet.core.counted import plural
from urnet.data.lists.image_list import ImageList
from urnet.data.lists.query_texts import read_query_texts
from urnet.data.table.table import BLOCK, Table
from urnet.pipeline.registry import columns_of, method_of, target_columns

VALIDATION = "validation"  # in a stage's inputs.json: describe_validation; not in those of older runs
DECISIONS = "decisions"  # what a person decided (``Decisions.identity``); the table's hash has it, this names it
NAMED = ("name", "start", "measure.network")  # keys of a stage that enter as what they stand for
MEASURED = ("measure.views", "measure.front")  # keys of a measurement that are newer than others

Inputs = dict[str, Any]


class Fingerprints:
    """The inputs of all stages of a recipe that are switched on; ``home`` is the run's folder.

    ``of[NAME]``: flat key -> value for the stage's weights; ``columns[NAME]``: hash of what decides the
    columns it writes (a stage without a reweighting is not there). ``table`` None: it is not built yet.
    ``validation``: what is recorded of the validation images; None where they are not known.
    """

    def __init__(self, recipe: Recipe, home: Path, table: Table | None, images: ImageList | None = None) -> None:
        self.recipe, self.home, self.table = recipe, home, table
        self.validation = None if images is None else describe_validation(images)
        self._common = _common(recipe, table)
        self.of: dict[str, Inputs] = {}
        self.columns: dict[str, str] = {}
        self.measured: dict[str, str] = {}  # what each reweighting measured with, "" where it did not
        self.measurement: dict[str, str] = {}  # hash of what decides the measurement
        self.measures_kept: set[str] = set()  # stages that measure from kept features
        self.needs: dict[str, set[str]] = {}  # the stages whose outcome or columns each stage builds on
        self._makers: dict[str, str] = {}  # column -> hash of what decided it
        self._writers: dict[str, str] = {}  # column -> the stage that writes it
        before: Stage | None = None
        for stage in active_stages(recipe):
            self._enter(stage, before)
            before = stage

    def _enter(self, stage: Stage, before: Stage | None) -> None:
        tree = recipe_tree(stage, added_keys=False, free_keys=False)
        settings = {key: value for key, value in _flat(tree, "") if key not in NAMED}
        needs = self.needs[stage.name] = set()
        start = self._source(stage.start, before, needs)
        made: Inputs = {}
        if stage.reweight is not None:
            self._enter_columns(stage, settings, before)
            made = {"columns": self.columns[stage.name]}
        used = {name: self._maker(name, needs) for name in used_columns(stage)}
        self.of[stage.name] = {
            **self._common,
            **{f"stages.{stage.name}.{key}": value for key, value in settings.items()},
            "start": start,
            **{f"column {name}": maker for name, maker in used.items()},
            **made,
        }
        self._writers.update(dict.fromkeys(columns_of(stage), stage.name))
        needs.discard(stage.name)

    def _enter_columns(self, stage: Stage, settings: Inputs, before: Stage | None) -> None:
        method, needs = method_of(stage), self.needs[stage.name]
        assert method is not None
        mine = tuple(method.columns_of(stage.reweight))
        own = {key: value for key, value in settings.items() if key.startswith("reweight")}
        own["version"] = method.version
        if method.sees_sampling:
            own.update({key: value for key, value in settings.items() if _sampling(key)})
            others = (name for name in sampling_columns(stage) if name not in mine)
            own.update({f"column {name}": self._maker(name, needs) for name in others})
        self.measured[stage.name] = ""
        if method.needs_features:
            self.measured[stage.name] = self._source(stage.measure.network, before, needs)
            measure = [self.measured[stage.name], stage.measure.batch_size, stage.measure.top_k, stage.amp]
            if measures_kept(stage, before):
                self.measures_kept.add(stage.name)
                measure.append("kept")
            added = {key: value for key, value in settings.items() if key in MEASURED}  # only where they are set
            if added:
                measure.append(added)
            self.measurement[stage.name] = recipe_hash({**self._common, "measure": measure})
            own["measure"], own["texts"] = measure, self._texts(method.evidence_of(stage.reweight))
        made_by = recipe_hash({**self._common, **own})
        self.columns[stage.name] = made_by
        self._makers.update(dict.fromkeys(mine, made_by))
        self._writers.update(dict.fromkeys(mine, stage.name))

    def _texts(self, evidence: Evidence | None) -> str:
        """A hash of the texts outside the table that may be read: classes, queries, word vectors."""
        if self.table is None or evidence is None:
            return ""
        digest = hashlib.sha256()
        found = read_query_texts(self.recipe.data, self.table.class_names)
        for text in (*found.query, *found.classes):
            digest.update(f"{text}\0".encode())
        words = evidence.word_vectors
        if words is not None and Path(words).is_file():
            digest.update(file_hash(Path(words)).encode())
        return digest.hexdigest()[:16]

    def recorded(self, stage: str) -> Inputs:
        """What a stage's folder keeps of its inputs."""
        return self.of[stage] if self.validation is None else {**self.of[stage], VALIDATION: self.validation}

    def has_column(self, name: str) -> bool:
        """Whether the table has a column; true as long as it is not built."""
        return self.table is None or name in self.table.columns

    def columns_fit(self, stage: Stage) -> bool:
        """Whether the table holds what the stage's reweighting would write now."""
        method = method_of(stage)
        if method is None or self.table is None:
            return True
        file = method.file_of(stage.reweight)
        there = f"{file}.arrow" in self.table.files
        return there and self.table.describe(file)["recipe_hash"] == self.columns[stage.name]

    def _maker(self, column: str, needs: set[str]) -> str:
        """What decided a column: a stage of this recipe, or whoever wrote it to the table before."""
        if column in self._writers:
            needs.add(self._writers[column])
        if column in self._makers:
            return self._makers[column]
        if self.table is None or column not in self.table.columns:
            return "unknown"
        file = self.table.file_of(column)
        return "base" if file == "base" else self.table.describe(file)["recipe_hash"]

    def _source(self, source: str, before: Stage | None, needs: set[str]) -> str:
        """What a stage starts from or measures with, named and hashed; a stage is added to ``needs``."""
        if source == "scratch" or (source == "previous" and before is None):
            return "scratch"
        if source == "previous":
            assert before is not None
            needs.add(before.name)
            return f"stage {before.name} {recipe_hash(self.of[before.name])}"
        own = own_stage(Path(source), self.home, tuple(self.of))
        if own is not None:
            needs.add(own)
            return f"{Path(source).name} of stage {own} {recipe_hash(self.of[own])}"
        if is_word(source):
            return f"published {published(source).identity}"
        return f"file {weights_hash(source)}"


def measures_kept(stage: Stage, before: Stage | None) -> bool:
    """Whether a stage's reweighting takes features that are kept, instead of a pass over the images of its own."""
    previous = before is not None and stage.measure.network == "previous"
    return stage.train != "all" or (previous and before is not None and before.train == "classifier")


def describe_validation(images: ImageList) -> Inputs:
    """What is recorded of validation images: where they are from, how many, hashes of their names and labels."""
    names = hashlib.sha256()
    for start in range(0, len(images), BLOCK):
        names.update("".join(f"{name}\0" for name in images.paths[start : start + BLOCK]).encode())
    labels = hashlib.sha256(images.labels.astype("<i4").tobytes())
    return {
        "from": images.source or images.root,
        "images": len(images),
        "labels": labels.hexdigest()[:16],
        "names": names.hexdigest()[:16],
        "root": images.root,
    }


def validation_changes(then: Inputs, now: Inputs) -> list[str]:
    """What differs between two of ``describe_validation``, in one phrase; [] for nothing, wherever the list is kept."""
    differing = [key for key in ("names", "labels", "root") if then.get(key) != now[key]]
    if not differing:
        return []
    said = f"{plural(then.get('images', 0), 'image')} then, {now['images']} now"
    if then.get("images") == now["images"]:
        said += f", of other {' and '.join(differing)}"
    return [f"the validation images changed: {now['from']}: {said}"]


def used_columns(stage: Stage) -> list[str]:
    """The columns of the table that a stage trains with."""
    targets = [] if stage.targets == "given" else list(target_columns(stage.targets))
    return [*stage.loss_weight, *sampling_columns(stage), *targets]


def sampling_columns(stage: Stage) -> list[str]:
    """The columns that decide which rows a stage draws."""
    return [*stage.sampling_weight, *([] if stage.subsets is None else [stage.subsets.column])]


def own_stage(path: Path, home: Path, stages: tuple[str, ...]) -> str | None:
    """The stage of this very run that writes ``path``; None for any other path."""
    path, home = path.absolute(), home.absolute()
    if home not in path.parents:
        return None
    name = path.relative_to(home).parts[0]
    return name if name in stages else None


def weights_hash(path: str | Path) -> str:
    """SHA-256 (16 digits) of a checkpoint's weights. Raises InputError where ``path`` is none."""
    kind, place = checkpoint.locate(path)
    if kind == "checkpoint":
        place = place / checkpoint.MODEL
    if place.is_file():
        return file_hash(place)[:16]
    digest = hashlib.sha256()
    for file in sorted(item for item in place.iterdir() if item.is_file()):
        digest.update(f"{file.name} {file_hash(file)}\n".encode())
    return digest.hexdigest()[:16]


def _common(recipe: Recipe, table: Table | None) -> Inputs:
    """What all stages depend on: data, transforms, network and seed."""
    tree = recipe_tree(recipe, added_keys=False, free_keys=False)
    del tree["stages"]  # they enter one by one
    common = {**dict(_flat(tree, "")), "table": "" if table is None else table.base_hash[:16]}
    decisions = "" if table is None else table.metadata.get("decisions", "")
    return {**common, DECISIONS: decisions} if decisions else common


def _sampling(key: str) -> bool:
    return key == "balance" or key.startswith(("sampling_weight", "subsets"))


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _flat(item, f"{key}.{name}" if key else name)
    else:
        yield key, value
