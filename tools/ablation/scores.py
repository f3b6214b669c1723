"""The figures of a finished stage: accuracy, and how well its weights find wrong labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tools.ablation.cost import total_passes
from tools.ablation.evidence import TARGETS
from tools.ablation.methods import DERIVED, IMAGES, OWN_RECIPES, Run, methods_of, own_recipe
from tools.ablation.rows import Rows
from tools.ablation.runs import Cost
from urnet.config.recipe import Recipe, active_stages
from urnet.data.table.table import Table
from urnet.pipeline.methods import METHODS

WEIGHED = (*DERIVED, IMAGES)  # kinds of runs whose weights are scored
ADJUSTED = ", adjusted"  # for the classes' sizes
CLEANLAB = (  # cleanlab's scores, 0..1, low for a wrong label; the last cannot be adjusted
    *("self_confidence", f"self_confidence{ADJUSTED}", "normalized_margin", f"normalized_margin{ADJUSTED}"),
    "confidence_weighted_entropy",
)


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


def auc_inside(right: np.ndarray, weight: np.ndarray, labels: np.ndarray) -> float | None:
    """The mean over classes of the AUC among the rows of a label, each as often as it has rows with a weight, 0..1.

    Classes with right rows only or wrong ones only are left out; None where there is no other.
    """
    weight = np.where(np.isfinite(weight), weight, np.nan)
    found = [(np.isfinite(weight[of]).sum(), auc(right[of], weight[of])) for of in _classes(labels)]
    known = [(count, value) for count, value in found if value is not None]
    return float(np.average([v for _, v in known], weights=[n for n, _ in known])) if known else None


def _classes(labels: np.ndarray) -> list[np.ndarray]:
    """The rows of each class that has any."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def share_on_wrong(right: np.ndarray, weight: np.ndarray) -> float | None:
    """The share of all weight that lies on wrong rows, 0..1; None where there is no weight."""
    weight = np.where(np.isfinite(weight), weight, 0).astype(np.float64)
    total = weight.sum()
    return float(weight[~right].sum() / total) if total > 0 else None


def dense(index: np.ndarray, prob: np.ndarray, given: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """(N, C) probabilities from the k best of each row (``index``, ``prob``) and that of the given label.

    Classes outside the k best have 0. For small benchmarks only: it is as large as the whole answer.
    """
    rows = np.arange(len(labels))
    full = np.zeros((len(labels), n_classes))
    row, place = np.nonzero(prob > 0)
    full[row, index[row, place].astype(np.int64)] = prob[row, place]
    full[rows, labels] = given
    return np.clip(full, 0, 1)


def cleanlab_scores(run: Run, stage_name: str, rows: Rows) -> dict[str, tuple[float | None, float | None]]:
    """AUC, pooled and inside classes, of cleanlab's scores of a finished instance stage's out-of-fold probabilities.

    {} for any other stage. Rows without a probability (unreadable images) are left out.
    """
    reweight = run.stage(stage_name).reweight
    if rows.right is None or run.kind not in WEIGHED or reweight is None or reweight.method != "instance":
        return {}
    from cleanlab.rank import get_label_quality_scores

    table = Table.open(run.folder / "table")
    index, prob, given = (table.column(name + reweight.suffix) for name in ("oof_index", "oof_prob", "confidence"))
    seen = np.isfinite(given) & (prob.max(axis=1) > 0)
    labels, right = rows.labels[seen], rows.right[seen]
    full = dense(index[seen], prob[seen], given[seen], labels, run.recipe.data.n_classes)
    scores = {}
    for name in CLEANLAB:
        method, adjusted = name.removesuffix(ADJUSTED), name.endswith(ADJUSTED)
        found = get_label_quality_scores(labels, full, method=method, adjust_pred_probs=adjusted)
        scores[name] = (auc(right, found), auc_inside(right, found, labels))
    return scores


def needs_cleanlab(base: Recipe, methods: Sequence[str]) -> bool:
    """Whether a wanted method reaches an instance stage, whose scores a truth can rate."""
    for kind in WEIGHED:
        if kind in TARGETS:  # have no instance stage
            continue
        stages = active_stages(own_recipe(kind) if kind in OWN_RECIPES else base)
        reached = [i for i, method in enumerate(methods_of(kind, base).values()) if method in methods]
        until = stages[: max(reached, default=-1) + 1]
        if any(s.reweight is not None and s.reweight.method == "instance" for s in until):
            return True
    return False


def weight_column(run: Run, stage_name: str) -> str | None:
    """The column by which a rung weighs rows; None for other methods and for a stage that weighs none."""
    stage = run.stage(stage_name)
    if run.kind not in WEIGHED or (stage.reweight is None and stage.bags is None):
        return None
    if stage.reweight is None:
        return "bag_attention"
    return METHODS[stage.reweight.method].score + stage.reweight.suffix


def entry(run: Run, stage: str, cost: Cost, rows: Rows) -> dict[str, Any]:
    """A finished (method, seed) pair as result.json holds it; accuracies and shares in percent, AUC 0..1.

    ``epochs``, image passes ``forward`` and ``backward``, and ``cost`` (training images): of the stage and those before
    it, None where nobody counted; ``seconds`` and ``peak_mb`` (MiB): of its own process.
    """
    states = [json.loads(run.state_file(name).read_text(encoding="utf-8")) for name in run.up_to(stage)]
    last, best = states[-1]["last"], states[-1]["best"]
    found, inside, wrong = _weights_scored(run, stage, rows)
    passes = total_passes(states)
    values = {
        "top1_last": 100 * last["top1"],
        "top1_best": 100 * best["top1"],
        "top5_last": 100 * last["top5"],
        "auc": found,
        "auc_inside": inside,
        "weight_on_wrong": None if wrong is None else 100 * wrong,
        "epochs": sum(state["epoch"] for state in states),
        **(dict.fromkeys(("forward", "backward")) if passes is None else asdict(passes)),
        "cost": None if passes is None else passes.training_images,
        **asdict(cost),
    }
    rounded = {name: None if value is None else round(value, 4) for name, value in values.items()}
    return {"method": run.methods[stage], "seed": run.seed, **rounded}


def _weights_scored(run: Run, stage: str, rows: Rows) -> tuple[float | None, float | None, float | None]:
    """AUC, AUC inside classes and share on wrong rows of the stage's column; None without one.

    Of a row's target over several classes (N, k) the given label's part counts.
    """
    column = weight_column(run, stage)
    if rows.right is None or column is None:
        return None, None, None
    table = Table.open(run.folder / "table")
    labels, weight = table.column("label"), table.column(column)
    if weight.ndim == 2:
        index = table.column(column.replace("prob", "index"))
        weight = np.where(index == labels[:, None], weight, 0).sum(axis=1, dtype=np.float64)
    return auc(rows.right, weight), auc_inside(rows.right, weight, rows.labels), share_on_wrong(rows.right, weight)
