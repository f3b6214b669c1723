"""What the training of one stage is given, and the loaders that follow from it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from urnet.config.duration import Duration
from urnet.config.recipe import Recipe
from urnet.config.stage import Stage
from urnet.core.checks import InputError
from urnet.core.seeds import draw_key
from urnet.data.images.views import Kind
from urnet.data.kept.kept_rows import KeptLoader, KeptRows
from urnet.data.lists.image_list import ImageList
from urnet.data.loading.loader import ImageSource, Loader
from urnet.data.sampling.bag_sampler import BagSampler
from urnet.data.sampling.curriculum_sampler import CurriculumSampler
from urnet.data.sampling.epoch_sampler import EpochSampler
from urnet.data.sampling.sampler import Sampler
from urnet.data.sampling.some_rows import SomeRows
from urnet.data.table.table import Table
from urnet.nn.network import Network
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from urnet.training.passes import Passes, view_batch

LAST_STEP = (1 << 32) - 1  # draw keys of batch-norm batches count down from here, those of steps up from 0


@dataclass(frozen=True)
class SoftTargets:
    """Each row's target distribution: its classes and their probabilities."""

    index: np.ndarray  # int (N, k)
    prob: np.ndarray  # float (N, k)


@dataclass(frozen=True)
class KeptImages:
    """What the frozen part of a network made of the training images, in several views, and of the validation's."""

    train: KeptRows
    validation: KeptRows
    made: int = 0  # training images that passed the frozen part for it


def make_sampler(
    recipe: Recipe,
    stage: Stage,
    labels: np.ndarray,
    sampling_weight: np.ndarray | None = None,
    subset: np.ndarray | None = None,
    drawn: np.ndarray | None = None,
) -> Sampler:
    """What draws a stage's batches: an EpochSampler, a BagSampler, or a CurriculumSampler of the ``subset`` (N,)
    that each row is in. ``drawn`` bool (N,): the others are never drawn, and count nowhere; None: all are."""
    if drawn is not None and not drawn.all():
        rows = np.flatnonzero(drawn)
        some = (None if values is None else values[rows] for values in (sampling_weight, subset))
        return SomeRows(make_sampler(recipe, stage, labels[rows], *some), rows, len(labels))
    if stage.subsets is not None and subset is not None:
        try:
            return CurriculumSampler(
                labels,
                subset=subset,
                parts=stage.subsets.parts,
                seed=recipe.seed,
                stage=stage.name,
                n_classes=recipe.data.n_classes,
            )
        except InputError as error:
            raise InputError(f"stages.{stage.name}.subsets: {error}") from None
    settings: dict[str, Any] = {
        "sampling_weight": sampling_weight,
        "balance": stage.balance,
        "seed": recipe.seed,
        "stage": stage.name,
        "n_classes": recipe.data.n_classes,
    }
    if stage.bags is None:
        return EpochSampler(labels, **settings)
    return BagSampler(labels, size=stage.bags.size, **settings)


def check_division(stage: Stage, n_processes: int, n_rows: int | None) -> None:
    """Raise InputError unless every micro-batch of each of ``n_processes`` is as large, full and of whole
    bags; ``n_rows``: of the table, None where it is not known yet."""
    at, size = (f"stages.{stage.name}.batch_size: found {stage.batch_size}", stage.bags.size if stage.bags else 1)
    unit = n_processes * stage.accumulate * size
    if stage.batch_size % unit:
        parts = f"{n_processes} processes x accumulate {stage.accumulate}" + (f" x bags.size {size}" * (size > 1))
        raise InputError(f"{at}; a multiple of {unit} is accepted, as it is divided among {parts}")
    if n_processes > 1 and n_rows is not None and n_rows < stage.batch_size:
        raise InputError(f"{at}, but there are {n_rows} rows; several processes need full batches")


