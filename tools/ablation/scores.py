"""The figures of a finished stage: accuracy, and how well its weights find wrong labels."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tools.ablation.methods import LADDER, Run, methods_of
from tools.ablation.runs import Cost
from tools.ablation.truth import Truth
from urnet.config.recipe import Recipe, active_stages
from urnet.core.checks import InputError
from urnet.data.table.table import Table
from urnet.pipeline.methods import METHODS

EXTRA = 'pip install -e ".[benchmark]"'
CLEANLAB = ("self_confidence", "normalized_margin")  # cleanlab's scores, 0..1, low for a wrong label


def installed(package: str) -> bool:
    """Whether a package of the extra `benchmark` is there."""
    return importlib.util.find_spec(package) is not None


def need(package: str) -> None:
    """Raise InputError where a package of the extra `benchmark` is missing."""
    if not installed(package):
        raise InputError(f"{package} is not installed; {EXTRA}")


def auc(right: np.ndarray, weight: np.ndarray) -> float | None:
    """P(weight of a right row > weight of a wrong row), equal ones counting half, 0..1.

    Rows without a finite weight are left out; None where either kind is missing among the others.
    """
    seen = np.isfinite(weight)
    right, weight = right[seen], weight[seen]
    if right.all() or not right.any():
        return None
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(right, weight))


def share_on_wrong(right: np.ndarray, weight: np.ndarray) -> float | None:
    """The share of all weight that lies on wrong rows, 0..1; None where there is no weight."""
    weight = np.where(np.isfinite(weight), weight, 0).astype(np.float64)
    total = weight.sum()
    return float(weight[~right].sum() / total) if total > 0 else None


def kept(index: np.ndarray, prob: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) float64: the given label's part of each row's target over the classes ``index`` (N, k), 0..1."""
    return np.where(index == labels[:, None], prob, 0).sum(axis=1, dtype=np.float64)


def dense(index: np.ndarray, prob: np.ndarray, given: np.ndarray, labels: np.ndarray, n_classes: int) -> Any:
    """(N, C) probabilities from the k best of each row (``index``, ``prob``) and that of the given label.

    Classes outside the k best have 0. For small benchmarks only: it is as large as the whole answer.
    """
    rows = np.arange(len(labels))
    full = np.zeros((len(labels), n_classes))
    real = prob > 0
    full[np.broadcast_to(rows[:, None], index.shape)[real], index[real].astype(np.int64)] = prob[real]
    full[rows, labels] = given
    return np.clip(full, 0, 1)


def label_quality(table: Table, truth: Truth, n_classes: int, suffix: str = "") -> dict[str, float | None]:
    """The AUC of cleanlab's scores, computed from the out-of-fold probabilities that the stage itself used.

    {} where the table has none. Rows without a probability (unreadable images) are left out.
    """
    names = [name + suffix for name in ("oof_index", "oof_prob", "confidence")]
    if not set(names) <= set(table.columns):
        return {}
    need("cleanlab")
    from cleanlab.rank import get_label_quality_scores

    index, prob, given = (table.column(name) for name in names)
    seen = np.isfinite(given) & (prob.max(axis=1) > 0)
    labels = truth.labels[seen]
    full = dense(index[seen], prob[seen], given[seen], labels, n_classes)
    return {
        method: auc(truth.right[seen], get_label_quality_scores(labels, full, method=method)) for method in CLEANLAB
    }


def instance_scores(run: Run, stage_name: str, truth: Truth | None) -> dict[str, float | None]:
    """``label_quality`` of a ladder's finished instance stage; {} for any other stage."""
    reweight = next(s for s in run.recipe.stages if s.name == stage_name).reweight
    if truth is None or reweight is None or reweight.method != "instance":
        return {}
    return label_quality(Table.open(run.folder / "table"), truth, run.recipe.data.n_classes, reweight.suffix)


def needs_cleanlab(base: Recipe, methods: Sequence[str], truth: Truth | None) -> bool:
    """Whether a wanted rung reaches an instance stage whose scores the truth can rate."""
    if truth is None:
        return False
    reached = [i for i, method in enumerate(methods_of(LADDER, base).values()) if method in methods]
    stages = active_stages(base)[: max(reached, default=-1) + 1]
    return any(s.reweight is not None and s.reweight.method == "instance" for s in stages)


def weight_column(run: Run, stage_name: str) -> str | None:
    """The column by which a rung weighs rows; None for other methods and for a stage that weighs none.

    A label stage's is ``topk_prob``, of which the given label's part counts (``kept``).
    """
    stage = next(s for s in run.recipe.stages if s.name == stage_name)
    if run.kind != LADDER:
        return None
    if stage.reweight is None:
        return None if stage.bags is None else "bag_attention"
    return METHODS[stage.reweight.method].score + stage.reweight.suffix


def entry(run: Run, stage: str, cost: Cost, truth: Truth | None) -> dict[str, Any]:
    """A finished (method, seed) pair as result.json holds it; accuracies and shares in percent, AUC 0..1.

    ``epochs``: of the stage and those before it; ``seconds`` and ``peak_mb`` (MiB): of its own process.
    """
    states = {name: _state(run.state_file(name)) for name in run.up_to(stage)}
    last, best = states[stage]["last"], states[stage]["best"]
    found, wrong = _weights_scored(run, stage, truth)
    values = {
        "top1_last": 100 * last["top1"],
        "top1_best": 100 * best["top1"],
        "top5_last": 100 * last["top5"],
        "auc": found,
        "weight_on_wrong": None if wrong is None else 100 * wrong,
        "epochs": sum(state["epoch"] for state in states.values()),
        "seconds": cost.seconds,
        "peak_mb": cost.peak_mb,
    }
    rounded = {name: None if value is None else round(value, 4) for name, value in values.items()}
    return {"method": run.methods[stage], "seed": run.seed, **rounded}


def _weights_scored(run: Run, stage: str, truth: Truth | None) -> tuple[float | None, float | None]:
    """AUC and share on wrong rows of the stage's column; None without one."""
    column = weight_column(run, stage)
    if truth is None or column is None:
        return None, None
    table = Table.open(run.folder / "table")
    labels, weight = table.column("label"), table.column(column)
    if not np.array_equal(labels, truth.labels):
        raise InputError(f"{table.folder}: its labels are not those of the training lists")
    if weight.ndim == 2:
        weight = kept(table.column(column.replace("prob", "index")), weight, labels)
    return auc(truth.right, weight), share_on_wrong(truth.right, weight)


def _state(file: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return state
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from None
