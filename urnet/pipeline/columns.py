"""The columns a stage adds to the table: what is measured for them, which reweighting makes them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from urnet.config.baselines import Curriculum, Relabel
from urnet.config.recipe import Recipe, Stage, active_stages, recipe_hash, recipe_tree
from urnet.config.reweight import WEIGHTS, Cluster, Evidence, Instance, Label, column_file
from urnet.core.checks import InputError
from urnet.core.signals import GracefulStop
from urnet.data.loading.loader import ImageSource
from urnet.data.sampling.sampler import Sampler
from urnet.data.table.table import Table
from urnet.features.extract import FeatureJob
from urnet.features.shards import ChosenRows
from urnet.features.store import Measurement
from urnet.pipeline import row_weights
from urnet.pipeline.baseline_columns import curriculum_columns, relabel_columns, subset_of, subset_weight
from urnet.pipeline.evidence import StageEvidence
from urnet.pipeline.fingerprints import Fingerprints
from urnet.reweight.class_size import class_size, target_size
from urnet.reweight.cluster import cluster
from urnet.reweight.evidence.class_shards import join, rows_of
from urnet.reweight.evidence.projection import fit_projection
from urnet.reweight.evidence.ranks import class_ranks
from urnet.reweight.instance import instance
from urnet.reweight.label import label
from urnet.reweight.sampling_weight import sampling_weight
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from urnet.training.stage_job import make_sampler

Columns = dict[str, np.ndarray]


def check_columns(recipe: Recipe, stage: Stage, table: Table | None, inputs: Fingerprints) -> None:
    """Raise InputError for columns that could not be computed or written when their turn comes."""
    if stage.reweight is not None and stage.reweight.method != "class_size":
        _check_measure(recipe, stage)
    if recipe.data.table is not None and table is not None:
        if stage.reweight is not None:
            _check_free(stage, table, column_file(stage.reweight), inputs.columns[stage.name])
        if stage.bags is not None:
            _check_free(stage, table, "bag", recipe_hash(inputs.of[stage.name]))


def _check_measure(recipe: Recipe, stage: Stage) -> None:
    at = f"stages.{stage.name}"
    if stage.measure.network == "previous" and stage == active_stages(recipe)[0]:
        raise InputError(f"{at}.measure.network: found 'previous', but no stage is before it; accepted: a checkpoint")
    evidence = getattr(stage.reweight, "evidence", None)
    words = None if evidence is None else evidence.word_vectors
    if words is not None and not Path(words).is_file():
        raise InputError(
            f"{at}.reweight.evidence.word_vectors: {words} is no file; accepted: a word2vec or GloVe text file, or null"
        )


def _check_free(stage: Stage, table: Table, file: str, made_by: str) -> None:
    """A shared table may hold the stage's columns only if they were made the same way."""
    if f"{file}.arrow" in table.files and table.describe(file)["recipe_hash"] != made_by:
        raise InputError(
            f"{table.folder}/{file}.arrow: was written by stage {table.describe(file)['stage']} with other "
            f"settings than those of stages.{stage.name}; use another data.table"
        )


