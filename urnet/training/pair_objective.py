"""What a step of two networks minimises: co-teaching, DivideMix, and the latter's warm-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import paddle.nn.functional as F

from urnet.nn.losses import Weight, divisor, soft_targets, weighted_cross_entropy
from urnet.nn.modes import evaluating
from urnet.nn.pair_losses import co_teaching_loss, dividemix_loss, dividemix_targets, negative_entropy

if TYPE_CHECKING:
    from urnet.training.objective import StepInput
    from urnet.training.step import TrainState


@dataclass(frozen=True)
class PairInput:
    """What a step of two networks is given in addition to its rows.

    ``rate``: co-teaching's forget rate, or the weight of unlabelled rows. ``clean`` float32 (2, B): how probably the
    label of each row is right, as the first and as the second network is told by the other; None: all labels are
    used alike. ``random``: draws how rows are mixed.
    """

    rate: float
    clean: np.ndarray | None
    random: np.random.Generator


def pair_loss(state: TrainState, data: StepInput, part: slice, total: Weight) -> paddle.Tensor:
    """The micro-batch's share of the step's loss, that of both networks together.

    A micro-batch is what the papers call a batch: within it rows are chosen and mixed, and its loss counts by its
    share of the step's weight (ours). Unreadable images have no weight.
    """
    assert data.pair is not None
    share = float(data.weight[part].sum(dtype=np.float64)) / divisor(total)
    if state.stage.dividemix is None:
        return _co_teaching(state, data, part) * share
    if data.pair.clean is None:
        return _warm_up(state, data, part, total)
    return _dividemix(state, data, part) * share


def _both(state: TrainState, first: paddle.Tensor, second: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Each network's logits of images of its own, (b, S, S, 3)."""
    with state.autocast():
        output: tuple[paddle.Tensor, paddle.Tensor] = state.parallel(paddle.concat([first, second]))
    return output


def _labels(data: StepInput, part: slice) -> paddle.Tensor:
    return data.send.rows(data.labels, part, np.int64)


def _co_teaching(state: TrainState, data: StepInput, part: slice) -> paddle.Tensor:
    assert data.pair is not None
    images, weight = data.send.rows(data.images, part), data.send.rows(data.weight, part)
    certain = None if data.certain is None else data.send.rows(data.certain, part)
    logits, n = _both(state, images, images), int(np.count_nonzero(data.weight[part] > 0))
    return co_teaching_loss(logits, _labels(data, part), weight, data.pair.rate, certain, n=n)


def _warm_up(state: TrainState, data: StepInput, part: slice, total: Weight) -> paddle.Tensor:
    """Σ w (cross entropy + entropy Σ_c p log p) / Σ w of both networks, on the first view of each row."""
    assert state.stage.dividemix is not None
    images, weight = data.send(_views(data.images[part])[:, 0]), data.send.rows(data.weight, part)
    logits, loss = _both(state, images, images), paddle.zeros([])
    targets = soft_targets(_labels(data, part), logits[0].shape[1]) * weight.unsqueeze(1)
    for each in logits:
        loss = loss + weighted_cross_entropy(each, targets, total)
        if state.stage.dividemix.entropy:
            loss = loss + state.stage.dividemix.entropy * negative_entropy(each, weight) / divisor(total)
    return loss


def _dividemix(state: TrainState, data: StepInput, part: slice) -> paddle.Tensor:
    settings, pair = state.stage.dividemix, data.pair
    assert settings is not None and pair is not None and pair.clean is not None
    views, there = _views(data.images[part]), data.weight[part] > 0
    n, n_views = views.shape[:2]
    images = data.send(np.ascontiguousarray(views.swapaxes(0, 1)).reshape(n_views * n, *views.shape[2:]))
    predicted, labels = _predictions(state, images, n_views), _labels(data, part)
    both = (predicted[0] + predicted[1]) / 2
    clean = pair.clean[:, part] if data.certain is None else np.maximum(pair.clean[:, part], data.certain[part])
    mixed, targets, used = [], [], []
    for k in (0, 1):
        labelled = there & (clean[k] > settings.threshold)
        w, chosen = data.send(clean[k].astype(np.float32)), data.send(labelled)
        own = dividemix_targets(labels, w, chosen, predicted[k], both, settings.temperature)
        lam, partner = _mixing(pair.random, settings.alpha, np.tile(there, n_views))
        others, every = data.send(partner), own.tile([n_views, 1])
        mixed.append(lam * images.astype("float32") + (1 - lam) * images[others].astype("float32"))
        targets.append(lam * every + (1 - lam) * every[others])
        used.append([data.send(np.tile(rows, n_views)) for rows in (labelled, there & ~labelled)])
    logits = _both(state, *mixed)
    parts = [dividemix_loss(logits[k], targets[k], used[k][0], used[k][1], pair.rate) for k in (0, 1)]
    return parts[0] + parts[1]


def _views(images: np.ndarray) -> np.ndarray:
    """(b, V, S, S, 3), also of one view."""
    return images if images.ndim == 5 else images[:, None]


def _mixing(random: np.random.Generator, alpha: float, there: np.ndarray) -> tuple[float, np.ndarray]:
    """λ = max(λ', 1 - λ'), λ' ~ Beta(alpha, alpha), and every row's partner: a permutation, but an unreadable one is
    nobody's."""
    lam, partner = float(random.beta(alpha, alpha)), random.permutation(len(there))
    return max(lam, 1 - lam), np.where(there[partner], partner, np.arange(len(there)))


@paddle.no_grad()
def _predictions(state: TrainState, images: paddle.Tensor, n_views: int) -> list[paddle.Tensor]:
    """Each network's probabilities of rows, their mean over the views, (b, C) twice; ``images`` view by view.

    Both are in evaluation mode, so that guessing moves no statistics (in the released code the one that learns is not).
    """
    network: Any = state.network
    with evaluating(state.model), state.autocast():
        shown = state.model.normalise(images)
        logits = [each(shown).astype("float32") for each in (network.first, network.second)]
    return [F.softmax(each, axis=-1).reshape([n_views, -1, each.shape[1]]).mean(axis=0) for each in logits]