@dataclass(frozen=True)
class StageJob:
    """One stage's work: what is trained, on which rows with which weights, and where results go."""

    recipe: Recipe
    stage: Stage
    network: Network  # the bare network with the weights it starts from
    amp: str | None  # None | "float16" | "bfloat16"
    table: Table
    labels: np.ndarray  # int (N,)
    loss_weight: np.ndarray  # float32 (N,)
    sampler: Sampler
    validation: ImageList
    folder: Path  # OUTPUT/NAME/STAGE
    curves: Path  # VisualDL's folder of the run
    earlier_curves: tuple[Path, ...] = ()  # curves.csv of the stages before, in their order
    targets: SoftTargets | None = None  # None: the labels
    certain: np.ndarray | None = None  # bool (N,): a person decided that the label is right; None: nobody decided
    made_by: str = ""  # hash of the stage's inputs, noted next to the columns that training writes
    group: ProcessGroup = SINGLE_PROCESS
    passes_before: Passes | None = Passes()  # of all processes, before the training; None: nobody counted them
    kept: KeptImages | None = None  # what a part of the network is trained on; None: images, the whole network

    @property
    def steps_per_epoch(self) -> int:
        return self.sampler.steps_per_epoch(self.stage.batch_size)

    def steps(self, duration: Duration) -> int:
        """A duration in steps, at least 0."""
        return duration.steps(self.steps_per_epoch, self.stage.batch_size)

    @property
    def view_batch(self) -> int:
        """Images that pass the network at once where nothing is learned, for any number of processes."""
        return view_batch(self.stage)

    def training_loader(self, start: int, total: int) -> Loader | KeptLoader:
        """The batches of the steps ``start`` to ``total``, across the epochs."""
        if self.kept is not None:
            return KeptLoader(self.kept.train, self._steps(start, total), random=True)
        steps, data = self._steps(start, total), self.recipe.data
        if data.decoder == "dali":
            from urnet.data.loading.dali_loader import DaliLoader

            return DaliLoader(self.source(train=True), steps, workers=data.workers, prefetch=data.prefetch)
        return self._loader(steps, train=True, views=self.step_views)

    @property
    def step_views(self) -> int | Sequence[Kind]:
        """Random views of each row that a step is given: the images of its batch are (B, S, S, 3), of several views
        (B, V, S, S, 3). Their number, all made as the recipe's ``transform`` says, or the kind of each
        (``ImageSource``)."""
        return 1 if self.stage.dividemix is None else self.stage.dividemix.views

    def _steps(self, step: int, total: int) -> Iterator[tuple[int, np.ndarray]]:
        while step < total:
            epoch, first = divmod(step, self.steps_per_epoch)
            shares = self.sampler.batches(epoch, self.stage.batch_size, first, self.group.rank, self.group.size)
            for rows in shares:
                if step == total:
                    return
                yield draw_key(self.stage.name, step), rows
                step += 1

    def rows_of(self, step: int) -> np.ndarray:
        """The rows of one step, those of all processes."""
        epoch, first = divmod(step, self.steps_per_epoch)
        return next(iter(self.sampler.batches(epoch, self.stage.batch_size, first)))

    def bn_loader(self, n_batches: int) -> Loader:
        """Training images for batch-norm statistics: this process's share of ``n_batches`` batches, the same
        ones every time."""
        first = enumerate(itertools.islice(self.sampler.batches(0, self.view_batch), n_batches))
        keys = [(draw_key(self.stage.name, LAST_STEP - k), rows) for k, rows in first]
        return self._loader(self._share(keys), train=True)

    def validation_loader(self) -> Loader | KeptLoader:
        """This process's share of the validation images, row = place in their list."""
        rows = np.arange(len(self.validation))
        return self.plain_loader(rows, train=False)

    def plain_loader(self, rows: np.ndarray, *, train: bool) -> Loader | KeptLoader:
        """This process's share of some training images, or validation images, in the evaluation's view."""
        batches = [(0, rows[i : i + self.view_batch]) for i in range(0, len(rows), self.view_batch)]
        if self.kept is not None:
            return KeptLoader(self.kept.train if train else self.kept.validation, self._share(batches))
        data, source = self.recipe.data, self.source(train=train, plain=True)
        return Loader(source, self._share(batches), workers=data.workers, prefetch=data.prefetch)

    def _share(self, batches: list[tuple[int, np.ndarray]]) -> list[tuple[int, np.ndarray]]:
        return batches[self.group.rank :: self.group.size]

    def unreadable(self, row: int) -> bool:
        """Whether the image of a training row cannot be read (now, or when it was looked at for what is kept)."""
        if self.kept is not None:
            return not self.kept.train.readable[row]
        return self.source(train=True)(row, 0)[0] is None

    def source(self, *, train: bool, plain: bool = False, views: int | Sequence[Kind] = 1) -> ImageSource:
        """The training images, or those for validation, by row; ``plain``: in the evaluation's view, which these have
        anyway, else in so many random ``views``."""
        data = self.recipe.data
        return ImageSource(
            self.table.path if train else self.validation.path,
            self.recipe.transform,
            train=train and not plain,
            seed=self.recipe.seed,
            exif=data.exif,
            max_pixels=data.max_pixels,
            reduced=self.recipe.transform.reduced_decode == "auto",
            train_views=views,
        )

    def _loader(self, batches: Any, *, train: bool, views: int | Sequence[Kind] = 1) -> Loader:
        data = self.recipe.data
        source = self.source(train=train, views=views)
        return Loader(source, batches, workers=data.workers, prefetch=data.prefetch)