class ColumnWriter:
    """Computes a stage's columns and writes them, unless the table has them already, made the same way."""

    def __init__(
        self,
        recipe: Recipe,
        stage: Stage,
        table: Table,
        inputs: Fingerprints,
        home: Path,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        assert stage.reweight is not None
        self.group = group
        self.recipe, self.stage, self.table = recipe, stage, table
        self.made_by, self.measured = inputs.columns[stage.name], inputs.measured[stage.name]
        self.fingerprint = inputs.measurement.get(stage.name, "")
        self.settings, self.file = stage.reweight, column_file(stage.reweight)
        self.folder = home / "measure" / stage.name
        self.labels, self.n_classes = table.column("label"), recipe.data.n_classes

    def write(self, build_network: Callable[[], Any], amp: str | None) -> None:
        """``build_network()`` returns the network that measures, with its weights; not every method asks.

        Of several processes all measure their share, process 0 writes, and all have the new columns then.
        Raises Interrupted after SIGTERM or Ctrl-C: the measurement so far is kept and goes on the next time.
        """
        made = f"{self.file}.arrow" in self.table.files and self._described() == self.made_by
        self.group.barrier()  # until all have looked
        if not made:
            columns = (
                self._class_size() if self.settings.method == "class_size" else self._of_measured(build_network, amp)
            )
            suffix = self.settings.suffix
            with self.group.main_first():
                if not self.group.is_main:
                    self.table.refresh()
                    return
                self.table.write(
                    self.file,
                    {name + suffix: values for name, values in columns.items()},
                    stage=self.stage.name,
                    recipe_hash=self.made_by,
                    checkpoint=self.measured,
                    replace=True,
                )
        if self.group.is_main and not self.stage.measure.keep and self.folder.exists():
            shutil.rmtree(self.folder)
            with contextlib.suppress(OSError):  # other stages' measurements are still there
                self.folder.parent.rmdir()

    def _described(self) -> str:
        return self.table.describe(self.file)["recipe_hash"]

    def _class_size(self) -> Columns:
        settings, sampler = recipe_tree(self.settings), self._sampler()
        share = sampler.sampled_share()
        if self.stage.subsets is not None:  # a subset's loss weight is part of how much its rows count
            seen = sampler.expected_draws() * subset_weight(self.stage, self.table)
            share = np.bincount(self.labels, seen, self.n_classes) / seen.sum()
        chosen = {key: settings[key] for key in ("power", "cap", "beta")}
        return class_size(self.labels, self.n_classes, sampled_share=share, **chosen)

    def _sampler(self, made: Columns | None = None) -> Sampler:
        """How the stage will draw the rows, with columns just ``made``: not to correct a fault twice."""
        weight = row_weights.sampling_weight(self.stage, self.table, made)
        subset = None if self.stage.subsets is None else subset_of(self.stage, self.table)
        return make_sampler(self.recipe, self.stage, self.labels, weight, subset)

    # --- what needs the images

    def _of_measured(self, build_network: Callable[[], Any], amp: str | None) -> Columns:
        measured = self._measure(build_network, amp)
        rows = np.flatnonzero(measured.readable)
        settings, empty = self.settings, {"cluster": -1, "suggested": -1}
        labels = self.labels[rows]
        if isinstance(settings, Cluster):
            columns = self._cluster(settings, measured, rows)
        elif isinstance(settings, Curriculum):
            columns = self._curriculum(settings, measured, rows)
            empty["subset"] = -1  # never drawn
        elif not self.group.is_main:
            return {}
        elif isinstance(settings, Instance):
            columns = self._instance(settings, measured, rows)
        elif isinstance(settings, Label):
            columns = self._label(settings, measured, rows)
        else:
            assert isinstance(settings, Relabel)
            index, prob = (self._some(values, rows) for values in (measured.index, measured.prob))
            columns = relabel_columns(settings, labels, measured.given[rows], index, prob, self.n_classes)
        if not self.group.is_main:
            return {}
        complete = {name: self._for_all(values, rows, empty.get(name, 0)) for name, values in columns.items()}
        self._keep_classes(complete, rows)
        if "clean_label" in complete:  # an image that cannot be read keeps the label it was given
            complete["clean_label"] = np.where(measured.readable, complete["clean_label"], self.labels)
        return complete

    def _keep_classes(self, columns: Columns, rows: np.ndarray) -> None:
        """A class none of whose images could be read weighs 1 a row, as no class may be without mass.

        Its rows train nothing: an image that cannot be read has no weight in the loss.
        """
        gone = np.bincount(self.labels[rows], minlength=self.n_classes)[self.labels] == 0
        for name in set(columns) & set(WEIGHTS):
            columns[name][gone] = 1
        if "subset" in columns:
            columns["subset"][gone] = 0

    def _measure(self, build_network: Callable[[], Any], amp: str | None) -> Measurement:
        data, stage = self.recipe.data, self.stage
        source = ImageSource(
            self.table.path, self.recipe.transform, train=False, exif=data.exif, max_pixels=data.max_pixels
        )
        with GracefulStop() as stop:
            job = FeatureJob(
                source,
                self.labels,
                self.folder,
                fingerprint=self.fingerprint,
                base_hash=self.table.base_hash,
                k=stage.measure.top_k,
                batch_size=stage.measure.batch_size,
                workers=data.workers,
                prefetch=data.prefetch,
                max_bad=data.max_bad,
                amp=amp,
                stop=stop,
                replace=True,
                title=f"stage {stage.name}: measuring",
                rank=self.group.rank,
                world_size=self.group.size,
            )
            return job.run(build_network())

    def _for_all(self, values: np.ndarray, rows: np.ndarray, empty: float) -> np.ndarray:
        """Values of the measured ``rows`` as a column of all rows; an unreadable image has ``empty``."""
        if len(rows) == len(self.labels):
            return values
        column = np.full((len(self.labels), *values.shape[1:]), empty, values.dtype)
        column[rows] = values
        return column

    def _evidence(self, settings: Evidence, measured: Measurement, rows: np.ndarray) -> StageEvidence:
        features = self._some(measured.features, rows)
        return StageEvidence(self.recipe, settings, self.table, rows, features, self.stage.measure.top_k)

    def _some(self, values: Any, rows: np.ndarray) -> Any:
        return values if len(rows) == len(self.labels) else ChosenRows(values, rows)

    def _cluster(self, settings: Cluster, measured: Measurement, rows: np.ndarray) -> Columns:
        """Process 0 says how sure each label is and fits the PCA; all of them cluster their classes."""
        given, projection, features = None, None, self._some(measured.features, rows)
        if self.group.is_main:
            given = self._given(settings, measured, rows)
            projection = fit_projection(features, pca=settings.pca, seed=self.recipe.seed)
        given, projection = self.group.broadcast((given, projection))
        names = ("rows_per_cluster", "min_clusters", "max_clusters", "shrink", "power", "jobs")
        chosen = {name: getattr(settings, name) for name in names}
        chosen.update(seed=self.recipe.seed, projection=projection)
        return self._by_class(
            rows,
            features,
            lambda features, labels, own: cluster(features, labels, given[own], self.n_classes, **chosen),
        )

    def _given(self, settings: Cluster, measured: Measurement, rows: np.ndarray) -> np.ndarray:
        """p_i(y_i) of the measured rows, by the network, an out-of-fold head or the joined evidence."""
        if settings.confidence == "network":
            return measured.given[rows]
        evidence = self._evidence(settings.evidence, measured, rows)
        head = evidence.head()
        if settings.confidence == "posterior":
            return evidence.relevance(head, evidence.joined(head))
        return head["given"]

    def _curriculum(self, settings: Curriculum, measured: Measurement, rows: np.ndarray) -> Columns:
        features = self._some(measured.features, rows)
        return self._by_class(
            rows,
            features,
            lambda features, labels, _: curriculum_columns(
                settings, features, labels, self.n_classes, self.recipe.seed
            ),
        )

    def _by_class(self, rows: np.ndarray, features: Any, compute: Callable[..., Columns]) -> Columns:
        """``compute(features, labels, own)`` of each process's classes, joined."""
        labels = self.labels[rows]
        if self.group.is_single:
            return compute(features, labels, slice(None))
        own = rows_of(labels, self.n_classes, self.group.rank, self.group.size)
        part = compute(ChosenRows(features, own), labels[own], own) if len(own) else {}
        return join(self.group.all_gather(part), labels, self.n_classes)

    def _instance(self, settings: Instance, measured: Measurement, rows: np.ndarray) -> Columns:
        evidence = self._evidence(settings.evidence, measured, rows)
        first = evidence.head()
        found = evidence.joined(first)
        if settings.relevance == "posterior":
            relevance = evidence.relevance(first, found)
            scaled = class_ranks(relevance, evidence.labels) if settings.scale == "rank" else relevance
            weighed = sampling_weight(
                evidence.labels, self.n_classes, relevance=scaled, power=settings.power, floor=settings.floor
            )
            weighed["relevance"] = relevance
        else:
            terms, known = evidence.terms(settings, first)
            weights = {name: getattr(settings, f"{name}_term") for name in terms}
            weighed = instance(
                evidence.labels,
                self.n_classes,
                evidence=terms,
                known=known,
                terms=weights,
                power=settings.power,
                floor=settings.floor,
            )
        return {
            **weighed,
            "confidence": first["given"],
            "oof_index": first["index"],
            "oof_prob": first["prob"],
            "suggested": found["index"][:, 0],
            "suggested_prob": found["prob"][:, 0].astype(np.float32),
        }

    def _label(self, settings: Label, measured: Measurement, rows: np.ndarray) -> Columns:
        evidence = self._evidence(settings.evidence, measured, rows)
        if settings.teacher == "network":
            k = evidence.top_k
            first = {
                "index": np.asarray(measured.index[rows])[:, :k],
                "given": measured.given[rows],
                "prob": np.asarray(measured.prob[rows])[:, :k],
            }
            found = evidence.posterior(first)
        else:
            first = evidence.head()
            found = evidence.joined(first)
        similar = evidence.similarity(first) if settings.similarity > 0 else None
        targets = label(
            evidence.labels,
            self.n_classes,
            index=found["index"],
            prob=found["prob"],
            given=found["given"],
            rho=settings.rho,
            sharpness=settings.sharpness,
            similarity=similar,
            similarity_share=settings.similarity,
            k=min(settings.top_k, self.n_classes),
        )
        largest = targets["topk_prob"].max(axis=1)
        certain = sampling_weight(evidence.labels, self.n_classes, relevance=largest, power=settings.certainty)
        targets["label_weight"] = certain["instance_weight"]
        made = {name: self._for_all(targets[name], rows, 0) for name in ("keep", "label_weight")}
        self._keep_classes(made, rows)
        own = {name + settings.suffix: values for name, values in made.items()}
        drawn = self._sampler(own).expected_draws()[rows]
        sizes = target_size(targets["topk_index"], targets["topk_prob"], self.n_classes, drawn=drawn)
        return {**targets, **sizes}
