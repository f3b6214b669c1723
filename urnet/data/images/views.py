"""Kinds of random views for a step that compares some: a weak one to learn from, a strong one to learn on.

As in FixMatch (Sohn et al., NeurIPS 2020): targets come from what is only cropped and flipped, and are learnt on what
is changed much further; there by RandAugment and Cutout, here by TrivialAugment and random erasing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from urnet.config.recipe import Transform

Kind = Literal["own", "weak", "strong"]
STRONG_ERASING = 0.5  # the paper's probability of random erasing


def of_kind(transform: Transform, kind: Kind) -> Transform:
    """``transform`` for one kind of random view.

    ``own``: as it is. ``weak``: without TrivialAugment and random erasing. ``strong``: with both, erasing at
    STRONG_ERASING or its own, larger probability. Crop, flip and colour jitter are those of ``transform`` in all.
    """
    if kind == "weak":
        return replace(transform, trivial_augment=False, erasing=0.0)
    if kind == "strong":
        return replace(transform, trivial_augment=True, erasing=max(STRONG_ERASING, transform.erasing))
    return transform


def transforms_of(transform: Transform, views: int | Sequence[Kind]) -> list[Transform]:
    """The transform of each view; ``views``: the kind of each, or a number of them, all ``own``."""
    if isinstance(views, int):
        return [transform] * views
    return [of_kind(transform, kind) for kind in views]
