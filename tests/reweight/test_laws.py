"""The laws that every reweighting keeps, whatever its settings."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from tests.helpers.web_rows import N_CLASSES, web_rows
from urnet.baselines.curriculumnet import curriculum
from urnet.baselines.relabel import relabel
from urnet.core.checks import InputError
from urnet.reweight.class_size import class_size
from urnet.reweight.cluster import cluster
from urnet.reweight.instance import instance
from urnet.reweight.label import label


@dataclass(frozen=True)
class Case:
    """How a reweighting is called, and what its columns are."""

    compute: Callable
    needs: tuple[str, ...]  # arrays of ``web_rows``
    columns: dict[str, type]
    weight: str  # the column that says how much a row counts
    mean: str  # 1 "in each class", 1 "over all rows", or ""
    settings: tuple[dict, ...]
    unfaulted: float = 1  # the weight's value where the data has nothing to mend


def of_arrays(function):
    return lambda arrays, **settings: function(n_classes=N_CLASSES, **arrays, **settings)


def of_features(arrays, **settings):
    return cluster(arrays["features"], arrays["labels"], arrays["given"], N_CLASSES, **settings)


def of_evidence(arrays, **settings):
    return instance(
        arrays["labels"],
        N_CLASSES,
        evidence={"confidence": arrays["given"], "text": arrays["text"], "rank": arrays["rank"]},
        known={"text": arrays["text_known"], "rank": arrays["rank_known"]},
        **settings,
    )


CASES = {
    "class_size": Case(
        of_arrays(class_size),
        ("labels",),
        {"class_weight": np.float32},
        "class_weight",
        "over all rows",
        ({}, {"power": 0.0}, {"cap": math.inf}, {"beta": 0.9, "cap": 3.0}, {"power": 3.0, "cap": 1e6}),
    ),
    "cluster": Case(
        of_features,
        ("labels", "features", "given"),
        {"cluster": np.int16, "cluster_weight": np.float32},
        "cluster_weight",
        "in each class",
        ({}, {"shrink": 0.0}, {"power": 3.0}, {"rows_per_cluster": 2, "max_clusters": 40}, {"pca": 5}, {"seed": 7}),
    ),
    "instance": Case(
        of_evidence,
        ("labels", "given", "text", "text_known", "rank", "rank_known"),
        {"relevance": np.float32, "instance_weight": np.float32},
        "instance_weight",
        "in each class",
        ({}, {"power": 0.0}, {"power": 1.0, "floor": 0.3}, {"power": 5.0, "floor": 1e-3}, {"floor": 1.0}),
    ),
    "label": Case(
        of_arrays(label),
        ("labels", "given", "index", "prob"),
        {"topk_index": np.int32, "topk_prob": np.float16, "keep": np.float32},
        "keep",
        "",
        ({}, {"rho": 0.5, "k": 3}, {"rho": math.inf, "sharpness": 2.0}, {"k": 1}, {"k": 20}, {"block": 7}),
    ),
    "relabel": Case(
        of_arrays(relabel),
        ("labels", "given", "index", "prob"),
        {"image_weight": np.float32, "clean_label": np.int32},
        "image_weight",
        "in each class",
        ({}, {"power": 0.0}, {"drop": 0.95, "power": 2.0}, {"adopt": 0.3, "drop": 0.5}, {"floor": 1.0, "drop": 0.1}),
    ),
    "curriculum": Case(
        of_arrays(curriculum),
        ("labels", "features"),
        {"subset": np.int8, "density": np.float32},
        "subset",
        "",
        tuple(
            {"density": density, "split": split, "quantile": quantile, "pca": 5}
            for density in ("count", "gaussian")
            for split, quantile in (("density", 0.6), ("distance", 0.02), ("distance", 1.0))
        ),
        unfaulted=0,
    ),
}
EVERY = [
    pytest.param(case, settings, id=f"{name}-{settings}") for name, case in CASES.items() for settings in case.settings
]


def arrays_of(case, rows, order=slice(None)):
    return {name: rows[name][order] for name in case.needs}


@pytest.mark.parametrize(("case", "settings"), EVERY)
def test_laws(case, settings):
    rows = web_rows(seed=1)
    labels, got = rows["labels"], case.compute(arrays_of(case, rows), **settings)
    assert {name: column.dtype for name, column in got.items()} == case.columns
    for column in got.values():
        assert len(column) == len(labels)
        assert np.isfinite(column).all() and (column >= 0).all()
    weight = got[case.weight].astype(np.float64)
    groups = [labels == c for c in np.unique(labels)] if case.mean == "in each class" else [slice(None)]
    for group in groups if case.mean else []:
        assert weight[group].mean() == pytest.approx(1, abs=1e-6)
    if case.unfaulted and case.mean:
        assert all(weight[labels == c].sum() > 0 for c in np.unique(labels))
    order = np.random.default_rng(2).permutation(len(labels))
    again = case.compute(arrays_of(case, rows), **settings)
    permuted = case.compute(arrays_of(case, rows, order), **settings)
    for name, column in got.items():
        assert again[name].tobytes() == column.tobytes(), name
        assert permuted[name].tobytes() == column[order].tobytes(), name


@pytest.mark.parametrize(("case", "settings"), EVERY)
def test_data_without_the_fault_is_left_as_it_is(case, settings):
    """Classes of one size, images that are alike, labels that are certain."""
    labels = np.random.default_rng(0).permutation(np.arange(45) % N_CLASSES)
    ones = np.ones(45)
    rows = {
        "labels": labels,
        "features": np.full((45, 6), 0.7, np.float32),
        "given": ones,
        "index": np.stack([labels, (labels + 1) % N_CLASSES], axis=1),
        "prob": np.tile(np.float16([1, 0]), (45, 1)),
        "text": ones / 3,
        "text_known": ones == 1,
        "rank": labels * 0.1,
        "rank_known": ones == 1,
    }
    got = case.compute(arrays_of(case, rows), **settings)
    assert (got[case.weight] == case.unfaulted).all()
    if "clean_label" in got:
        assert (got["clean_label"] == labels).all()
    if "topk_prob" in got:
        assert (got["topk_index"][:, 0] == labels).all()
        assert (got["topk_prob"][:, 0] == 1).all() and (got["topk_prob"][:, 1:] == 0).all()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_arrays_that_do_not_fit_are_refused(case):
    arrays = arrays_of(case, web_rows(50))
    for short in arrays if len(arrays) > 1 else ():
        with pytest.raises(InputError, match=r"rows but|has shape"):
            case.compute({**arrays, short: arrays[short][:-1]})
    with pytest.raises(InputError, match=r"label \d+ in row \d+ is outside 0\.\.8"):
        case.compute({**arrays, "labels": arrays["labels"] + N_CLASSES})
